"""One error family. Every error says what is wrong, where, and what to do; only the command line prints and exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process says to its caller. Published: scripts depend on these numbers."""

    DONE = 0
    ERROR = 1
    CHANGES = 2
    SPEC_INVALID = 3
    LOCKED = 4
    PLAN_STALE = 5
    POLICY_DENIED = 6
    SOME_IMAGES_FAILED = 7
    INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file of the repository. `file` is relative to the project root; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class BuildError(Exception):
    """Something a user can understand and act on.

    `code` is a short stable word for machines ("step-failed"), `message` one sentence for people, `hint` what to do
    next, `detail` longer text such as the last lines of output.
    """

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(
        self,
        message: str,
        *,
        code: str = "error",
        where: Place | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint
        self.detail = detail


@dataclass(frozen=True, order=True)
class Diagnostic:
    """One finding about a spec, with its place. Sorts by place."""

    place: Place
    code: str
    message: str
    help: str | None = None
    severity: str = "error"


class SpecInvalid(BuildError):
    """One or more specs are invalid; all findings are carried, sorted by place.

    `root` is the project's root on this host, which the places are relative to (None when there is none).
    """

    exit_code = ExitCode.SPEC_INVALID

    def __init__(self, diagnostics: Sequence[Diagnostic], *, root: Path | None = None) -> None:
        self.root = root
        self.diagnostics = tuple(sorted(diagnostics, key=lambda item: (item.place, item.code, item.message)))
        count = len(self.diagnostics)
        super().__init__(f"{count} {'error' if count == 1 else 'errors'} in the specs", code="spec-invalid")


class Locked(BuildError):
    """Another run works on the same image."""

    exit_code = ExitCode.LOCKED


class PlanStale(BuildError):
    """The world moved after the plan was made; the message names what moved."""

    exit_code = ExitCode.PLAN_STALE


class PolicyDenied(BuildError):
    """The plan contains something that this call was not allowed to do."""

    exit_code = ExitCode.POLICY_DENIED


class SomeImagesFailed(BuildError):
    """Some images of a run failed; the others went on. `failures` are their names and errors."""

    exit_code = ExitCode.SOME_IMAGES_FAILED

    def __init__(
        self, message: str, failures: Sequence[tuple[str, BuildError]] = (), *, hint: str | None = None
    ) -> None:
        super().__init__(message, code="some-images-failed", hint=hint)
        self.failures = tuple(failures)


class Unreachable(BuildError):
    """What images are made with can't be reached by this process, whatever their specs say.

    Nobody is signed in, there is no such cloud, or no network. It is about all images that are made there.
    """


class Interrupted(BuildError):
    """A person or a CI system asked the run to stop."""

    exit_code = ExitCode.INTERRUPTED
