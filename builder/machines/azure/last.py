"""The last script of a Linux guest: it takes the machine's identity out, and with it the agent that reports.

So its end is not reported but seen: all is well when the guest has switched itself off, which it does only if every
operation and every check ended well. What goes wrong is told by the run command while the agent lives, and on the
console.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builder.azure.polling import next_poll
from builder.errors import BuildError
from builder.machines.azure import scripts
from builder.machines.azure.guest import AzureGuest
from builder.machines.azure.output import Output, ending
from builder.machines.azure.run_commands import View
from builder.machines.azure.vm import Vm
from builder.model.run import GuestFacts, GuestScript
from builder.process import TAIL_LINES

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT_SECONDS = 1800.0
# From the script's end until the guest is off
OFF_SECONDS = 600.0


class LastGuest:
    """The guest as the generalize step gets it: what is executed is the last that it does.

    `check` is sh that looks whether all was done, and fails if not.
    """

    def __init__(self, guest: AzureGuest, vm: Vm, check: GuestScript | None) -> None:
        self._guest = guest
        self._vm = vm
        self._check = check

    @property
    def facts(self) -> GuestFacts:
        """What it is."""
        return self._guest.facts

    @property
    def live(self) -> bool:
        """It runs."""
        return True

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        """Run the script, check, switch off. Raises BuildError when the guest isn't off in time, or says why not."""
        seconds = script.timeout or SCRIPT_SECONDS
        text, sealed, _ = self._guest.command_of(script, before=_template("before_last"), after=self._after(script))
        output, tail = Output(), list[str]()

        def tell(lines: str) -> None:
            if lines:
                tail[:] = [*tail, *lines.split("\n")][-TAIL_LINES:]
                on_line(lines)

        clock = self._vm.azure.clock
        began = clock.now()

        def seen(view: View) -> bool:
            tell(output.look(view.output))
            late = clock.now() - began > seconds + OFF_SECONDS
            return late or self._is_off()

        view = self._guest.commands.follow(self._guest.start(text, sealed, seconds), seen, last=True)
        end = ending(view.output)
        if end is not None:
            tell(output.finish(end))
            if end.exit_code != 0:
                raise BuildError(
                    f"ended with exit code {end.exit_code}",
                    code="step-failed",
                    hint="the guest was left running: nothing was captured",
                    detail="\n".join(tail),
                )
        self._wait_off(began + seconds + OFF_SECONDS, tail)

    def _after(self, script: GuestScript) -> str:
        check = self._check or GuestScript(":\n")
        return _function("check", check) + _function("again", script) + _template("last")

    def _is_off(self) -> bool:
        """Whether the guest has switched itself off. Raises MachineLost or BuildError when that was Azure's doing."""
        power = self._vm.power()
        if power.startswith("dealloc"):
            self._vm.check_there()
        self._vm.is_off = power == "stopped"
        return self._vm.is_off

    def _wait_off(self, deadline: float, tail: list[str]) -> None:
        """Wait until the guest has switched itself off. Raises BuildError with the console's tail."""
        clock = self._vm.azure.clock
        began = clock.now()
        while not self._is_off():
            self._vm.run.check_stop()
            if clock.now() >= deadline:
                raise BuildError(
                    "the guest did not switch itself off after it was generalized",
                    code="step-timeout",
                    hint="`machine.azure.onFailure: keep` keeps the VM, whose console can be looked at",
                    detail="\n".join([*tail, self._vm.console_tail()]).strip() or None,
                )
            clock.sleep(min(next_poll(clock.now() - began), deadline - clock.now()), self._vm.run.stop)


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.sh").read_text(encoding="utf-8")


def _function(name: str, script: GuestScript) -> str:
    """A script as a function of sh, in a shell of its own. Programs in it find nothing on their standard input."""
    file = f'"$work/{name}"'
    return f"{scripts.here(f'cat > {file}', script.text)}\n{name}() {{ sh -u {file} < /dev/null; }}\n"
