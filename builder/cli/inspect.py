"""`build inspect DISK`: is this disk ready for Azure? With `--fix`, a mended copy."""

from __future__ import annotations

import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.errors import BuildError, ExitCode

if TYPE_CHECKING:
    from builder.disk.system import OpenedSystem
    from builder.guest.inspection.mending import Mended
    from builder.guest.inspection.rules import Inspection, Wanted
    from builder.model.run import Guest


class InspectFormat(StrEnum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    MARKDOWN = "markdown"


def command(
    disk: Annotated[
        Path | None,
        typer.Argument(
            metavar="DISK",
            help="A disk's file: VHD, VHDX, qcow2, VMDK or raw. It is only read. Needed but for `--format markdown`.",
        ),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write a mended copy as a fixed VHD, and inspect that.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where --fix writes. Default: DISK's name with -fixed.vhd."),
    ] = None,
    style: Annotated[InspectFormat, typer.Option("--format", help="`markdown` writes docs/inspect.md.")] = (
        InspectFormat.TEXT
    ),
    generalized: Annotated[bool, typer.Option("--generalized", help="The disk must be generalized.")] = False,
    specialized: Annotated[bool, typer.Option("--specialized", help="The disk is meant to be specialized.")] = False,
) -> ExitCode:
    """Look whether a disk is ready for Azure: its file, partitions, boot, drivers, agents, and what is left in it.

    Exit code 1 when there are errors (with --fix: when some remain in the copy). Without root, only what needs no
    mounting is looked at.
    """
    if style == InspectFormat.MARKDOWN:
        from builder.guest.inspection.reference import markdown

        print(markdown(), end="")
        return ExitCode.DONE
    if disk is None:
        raise BuildError("no disk was named", code="usage", hint="build inspect DISK")
    if generalized and specialized:
        raise BuildError("a disk is generalized or specialized, not both", code="usage", hint="give one of them")
    if output is not None and not fix:
        raise BuildError("--output is for --fix", code="usage", hint="add --fix")
    wanted: Wanted = "generalized" if generalized else "specialized" if specialized else "auto"
    from builder.guest.inspection.inspecting import inspect_disk

    target = output or disk.parent / f"{disk.stem}-fixed.vhd"
    if fix:
        from builder.disk.mounts import require_root
        from builder.guest.inspection.mending import check_target

        require_root("mend a disk")
        check_target(target)
    found = inspect_disk(disk, wanted=wanted)
    mended = _fix(found, target, wanted) if fix else None
    _print(found, mended, style)
    last = mended.inspection if mended else found
    return ExitCode.DONE if last.ready else ExitCode.ERROR


def _fix(found: Inspection, target: Path, wanted: Wanted) -> Mended:
    from builder.cli.interrupts import stop_on_signals
    from builder.guest.inspection.mending import mend
    from builder.machines.local.sandbox import HostGifts, Sandbox
    from builder.machines.local.session import guest_facts
    from builder.report.inspection import printable

    stop = threading.Event()

    def open_guest(system: OpenedSystem, work: Path) -> Guest:
        return Sandbox(system.root, facts=guest_facts(system), gifts=HostGifts(), work=work, stop=stop)

    def on_lines(text: str) -> None:
        # What the guest's programs print is not the report, which may be JSON
        print("\n".join(printable(line) for line in text.split("\n")), file=sys.stderr)

    with stop_on_signals(stop):
        return mend(found, target, open_guest=open_guest, wanted=wanted, on_lines=on_lines, stop=stop)


def _print(found: Inspection, mended: Mended | None, style: InspectFormat) -> None:
    from builder.report import inspection

    if style == InspectFormat.JSON:
        print(inspection.as_json(found, mended), end="")
    elif style == InspectFormat.SARIF:
        print(inspection.as_sarif(mended.inspection if mended else found), end="")
    else:
        print(inspection.as_text(found, mended), end="")
