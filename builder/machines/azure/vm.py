"""A virtual machine that stands: its power, its agent, its disks, its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from builder.azure.connection import Azure
from builder.azure.errors import AzureError, NotFound
from builder.azure.ids import ResourceId
from builder.azure.polling import next_poll
from builder.errors import BuildError
from builder.model.run import MachineLost, Run

Json = dict[str, Any]
# Azure itself gives a new VM 20 minutes (OSProvisioningTimedOut), and a restarted one needs less
AGENT_SECONDS = 1200.0
# What Azure does with a VM takes minutes; of what goes on after so long no end is to be expected
OPERATION_SECONDS = 3600.0
CONFLICT = 409
# Nothing runs in these power states
STILL = frozenset({"stopped", "deallocated", "deallocating", "stopping"})
CONSOLE_BYTES = 8 * 1024
CONSOLE_LINES = 40
_DOWNLOAD_SECONDS = 20


@dataclass(frozen=True)
class Disk:
    """A disk of a VM. `lun` is None for the OS disk."""

    lun: int | None
    id: ResourceId
    size_gib: int


@dataclass
class Vm:
    """A VM of ours. `spot` says that Azure may take it away; `recover` makes it again then.

    `is_off`: its guest was seen to have switched itself off; what becomes of the VM then is no harm to its disks.
    """

    azure: Azure
    run: Run
    id: ResourceId
    body: Json
    spot: bool = False
    recover: Callable[[], str | None] | None = None
    is_off: bool = False

    @property
    def location(self) -> str:
        """The region."""
        return str(self.body["location"])

    @property
    def disks(self) -> list[Disk]:
        """Its disks, the OS disk first, then by LUN."""
        storage = self.body["properties"]["storageProfile"]
        data = sorted(storage.get("dataDisks") or [], key=lambda disk: int(disk["lun"]))
        found = [(None, storage["osDisk"]), *((int(disk["lun"]), disk) for disk in data)]
        return [
            Disk(lun, ResourceId.parse(disk["managedDisk"]["id"]), int(disk.get("diskSizeGB") or 0))
            for lun, disk in found
        ]

    def view(self) -> Json:
        """The instance view. Raises BuildError ("machine-gone") when there is no such VM any more."""
        try:
            return self.azure.read(f"{self.id}/instanceView", kind=self.id.kind)
        except NotFound as error:
            raise self._gone(error) from error

    def power(self) -> str:
        """The power state: "running", "stopped" (from inside), "deallocated"."""
        return power_of(self.view())

    def check_there(self) -> None:
        """Raise when nothing runs here any more: MachineLost for a spot VM that Azure took, else BuildError."""
        power = self.power()
        if power not in STILL:
            return
        if self.spot and self.recover is not None and power.startswith("dealloc"):
            raise MachineLost(
                "the spot VM was taken away by Azure",
                self.recover,
                hint="raise `machine.azure.spot.maxPrice` or `retries`, list more sizes, or build without `spot`",
            )
        raise BuildError(
            f"the VM is {power}: something stopped it while the step ran",
            code="machine-stopped",
            hint="a step must not switch its machine off; look at the activity log of the VM for who else did",
        )

    def _gone(self, error: NotFound) -> BuildError:
        """The error for a VM that does not stand any more, though nothing of ours removed it."""
        group = error.azure_code == "ResourceGroupNotFound"
        what = f"resource group {self.id.group} of {self.id.short}" if group else f"{self.id.short} in {self.id.group}"
        return BuildError(
            f"{what} is gone: it was deleted under this run, by whom is not known here",
            code="machine-gone",
            hint="the same apply builds again from the last checkpoint, or else from the source; Azure's activity log "
            "tells who deleted it",
        )

    @contextmanager
    def unless_gone(self) -> Iterator[None]:
        """A block that Azure refuses when the VM does not stand any more: then that is raised, not the refusal."""
        try:
            yield
        except NotFound:
            self.view()
            raise

    @contextmanager
    def unless_taken(self) -> Iterator[None]:
        """A block that Azure refuses when nothing runs here any more: then that is raised, not the refusal."""
        try:
            with self.unless_gone():
                yield
        except AzureError as error:
            if error.status == CONFLICT:
                self.check_there()
            raise

    def unreachable(self, what: str) -> BuildError:
        """The error for a guest from which nothing is heard: what its agent was last seen to be, and its console."""
        console = self.console_tail()
        return BuildError(
            f"{what}; {agent_state(self.view())}",
            code="guest-unreachable",
            hint="the guest hangs, or its agent was stopped or removed: does the step touch network or agent?"
            + (" The console's last lines follow" if console else ""),
            detail=console or None,
        )

    def wait_agent(self, timeout: float | None = None) -> None:
        """Wait until the guest's agent says that it is ready. Raises BuildError after `timeout` seconds."""
        limit = timeout or AGENT_SECONDS
        clock = self.azure.clock
        began = clock.now()
        while True:
            view = self.view()
            if agent_ready(view):
                return
            self.run.check_stop()
            passed = clock.now() - began
            if power_of(view) in STILL:
                self.check_there()
            if passed >= limit:
                console = self.console_tail()
                raise BuildError(
                    f"the agent in the VM did not get ready within {limit:g} s; {agent_state(view)}",
                    code="agent-not-ready",
                    hint="does the source have Azure's agent, enabled at boot?"
                    + (" The console's last lines follow" if console else " The console has shown nothing"),
                    detail=console or None,
                )
            clock.sleep(min(next_poll(passed), limit - passed), self.run.stop)

    def restart(self, timeout: float | None) -> None:
        """Restart it, and wait until its agent is ready again."""
        with self.run.effect("azure.restart", resource=str(self.id)), self.unless_taken():
            self._post("restart")
        self.wait_agent(timeout)

    def deallocate(self) -> None:
        """Stop it and give its place back: its disks are then whole, and nobody writes to them.

        Raises MachineLost when Azure took it while its guest ran: nobody knows what had reached the disks.
        """
        if self.spot and not self.is_off:
            self.check_there()
        with self.run.effect("azure.deallocate", resource=str(self.id)), self.unless_gone():
            self._post("deallocate")

    def generalize(self) -> None:
        """Mark it as generalized, for good."""
        with self.run.effect("azure.generalize", resource=str(self.id)), self.unless_gone():
            self._post("generalize")

    def _post(self, action: str) -> None:
        stop = self.run.stop
        self.azure.post(self.id, action, stop=stop).wait(stop=stop, timeout=OPERATION_SECONDS)

    def console_tail(self) -> str:
        """As `console_of`."""
        return console_of(self.azure, self.id)


def power_of(view: Json) -> str:
    """The power state of an instance view; "" while there is none."""
    codes = [str(status.get("code", "")) for status in view.get("statuses") or []]
    return next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "")


def agent_ready(view: Json) -> bool:
    """Whether the agent in an instance view answers."""
    statuses = (view.get("vmAgent") or {}).get("statuses") or []
    return any(status.get("displayStatus") == "Ready" for status in statuses)


def agent_state(view: Json) -> str:
    """What an instance view says of the agent: "the agent is Not Ready: VM status blob is found but not ..."."""
    statuses = (view.get("vmAgent") or {}).get("statuses") or []
    words = [": ".join(filter(None, (status.get("displayStatus"), status.get("message")))) for status in statuses]
    return "the agent is " + ("; ".join(filter(None, words)) or "not to be seen")


def console_of(azure: Azure, id: ResourceId) -> str:
    """The last lines of a VM's serial console; "" where there is none. Never fails: it is wanted after a failure."""
    try:
        found = azure.post(id, "retrieveBootDiagnosticsData").wait(timeout=AGENT_SECONDS)
    except AzureError as error:
        return f"(the console can't be read: {error.message})"
    url = str(found.get("serialConsoleLogBlobUri") or "")
    return _last_lines(url) if url else ""


def _last_lines(url: str) -> str:
    """The end of a text blob, by an address that Azure has signed. Blobs know no range that counts from the end."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, method="HEAD"), timeout=_DOWNLOAD_SECONDS) as seen:
            start = max(0, int(seen.headers.get("Content-Length") or 0) - CONSOLE_BYTES)
        with urlopen(Request(url, headers={"x-ms-range": f"bytes={start}-"}), timeout=_DOWNLOAD_SECONDS) as got:
            data: bytes = got.read()[-CONSOLE_BYTES:]
    except (URLError, OSError) as error:
        return f"(the console can't be read: {error})"
    text = data.replace(b"\0", b"").decode(errors="replace")
    return "\n".join(
        "".join(sign for sign in line if sign.isprintable()) for line in text.splitlines()[-CONSOLE_LINES:]
    )
