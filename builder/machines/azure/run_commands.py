"""Run commands of a VM: begun, looked at until they have ended, removed.

A script that failed is Succeeded as a resource: only the instance view says so (REST reference of virtual machine run
commands; recorded). The view shows the last 4 KiB of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from builder.azure.connection import Azure
from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.azure.polling import next_poll
from builder.model.run import Run

Json = dict[str, Any]
OVER = frozenset({"Succeeded", "Failed", "TimedOut", "Canceled"})
# Beyond a script's own limit, until Azure ends the command: for the agent to take it, and to report
SPARE_SECONDS = 180
# From here on a look at the VM tells whether anybody is there to run the command
LOOK_AT_VM_AFTER = 60.0


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
    """A command that Azure has accepted, `since` a moment of the connection's clock."""

    id: ResourceId
    since: float
    seconds: float


class RunCommands:
    """The run commands of one VM. `still_there` raises when the VM can't run any, and is asked now and then.

    `removes`: whether commands are removed when they have ended; a VM that is switched off can't do that.
    """

    def __init__(
        self,
        azure: Azure,
        run: Run,
        machine: ResourceId,
        location: str,
        still_there: Callable[[], None],
        *,
        removes: bool = True,
    ) -> None:
        self.azure = azure
        self.run = run
        self.machine = machine
        self._location = location
        self._still_there = still_there
        self._removes = removes

    def start(self, name: str, script: str, *, seconds: float, sealed: Json | None = None) -> Started:
        """Begin a command. `seconds` is the script's own limit, `sealed` parameters that nobody sees."""
        id = self.machine.child("runCommands", name)
        body: Json = {
            "location": self._location,
            "properties": {
                "source": {"script": script},
                "asyncExecution": True,
                "timeoutInSeconds": int(seconds) + SPARE_SECONDS,
            },
        }
        if sealed:
            body["properties"]["protectedParameters"] = [{"name": key, "value": text} for key, text in sealed.items()]
        began = self.azure.clock.now()
        self.azure.put(id, body, stop=self.run.stop)
        return Started(id, began, seconds)

    def follow(self, started: Started, on_view: Callable[[View], object]) -> View:
        """Look until it has ended. `on_view` gets each look and ends the wait by returning True.

        The command is removed in the end, without waiting for that. Raises Interrupted, or what `still_there` raises.
        """
        clock = self.azure.clock
        try:
            looked = started.since
            while True:
                passed = clock.now() - started.since
                clock.sleep(next_poll(passed), self.run.stop)
                self.run.check_stop()
                body = self.azure.get(started.id, expand="instanceView")
                self._check(body)
                view = View.of(body)
                if on_view(view) or view.over:
                    return view
                now = clock.now()
                if now - looked >= max(LOOK_AT_VM_AFTER, passed / 4):
                    looked = now
                    self._still_there()
        finally:
            self.remove([started])

    def remove(self, commands: Sequence[Started]) -> None:
        """Have commands removed; one that still runs is ended by that. They go with the VM in any case."""
        for command in commands if self._removes else ():
            try:
                self.azure.delete(command.id)
            except AzureError as error:
                self._note(command, error)

    def _note(self, command: Started, error: AzureError) -> None:
        from builder.events import Warned

        message = f"{command.id.short} could not be removed: {error.message}"
        self.run.emit(Warned(image=self.run.image.name, message=message, code="left-over"))

    @staticmethod
    def _check(body: Json) -> None:
        """A command that Azure could not even begin fails as a resource."""
        state = body.get("properties", {}).get("provisioningState")
        if state == "Failed" and not View.of(body).over:
            raise AzureError(
                "Azure could not run a command in the build VM", code="guest-unreachable",
                hint="look at the VM's agent: `machine.azure.onFailure: keep` keeps the VM",
                detail=View.of(body).message or None,
            )  # fmt: skip
