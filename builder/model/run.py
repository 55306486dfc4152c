"""What a step may use while it runs: the run, the machine's session, and the operating system inside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from builder.errors import BuildError, Interrupted
from builder.events import Event, Listener
from builder.model.artifact import Artifact, Inventory, Manifest
from builder.model.spec import ImageSpec
from builder.model.steps import Step
from builder.secrets import Redactor


@dataclass(frozen=True)
class GuestFacts:
    """What the operating system inside the machine is: read from it, not from the spec."""

    family: str
    distribution: str
    release: str
    architecture: str
    package_manager: str
    os_release: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GuestScript:
    """A script to be run inside the guest.

    `interpreter` gets the script's path as its last argument; `text` is written as UTF-8, exactly as it is (PowerShell
    reads it right by the byte order mark that it may begin with). `files` (name to content, or to a file or folder of
    this host) are put where `$BUILD_FILES/<name>` says, read-only, for the length of the script. `secrets` (name to
    value) become environment variables and are masked wherever they are printed. `timeout` in seconds.
    """

    text: str
    interpreter: tuple[str, ...] = ("/bin/sh", "-eu")
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    timeout: float | None = None


class MachineLost(BuildError):
    """The machine was taken away under a step, through no fault of the step's.

    `recover` makes it again: it returns the digest of the checkpoint that its disks are at, None when they have to be
    made from their source, and raises BuildError when it isn't to be tried again.
    """

    def __init__(self, message: str, recover: Callable[[], str | None], *, hint: str | None = None) -> None:
        super().__init__(message, code="machine-lost", hint=hint)
        self.recover = recover


class Guest(Protocol):
    """The operating system that steps work in, whatever the machine."""

    @property
    def facts(self) -> GuestFacts:
        """What it is."""

    @property
    def live(self) -> bool:
        """True when it runs (a VM); False for a disk that is worked on offline."""

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        """Run a script to its end, giving each line of its output to `on_line`.

        Raises BuildError with code "step-failed" (with the exit code in the message and the last lines as detail) or
        "step-timeout".
        """


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of the test stage."""

    name: str
    passed: bool
    seconds: float
    detail: str = ""


class Session(Protocol):
    """An open machine: disks at some checkpoint, and a guest to work in."""

    def start_at(self, digest: str) -> None:
        """Put the machine's disks in the state of a checkpoint."""

    def begin(self, step: Step) -> None:
        """Prepare a step that changes the disks: from here on they are changed under this step's digest."""

    def commit(self, step: Step) -> None:
        """Keep the disks as the checkpoint of this step."""

    def abort(self) -> None:
        """Throw away what the step under way did to the disks."""

    def adopt(self, digest: str) -> tuple[Artifact, Inventory]:
        """The artifact (and its inventory) that a run captured under this digest and did not publish."""

    def release(self, artifact: Artifact) -> None:
        """The artifact's versions are published: the machine need not keep it."""

    def restart(self, timeout: float | None) -> None:
        """Restart the machine and wait until its guest answers; nothing to do offline.

        `timeout` in seconds; None leaves the limit to the machine. Raises BuildError when the guest doesn't come back.
        """

    @property
    def guest(self) -> Guest:
        """The operating system on the disks; only between `begin` and `commit`."""


@dataclass
class Run:
    """One apply of one image. `folder` holds its log and journal. Thread-safe where it is shared.

    `effect(name, **facts)` is a context manager that journals before and after an effect in the world.
    """

    id: str
    image: ImageSpec
    folder: Path
    listener: Listener
    redactor: Redactor
    effect: Callable[..., AbstractContextManager[None]]
    stop: threading.Event = field(default_factory=threading.Event)
    digest: str = ""

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        self.listener(event)

    def check_stop(self) -> None:
        """Raise Interrupted when someone asked the run to stop."""
        if self.stop.is_set():
            raise Interrupted("interrupted", code="interrupted")


def _no_base(name: str, digest: str) -> list[tuple[Artifact, Manifest]]:
    raise KeyError(f"no version of {name} with digest {digest}")


@dataclass
class StepContext:
    """What a kind's `run` gets: the run, the machine's session, and the results that steps hand to later ones.

    `base(image, digest)` finds the published version of another image, at each destination that has it.
    `secrets(references)` gives values, masked from then on. `log` takes one or more whole lines; `progress` takes how
    much of how much, in which unit, and what is being done.
    """

    run: Run
    session: Any
    steps: Sequence[Step]
    artifact: Artifact | None = None
    inventory: Inventory | None = None
    checks: list[CheckResult] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    manifest: Callable[[], Manifest] | None = None
    base: Callable[[str, str], list[tuple[Artifact, Manifest]]] = _no_base
    sbom: Callable[[Manifest], str] = lambda manifest: ""
    locations: list[str] = field(default_factory=list)
    log: Callable[[str], None] = lambda line: None
    progress: Callable[[int, int | None, str, str], None] = lambda current, total, unit, doing: None
    secrets: Callable[[Mapping[str, Mapping[str, str]]], dict[str, str]] = lambda references: {}
