"""Inspects a disk: bytes first, then, with root, what its filesystems hold. Nothing is ever written to the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from builder import process
from builder.disk.export import exported
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts
from builder.disk.system import OpenedSystem, opened_system
from builder.errors import BuildError
from builder.guest.inspection import windows
from builder.guest.inspection.disk_file import DiskFile, as_layer, look_at
from builder.guest.inspection.distributions import unwanted_files
from builder.guest.inspection.identity import check_identity, check_subvolumes
from builder.guest.inspection.layout import (
    Layout,
    check_architecture,
    check_layout,
    check_root,
    check_size,
    read_layout,
)
from builder.guest.inspection.linux_checks import check_linux
from builder.guest.inspection.linux_facts import not_looked_at, read_facts
from builder.guest.inspection.registry import HiveBroken
from builder.guest.inspection.rules import DiskFinding, Inspection, Wanted, in_order
from builder.guest.inspection.scratch import scratch_folder

MIB = 1024**2
ROOT_NEEDED = "root is needed to mount the disk (run it with sudo)"
# Why a system can't be opened, and the rule that says so
NOT_OPENED: Mapping[str, str] = {
    "no-root-filesystem": "root-missing",
    "several-roots": "root-missing",
    "filesystem-broken": "filesystem-broken",
    "export-failed": "disk-unreadable",
}


@dataclass
class _Found:
    """What an inspection gathers."""

    findings: list[DiskFinding] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def inspect_disk(path: Path, *, wanted: Wanted = "auto") -> Inspection:
    """Look whether a disk file is ready for Azure. `wanted` is what the disk shall be.

    Without root only bytes are looked at, and `left_out` says so. Raises BuildError for a file that isn't there or a
    program that is missing.
    """
    file = look_at(path)
    found = _Found(list(file.findings), {"file": file.kind})
    if file.size:
        found.facts["size"] = f"{_size_text(file.size)} ({file.size} bytes)"
    if file.recognized is None:
        found.left_out.append("everything on the disk: the file can't be read")
    elif os.geteuid() == 0:
        _look_inside(file, found, wanted)
    elif file.is_plain:
        layout = read_layout(path, file.size)
        _tell_layout(layout, found)
        found.left_out.append(f"the operating system: {ROOT_NEEDED}")
    else:
        found.findings += check_size(file.size, ())
        found.left_out.append(f"partitions and operating system: {ROOT_NEEDED}")
    return Inspection(str(path), found.facts, in_order(found.findings), tuple(found.left_out))


def _size_text(size: int) -> str:
    gib = size / 1024**3
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.1f} MiB"


def _look_inside(file: DiskFile, found: _Found, wanted: Wanted) -> None:
    private_mounts()
    with scratch_folder(Path(gettempdir()), "build-inspect-") as folder:
        layer = as_layer(file, folder)
        try:
            with exported(layer, folder=folder, writable=False) as raw:
                layout = read_layout(raw, file.size)
                _tell_layout(layout, found)
                if _holds_windows(layout, folder, found, wanted):
                    return
        except BuildError as error:
            if error.code != "export-failed":
                raise
            found.findings.append(DiskFinding("disk-unreadable", "file", error.detail or error.message))
            return
        if layout.table is not None:
            _look_at_linux(layer, layout, folder, found, wanted)


def _tell_layout(layout: Layout, found: _Found) -> None:
    found.findings += check_layout(layout)
    if layout.table is None:
        return
    names = {"gpt": "GPT", "mbr": "MBR"}
    found.facts["partitions"] = f"{names[layout.table]}: " + ", ".join(
        f"{volume.number} {volume.content.type if volume.content else 'unknown'} ({volume.size // MIB} MiB)"
        for volume in layout.volumes
    )
    if layout.generations:
        found.facts["starts as"] = " and ".join(f"Generation {number}" for number in layout.generations)
    if layout.efi is not None and layout.efi.unread:
        found.left_out.append(f"the EFI system partition: {layout.efi.unread}")


def _holds_windows(layout: Layout, folder: Path, found: _Found, wanted: Wanted) -> bool:
    """Whether the disk is one of Windows; if so, all about it is found."""
    kinds = {volume.content.type for volume in layout.volumes if volume.content}
    if "ntfs" not in kinds:
        return False
    if shutil.which("ntfscat", path=process.environment()["PATH"]) is None:
        found.left_out.append(f"Windows: ntfscat is not installed (apt-get install {windows.PACKAGE})")
        return True
    for volume in layout.volumes:
        if volume.content and volume.content.type == "bitlocker":
            message = "it is encrypted (BitLocker)"
            found.findings.append(DiskFinding("root-encrypted", f"partition {volume.number}", message))
    try:
        facts = windows.find_windows(layout.volumes, folder)
    except HiveBroken as error:
        found.findings.append(windows.unreadable(error))
        return True
    if facts is None:
        # A disk whose Windows is encrypted has its recovery partition beside it; else a Linux may have a data partition
        return "bitlocker" in kinds
    found.facts["system"] = f"{facts.product or 'Windows'} (build {facts.build or 'unknown'})"
    found.facts["state"] = windows.state_of(facts)
    found.findings += windows.check_windows(facts, wanted)
    return True


def _look_at_linux(layer: DiskLayer, layout: Layout, folder: Path, found: _Found, wanted: Wanted) -> None:
    with ExitStack() as stack:
        try:
            system = stack.enter_context(opened_system([layer], folder=folder, writable=False))
            _tell_linux(system, layout, found, wanted)
        except BuildError as error:
            if error.code in NOT_OPENED:
                rule = NOT_OPENED[error.code]
                lines = tuple([error.detail] if error.detail else [])
                found.findings.append(DiskFinding(rule, "disk", error.message, lines, remedy=error.hint or ""))
            elif error.code in ("encrypted-disk", "lvm-disk", "windows-disk"):
                found.findings += check_root(layout.volumes)
            elif error.code in ("filesystem-unsupported", "filesystem-twin"):
                found.left_out.append(f"the operating system: {error.message} ({error.hint})")
                return
            else:
                raise
            found.left_out.append("the operating system: it could not be opened")


def _tell_linux(system: OpenedSystem, layout: Layout, found: _Found, wanted: Wanted) -> None:
    facts = read_facts(system, layout.efi)
    tree = system.tree
    state, findings = check_identity(tree, wanted, machine_id=facts.machine_id)
    found.facts["system"] = f"{facts.os_release.get('PRETTY_NAME', 'Linux')} ({facts.architecture})"
    found.facts["state"] = state
    found.findings += findings
    if state != "specialized":
        found.findings += check_subvolumes(system)
    found.findings += check_linux(facts, generalized=state != "specialized")
    found.findings += unwanted_files(tree, facts.os_release)
    found.findings += check_architecture(layout, facts.architecture)
    found.left_out += not_looked_at(system, layout.efi)
