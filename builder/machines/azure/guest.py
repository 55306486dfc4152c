"""The operating system inside a build VM. Scripts go in by run commands: no SSH, no WinRM, nothing listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildError
from builder.machines.azure import scripts
from builder.machines.azure.facts import read_facts
from builder.machines.azure.output import Ending, Output, ending, unpacked, whole_lines, window
from builder.machines.azure.resolved import MOST_FILES
from builder.machines.azure.run_commands import RunCommands, Started, View
from builder.model.run import GuestFacts, GuestScript
from builder.model.spec import MIB
from builder.process import TAIL_LINES

if TYPE_CHECKING:
    from builder.machines.azure.cargo import Carrier

# Beyond this, files are not held in the guest's memory
IN_MEMORY = 8 * MIB
# Seconds that a guest may take to find its files' disk, and bytes a second of its unpacking, on the slowest disk
UNPACK_SECONDS, UNPACK_SPEED = 180, 5 * MIB
# Run commands at once while files go in or output comes out; Azure runs 25 in a VM
AT_ONCE = 8
# More than so many show is left out of the log: Azure allows a VM a command each 15 seconds
MOST_WINDOWS = 8
SHELL_HINTS = {
    125: "the files of the step did not arrive in the guest; its output says why",
    126: "the interpreter or a program could not be executed: is it of this architecture?",
    127: "is the interpreter or a program it calls missing in the image?",
}


class ScriptFailed(BuildError):
    """A script ended by itself, with this exit code."""

    def __init__(self, status: int, *, hint: str | None, detail: str) -> None:
        super().__init__(f"ended with exit code {status}", code="step-failed", hint=hint, detail=detail)
        self.status = status


class AzureGuest:
    """The system of one running VM. `carrier` brings what is too large for run commands."""

    def __init__(self, commands: RunCommands, family: str, carrier: Carrier | None = None) -> None:
        self.commands = commands
        self.family = family
        self.carrier = carrier
        self._numbers = count(1)
        self._facts: GuestFacts | None = None

    @property
    def live(self) -> bool:
        """It runs."""
        return True

    @property
    def facts(self) -> GuestFacts:
        """What it is; read from it once."""
        if self._facts is None:
            self._facts = read_facts(self.read, self.family)
        return self._facts

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        """Run a script to its end (see `builder.model.run.Guest`)."""
        self._run(script, on_line, most=MOST_WINDOWS)

    def read(self, script: GuestScript) -> str:
        """All that a script prints. Raises BuildError as `execute`."""
        lines: list[str] = []
        self._run(script, lines.append, most=None)
        return "\n".join(lines)

    def command_of(self, script: GuestScript, *, before: str = "", after: str = "") -> tuple[str, dict[str, str], str]:
        """The text and the protected parameters of the run command for a script, and its folder; brings its files."""
        windows = self.family == "windows"
        files = scripts.with_text(script)
        number = next(self._numbers)
        if scripts.size_of(files) > MOST_FILES:
            payload, folder = scripts.Payload(), f"/var/tmp/build-{number}"
            self._stage_by_disk(files, folder)
        else:
            payload = scripts.pack(files, windows=windows)
            small = sum(map(len, payload.pieces)) <= IN_MEMORY
            folder = f"Temp\\build-{number}" if windows else f"{'/run' if small else '/var/tmp'}/build-{number}"
            self._stage(payload, folder)
        text = (
            scripts.windows_script(script, folder, payload)
            if windows
            else scripts.linux_script(script, folder, payload, before=before, after=after)
        )
        sealed = scripts.seal(script.secrets, windows=windows)
        return text, ({scripts.SECRETS: sealed} if sealed else {}), folder

    def start(self, text: str, sealed: dict[str, str], seconds: float) -> Started:
        """Begin a run command under a name that this VM has not seen."""
        return self.commands.start(f"build-{next(self._numbers)}", text, seconds=seconds, sealed=sealed)

    def _run(self, script: GuestScript, on_line: Callable[[str], None], *, most: int | None) -> None:
        seconds = script.timeout or scripts.LONGEST_SECONDS
        text, sealed, folder = self.command_of(script)
        output = Output()
        tail: list[str] = []

        def tell(lines: str) -> None:
            if lines:
                tail[:] = [*tail, *lines.split("\n")][-TAIL_LINES:]
                on_line(lines)

        view = self.commands.follow(self.start(text, sealed, seconds), lambda seen: tell(output.look(seen.output)))
        end = ending(view.output)
        if end is None:
            self._without_ending(view, seconds, output, tell, tail)
            return
        missing = output.missing(end)
        if missing is not None:
            self._fetch(folder, output, missing, tell, most)
        tell(output.finish(end))
        self._judge(end.exit_code, end.late, seconds, tail)

    def _without_ending(
        self, view: View, seconds: float, output: Output, tell: Callable[[str], None], tail: list[str]
    ) -> None:
        """A script that was ended from outside, or whose wrapper didn't come to its end, or hides what it printed."""
        end = Ending(view.exit_code or 0, view.state == "TimedOut", output.known, b"")
        tell(output.cut_short())
        errors = whole_lines(view.errors).rstrip("\r\n")
        if errors.strip():
            tell(errors)
        if view.state == "Failed" and view.exit_code is None:
            raise BuildError(
                f"was cut short: {view.message or 'the VM stopped or restarted under it'}",
                code="step-failed",
                hint="a script can't restart its machine: write `- restart: {}` as a step of its own",
                detail="\n".join(tail),
            )
        self._judge(end.exit_code if view.state != "Failed" else view.exit_code or 1, end.late, seconds, tail)

    @staticmethod
    def _judge(exit_code: int, late: bool, seconds: float, tail: list[str]) -> None:
        """Raise the error of a script that did not end well."""
        if late:
            raise BuildError(
                f"did not end within {seconds:g} s; all its processes were killed",
                code="step-timeout",
                hint="raise the step's `timeout`, or look for what it waits for (nothing can be typed into a step)",
                detail="\n".join(tail),
            )
        if exit_code != 0:
            raise ScriptFailed(
                exit_code,
                hint=SHELL_HINTS.get(exit_code),
                detail="\n".join(tail),
            )

    def _stage(self, payload: scripts.Payload, folder: str) -> None:
        """Bring the pieces of a large payload, several at once."""
        if not payload.staged:
            return
        render = scripts.windows_piece if self.family == "windows" else scripts.linux_piece
        for first in range(0, len(payload.pieces), AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, len(payload.pieces)))
            self._all([render(folder, number, payload.pieces[number]) for number in numbers])

    def _stage_by_disk(self, files: Mapping[str, bytes | Path], folder: str) -> None:
        """Bring files that are too large for run commands."""
        if self.family == "windows" or self.carrier is None:
            raise BuildError(
                f"the step's files have more than {MOST_FILES // MIB} MiB together, too much to go by run commands",
                code="files-too-large",
                hint="have a script fetch them in the guest, from a storage account by the VM's identity for example",
            )
        with self.carrier.brought(files) as cargo:
            text = scripts.linux_cargo(folder, cargo.mark, cargo.sha256, cargo.size)
            self._all([text], UNPACK_SECONDS + scripts.size_of(files) / UNPACK_SPEED)

    def _all(self, texts: list[str], seconds: float = 120) -> list[View]:
        """Run several small commands at once. Raises BuildError when one fails."""
        started = [self.start(text, {}, seconds) for text in texts]
        views = []
        for command in started:
            views.append(self.commands.follow(command, lambda view: None))
            if views[-1].state != "Succeeded":
                raise BuildError(
                    f"a command of ours failed in the guest: {views[-1].message or views[-1].state}",
                    code="step-failed",
                    detail=views[-1].errors.strip() or views[-1].output.strip() or None,
                )
        return views

    def _fetch(
        self, folder: str, output: Output, missing: tuple[int, int], tell: Callable[[str], None], most: int | None
    ) -> None:
        """Ask for the part of the output that no look has shown: `most` run commands, None for as many as it takes.

        Of more than they can show, the beginning is left out.
        """
        start, end = missing
        total, first = self._window(folder, start, end, [0])[0]
        needed = -(-total // scripts.WINDOW)
        if most is not None and needed > most:
            left = int((end - start) * (1 - 0.9 * most / needed))
            tell(f"[about {left} bytes of the output are left out here: Azure shows only the end of it]")
            output.skip(left)
            self._fetch(folder, output, (start + left, end), tell, None)
            return
        begins = list(range(scripts.WINDOW, total, scripts.WINDOW))
        letters = [first]
        for at in range(0, len(begins), AT_ONCE):
            letters += [text for _, text in self._window(folder, start, end, begins[at : at + AT_ONCE])]
        tell(output.add(unpacked("".join(letters))))

    def _window(self, folder: str, start: int, end: int, begins: list[int]) -> list[tuple[int, str]]:
        render = scripts.windows_window if self.family == "windows" else scripts.linux_window
        views = self._all([render(folder, start, end - start, begin) for begin in begins])
        return [window(view.output) or (0, "") for view in views]
