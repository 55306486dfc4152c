"""What is done to a VM from outside: power, generalize, capture, boot diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.azure import first_start
from tests.azure.answers import Answer, Call, Json, bad_request, conflict
from tests.azure.kinds.machine_rules import used_cores
from tests.azure.kinds.machine_view import instance_view
from tests.azure.kinds.machines import TYPE
from tests.azure.operations import COMPUTE, COMPUTE_SLOW, Poll
from tests.azure.resources import act
from tests.azure.router import Handler, Route, resource_path
from tests.azure.state import Resource

if TYPE_CHECKING:
    from tests.azure.cloud import Cloud


@dataclass(frozen=True)
class Action:
    """`power`: the state while it runs and after. `generalized`: whether a generalized VM may do it.

    `boots`: the guest starts anew, its agent is back `virtualMachines.agent` seconds after the operation's end.
    """

    during: str
    after: str
    latency: str
    poll: Poll
    retry_after: int | None = None
    generalized: bool = True
    boots: bool = False
    needs_running: bool = False


ACTIONS = {
    "start": Action("starting", "running", "start", COMPUTE_SLOW, 10, generalized=False, boots=True),
    "restart": Action(
        "running", "running", "restart", COMPUTE_SLOW, 10, generalized=False, boots=True, needs_running=True
    ),
    "powerOff": Action("stopping", "stopped", "powerOff", COMPUTE),
    "deallocate": Action("deallocating", "deallocated", "deallocate", COMPUTE_SLOW, 10),
    "redeploy": Action("starting", "running", "redeploy", COMPUTE, None, generalized=False, boots=True),
    "reapply": Action("", "", "reapply", COMPUTE),
}


def _action(name: str) -> Handler:
    def handle(call: Call) -> Answer:
        action = ACTIONS[name]
        machine = machine_of(call)
        if machine.hidden["generalized"] and not action.generalized:
            raise conflict(f"Operation '{name}' is not allowed on VM '{machine.name}' since the VM is generalized.")
        if machine.hidden["power"] == "creating":
            raise conflict(f"Operation '{name}' is not allowed on VM '{machine.name}' while it is being created.")
        if action.needs_running and machine.hidden["power"] in ("deallocated", "stopped"):
            raise conflict("The operation requires the VM to be running (or set to run).")
        if name == "start" and machine.hidden["power"] == "deallocated":
            _check_cores(call, machine)
        before = machine.hidden["power"]
        if action.during:
            machine.hidden["power"] = action.during

        def finish() -> None:
            if action.after:
                set_power(call.cloud, machine, action.after)
            if (action.boots and before != "running") or name in ("restart", "redeploy"):
                boot(call, machine)

        return act(
            call, machine, action.poll, call.cloud.seconds(f"virtualMachines.{action.latency}"), finish,
            retry_after=action.retry_after,
        )  # fmt: skip

    return handle


def _check_cores(call: Call, machine: Resource) -> None:
    size = call.cloud.catalogue.sizes.get(machine.properties["hardwareProfile"]["vmSize"].lower())
    if size is None:
        return
    used = used_cores(call, machine.location).get(size.family.lower(), 0)
    if used + size.cores > call.cloud.catalogue.quota(size.family):
        raise conflict(
            f"Operation could not be completed as it results in exceeding approved {size.family} Cores quota."
        )


def machine_of(call: Call) -> Resource:
    """The VM of an action's path."""
    prefix = resource_path(TYPE).removesuffix("/{name}").rpartition("/")[2]
    head, _, tail = call.path.partition(f"/{prefix}/")
    return call.cloud.state.get(f"{head}/{prefix}/{tail.split('/')[0]}")


def set_power(cloud: Cloud, machine: Resource, power: str) -> None:
    """Sets the power state, with what follows for agent and disks."""
    machine.hidden["power"] = power
    if power in ("stopped", "deallocated"):
        machine.hidden["agent"] = False
        for command in machine.hidden["commands"].values():
            command.interrupt("The VM was stopped while the command ran.")
    storage = machine.properties["storageProfile"]
    for entry in (storage["osDisk"], *storage["dataDisks"]):
        disk = cloud.state.find(entry["managedDisk"].get("id"))
        if disk is not None:
            disk.properties["diskState"] = "Reserved" if power == "deallocated" else "Attached"


def boot(call: Call, machine: Resource, latency: str = "agent") -> None:
    """The guest starts: its agent answers a while later. A guest whose agent was removed never answers."""
    machine.hidden["agent"] = False
    machine.hidden["boots"] = machine.hidden.get("boots", 0) + 1
    number = machine.hidden["boots"]
    tree = machine.hidden["facts"].tree
    if tree is not None and machine.hidden["facts"].system == "Linux":
        first_start.start(tree)

    def ready() -> None:
        with call.cloud.lock:
            if machine.hidden["power"] == "running" and machine.hidden["boots"] == number:
                machine.hidden["agent"] = not machine.hidden.get("no_agent", False)

    seconds = call.cloud.seconds(f"virtualMachines.{latency}")
    if seconds:
        call.cloud.clock.after(seconds, ready)
    else:
        ready()


def guest_power(call: Call, machine: Resource, power: str) -> None:
    """The guest switched itself off (the VM is stopped, and still billed) or restarts; one that is off does nothing."""
    if machine.hidden["power"] != "running":
        return
    if power == "off":
        set_power(call.cloud, machine, "stopped")
    elif power == "reboot":
        boot(call, machine)


def generalize(call: Call) -> Answer:
    """Marks the VM, at once and for good. It need not be deallocated (recorded so)."""
    machine = machine_of(call)
    if machine.properties.get("securityProfile", {}).get("encryptionAtHost") and machine.hidden["power"] == "creating":
        raise conflict(f"Operation 'generalize' is not allowed on VM '{machine.name}'.")
    machine.hidden["generalized"] = True
    facts = replace(machine.hidden["facts"], generalized=True)
    machine.hidden["facts"] = facts
    disk = call.cloud.state.find(machine.properties["storageProfile"]["osDisk"]["managedDisk"].get("id"))
    if disk is not None:
        disk.hidden["facts"] = facts
    return Answer(200)


def capture(call: Call) -> Answer:
    """For VMs on unmanaged disks alone, which are retired; what is left is its refusal."""
    machine = machine_of(call)
    if not machine.hidden["generalized"]:
        raise conflict(f"Operation 'capture' is not allowed on VM '{machine.name}' since the VM is not generalized.")
    raise conflict(
        f"Operation 'capture' is not allowed on VM '{machine.name}' since it has managed disks."
        " Please use the images API to capture it."
    )


def boot_diagnostics(call: Call) -> Answer:
    machine = machine_of(call)
    if not machine.properties.get("diagnosticsProfile", {}).get("bootDiagnostics", {}).get("enabled"):
        raise bad_request("Boot diagnostics is not enabled on the VM.", code="BootDiagnosticsNotEnabled")
    found: Json = {}
    if call.cloud.blobs is not None:
        url = call.cloud.blobs.text_blob(machine.properties["vmId"], "".join(machine.hidden["boot_log"]))
        found = {"serialConsoleLogBlobUri": url, "consoleScreenshotBlobUri": url}
    return Answer(200, found)


def get_instance_view(call: Call) -> Answer:
    return Answer(200, instance_view(call, machine_of(call)))


def _route(method: str, name: str, handler: Callable[[Call], Answer]) -> Route:
    return Route(method, f"{resource_path(TYPE)}/{name}", f"{method} {TYPE}/{name}", handler)


ROUTES = (
    *(_route("POST", name, _action(name)) for name in ACTIONS),
    _route("POST", "generalize", generalize),
    _route("POST", "capture", capture),
    _route("POST", "retrieveBootDiagnosticsData", boot_diagnostics),
    _route("GET", "instanceView", get_instance_view),
)
