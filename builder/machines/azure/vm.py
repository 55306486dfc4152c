"""A virtual machine that stands: its power, its agent, its disks, its console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.azure.connection import Azure
from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.azure.polling import next_poll
from builder.errors import BuildError
from builder.model.run import MachineLost, Run

Json = dict[str, Any]
# Azure itself gives a new VM 20 minutes (OSProvisioningTimedOut), and a restarted one needs less
AGENT_SECONDS = 1200.0
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
    """A VM of ours. `spot` says that Azure may take it away; `recover` makes it again then."""

    azure: Azure
    run: Run
    id: ResourceId
    body: Json
    spot: bool = False
    recover: Callable[[], str | None] | None = None

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
        """The instance view."""
        return self.azure.read(f"{self.id}/instanceView", kind=self.id.kind)

    def power(self) -> str:
        """The power state: "running", "stopped" (from inside), "deallocated"."""
        return power_of(self.view())

    def check_there(self) -> None:
        """Raise when nothing runs here any more: MachineLost for a spot VM that Azure took."""
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
                raise BuildError(
                    f"the agent in the VM did not get ready within {limit:g} s",
                    code="agent-not-ready",
                    hint="the console's last lines follow; does the source have Azure's agent, enabled at boot?",
                    detail=self.console_tail() or None,
                )
            clock.sleep(min(next_poll(passed), limit - passed), self.run.stop)

    def restart(self, timeout: float | None) -> None:
        """Restart it, and wait until its agent is ready again."""
        with self.run.effect("azure.restart", resource=str(self.id)):
            self.azure.post(self.id, "restart", stop=self.run.stop).wait(stop=self.run.stop)
        self.wait_agent(timeout)

    def deallocate(self) -> None:
        """Stop it and give its place back: its disks are then whole, and nobody writes to them."""
        with self.run.effect("azure.deallocate", resource=str(self.id)):
            self.azure.post(self.id, "deallocate", stop=self.run.stop).wait(stop=self.run.stop)

    def generalize(self) -> None:
        """Mark it as generalized, for good."""
        with self.run.effect("azure.generalize", resource=str(self.id)):
            self.azure.post(self.id, "generalize", stop=self.run.stop).wait(stop=self.run.stop)

    def console_tail(self) -> str:
        """The last lines of its serial console; "" where there is none. Never fails: it is wanted after a failure."""
        try:
            found = self.azure.post(self.id, "retrieveBootDiagnosticsData").wait()
        except AzureError as error:
            return f"(the console can't be read: {error.message})"
        url = str(found.get("serialConsoleLogBlobUri") or "")
        return _last_lines(url) if url else ""


def power_of(view: Json) -> str:
    """The power state of an instance view; "" while there is none."""
    codes = [str(status.get("code", "")) for status in view.get("statuses") or []]
    return next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "")


def agent_ready(view: Json) -> bool:
    """Whether the agent in an instance view answers."""
    statuses = (view.get("vmAgent") or {}).get("statuses") or []
    return any(status.get("displayStatus") == "Ready" for status in statuses)


def _last_lines(url: str) -> str:
    """The end of a text blob, by an address that Azure has signed."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, headers={"x-ms-range": f"bytes=-{CONSOLE_BYTES}"}), timeout=_DOWNLOAD_SECONDS) as got:
            data: bytes = got.read()[-CONSOLE_BYTES:]
    except (URLError, OSError) as error:
        return f"(the console can't be read: {error})"
    text = data.replace(b"\0", b"").decode(errors="replace")
    return "\n".join(
        "".join(sign for sign in line if sign.isprintable()) for line in text.splitlines()[-CONSOLE_LINES:]
    )
