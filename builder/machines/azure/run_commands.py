"""Run commands of a VM: begun, and looked at until they have ended.

A script that failed is Succeeded as a resource: only the instance view says so (REST reference of virtual machine run
commands; recorded). The view shows the last 4 KiB of the output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from builder.azure.connection import Azure
from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.events import Warned
from builder.machines.azure.vm import Vm, agent_ready
from builder.model.run import Run

Json = dict[str, Any]
OVER = frozenset({"Succeeded", "Failed", "TimedOut", "Canceled"})
# Beyond a script's own limit, until Azure ends the command: for the agent to take it, and to report
SPARE_SECONDS = 180
# After that, until Azure is taken to have forgotten it
GRACE_SECONDS = 300
# From here on a look at the VM tells whether anybody is there to run the command
LOOK_AT_VM_AFTER = 60.0
LOOKS_AT_ONCE, LOOKS_A_SECOND, LOOKS_SPARED = 30, 0.18, 8
# Seconds: before the first look of all, and between looks
FIRST_LOOK, SHORTEST_PAUSE = 5.0, 1.0
# A VM holds 25; each removal counts as a change of the VM, of which Azure allows one each 15 seconds
MOST_STANDING = 20


@dataclass(frozen=True)
class View:
    """What Azure shows of a command: its state ("Running", "Succeeded"), and its last output."""

    state: str = ""
    exit_code: int | None = None
    output: str = ""
    errors: str = ""
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self.state in OVER

    @staticmethod
    def of(body: Json) -> View:
        """The view in a run command that was read with its instance view."""
        found = body.get("properties", {}).get("instanceView") or {}
        code = found.get("exitCode")
        return View(
            str(found.get("executionState") or ""),
            code if isinstance(code, int) else None,
            str(found.get("output") or ""),
            str(found.get("error") or ""),
            str(found.get("executionMessage") or ""),
        )


@dataclass(frozen=True)
class Started:
    """A command that Azure has accepted, `since` a moment of the connection's clock, to end after `seconds`."""

    id: ResourceId
    since: float
    seconds: float


class Looks:
    """When to look at a command: its end is to be seen within a tenth of its length, within what Azure allows.

    Compute lets one VM be read 36 times at once and 12 times a minute (its rate limit headers, LowCostGetResource).
    What agent and Azure need beside the script is learnt from earlier commands: no look before that can see an end.
    """

    def __init__(self, now: float) -> None:
        self._left = float(LOOKS_AT_ONCE)
        self._filled = now
        self._shortest: float | None = None

    def next(self, passed: float, now: float) -> float:
        """Seconds until the next look at a command that began `passed` seconds ago."""
        self._left = min(LOOKS_AT_ONCE, self._left + (now - self._filled) * LOOKS_A_SECOND)
        self._filled = now
        first = FIRST_LOOK if self._shortest is None else self._shortest
        pause = max(first - passed, SHORTEST_PAUSE, passed / 10)
        self._left -= 1
        return pause if self._left > LOOKS_SPARED else max(pause, 1 / LOOKS_A_SECOND)

    def ended(self, seconds: float) -> None:
        """A command was seen to have ended after so many seconds."""
        self._shortest = min(seconds, self._shortest or seconds)


class RunCommands:
    """The run commands of one VM."""

    def __init__(self, azure: Azure, run: Run, vm: Vm) -> None:
        self.azure = azure
        self.run = run
        self.vm = vm
        self._looks = Looks(azure.clock.now())
        self._standing: deque[Started] = deque()

    def start(self, name: str, script: str, *, seconds: float, sealed: Json | None = None) -> Started:
        """Begin a command. `seconds` is the script's own limit, `sealed` parameters that nobody sees.

        Raises MachineLost or BuildError when nothing runs in the VM any more.
        """
        id = self.vm.id.child("runCommands", name)
        body: Json = {
            "location": self.vm.location,
            "properties": {
                "source": {"script": script},
                "asyncExecution": True,
                "timeoutInSeconds": int(seconds) + SPARE_SECONDS,
            },
        }
        if sealed:
            body["properties"]["protectedParameters"] = [{"name": key, "value": text} for key, text in sealed.items()]
        while len(self._standing) >= MOST_STANDING:
            self._remove(self._standing.popleft())
        began = self.azure.clock.now()
        with self.vm.unless_taken():
            self.azure.put(id, body, stop=self.run.stop)
        self._standing.append(Started(id, began, seconds))
        return self._standing[-1]

    def follow(self, started: Started, on_view: Callable[[View], object], *, last: bool = False) -> View:
        """Look until it has ended. `on_view` gets each look and ends the wait by returning True.

        Raises Interrupted, what `Vm.check_there` raises, and BuildError ("guest-unreachable") when nothing is heard of
        it long after it had to end; then the command is removed, which ends it. With `last` nothing is removed and
        nobody is missed: the command may end the machine.
        """
        with ExitStack() as stack:
            if not last:
                stack.callback(self._remove, started)
            view = self._follow(started, on_view, last)
            stack.pop_all()
        return view

    def _follow(self, started: Started, on_view: Callable[[View], object], last: bool) -> View:
        clock = self.azure.clock
        looked = started.since
        while True:
            now = clock.now()
            clock.sleep(self._looks.next(now - started.since, now), self.run.stop)
            self.run.check_stop()
            with self.vm.unless_gone():
                body = self.azure.get(started.id, expand="instanceView")
            _check(body)
            view = View.of(body)
            now = clock.now()
            passed = now - started.since
            if view.over:
                self._looks.ended(passed)
            if on_view(view):
                return view
            if view.over:
                if not last:
                    self._check_end(view, started)
                return view
            if not last and now - looked >= max(LOOK_AT_VM_AFTER, passed / 4):
                looked = now
                self.vm.check_there()
            if not last and passed > started.seconds + SPARE_SECONDS + GRACE_SECONDS:
                raise self.vm.unreachable(
                    f"a script did not end within {started.seconds:g} s, and nothing has ended it"
                )

    def _check_end(self, view: View, started: Started) -> None:
        """Raise when a command was ended because VM or agent are gone, and not by the script."""
        if view.state != "Succeeded":
            self.vm.check_there()
        # A script that is late is ended in the guest; that Azure had to means that nobody there did
        if view.state == "TimedOut" and not agent_ready(self.vm.view()):
            raise self.vm.unreachable(f"within {started.seconds:g} s nothing was heard of a script any more")

    def _remove(self, command: Started) -> None:
        """Have a command removed, without waiting. They all go with their VM: one that stays is no harm."""
        try:
            self.azure.delete(command.id)
        except AzureError as error:
            message = f"{command.id.short} could not be removed: {error.message}"
            self.run.emit(Warned(image=self.run.image.name, message=message, code="left-over"))


def _check(body: Json) -> None:
    """A command that Azure could not even begin fails as a resource."""
    state = body.get("properties", {}).get("provisioningState")
    if state == "Failed" and not View.of(body).over:
        raise AzureError(
            "Azure could not run a command in the build VM",
            code="guest-unreachable",
            hint="look at the VM's agent: `machine.azure.onFailure: keep` keeps the VM",
            detail=View.of(body).message or None,
        )
