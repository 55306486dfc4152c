"""How a VM looks: its own view, and the instance view with power, agent and disks."""

from __future__ import annotations

from tests.azure.answers import Call, Json, copy
from tests.azure.facts import Facts
from tests.azure.operations import stamp
from tests.azure.state import Resource

# Power states that Azure shows: what is displayed for each
POWER = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}
AGENT_VERSION = {"Linux": "2.14.0.1", "Windows": "2.7.41491.1183"}


def view(call: Call, machine: Resource) -> Json:
    body: Json = copy(machine.body)
    expand = call.query.get("$expand", "").lower()
    if "instanceview" in expand:
        body["properties"]["instanceView"] = instance_view(call, machine)
    if "userdata" in expand and machine.hidden.get("user_data"):
        body["properties"]["userData"] = machine.hidden["user_data"]
    return body


def instance_view(call: Call, machine: Resource) -> Json:
    facts: Facts = machine.hidden["facts"]
    power = machine.hidden["power"]
    moment = stamp(call.cloud.clock.now())
    shown: Json = {}
    if machine.hidden["agent"] and power == "running":
        shown["computerName"] = machine.properties.get("osProfile", {}).get("computerName", machine.name)
        shown["osName"], shown["osVersion"] = facts.os_name, facts.os_version
    if power in ("running", "starting"):
        shown["vmAgent"] = _agent(machine, facts, moment)
    shown["disks"] = [
        {
            "name": entry["name"],
            "statuses": [_status("ProvisioningState/succeeded", "Provisioning succeeded", moment)],
        }
        for entry in (
            machine.properties["storageProfile"]["osDisk"],
            *machine.properties["storageProfile"]["dataDisks"],
        )
        if "name" in entry
    ]
    shown["hyperVGeneration"] = facts.generation
    if machine.properties.get("diagnosticsProfile", {}).get("bootDiagnostics", {}).get("enabled"):
        shown["bootDiagnostics"] = {}
    word = machine.provisioning.lower()
    shown["statuses"] = [_status(f"ProvisioningState/{word}", f"Provisioning {word}", moment)]
    if machine.hidden["generalized"]:
        shown["statuses"].append({"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"})
    if power in POWER:
        shown["statuses"].append({"code": f"PowerState/{power}", "level": "Info", "displayStatus": POWER[power]})
    return shown


def _agent(machine: Resource, facts: Facts, moment: str) -> Json:
    if not machine.hidden["agent"]:
        status = _status("ProvisioningState/Unavailable", "Not Ready", moment, level="Warning")
        status["message"] = "VM status blob is found but not yet populated."
        return {"vmAgentVersion": "Unknown", "statuses": [status]}
    status = _status("ProvisioningState/succeeded", "Ready", moment)
    linux = facts.system == "Linux"
    status["message"] = "Guest Agent is running" if linux else "GuestAgent is running and processing the extensions."
    del machine
    return {"vmAgentVersion": AGENT_VERSION[facts.system], "statuses": [status], "extensionHandlers": []}


def _status(code: str, display: str, moment: str, *, level: str = "Info") -> Json:
    return {"code": code, "level": level, "displayStatus": display, "time": moment}
