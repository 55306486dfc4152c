"""Disks of a VM that runs: attached, and taken off again."""

from __future__ import annotations

from builder.azure.ids import ResourceId
from builder.machines.azure.vm import Vm

MOST_LUNS = 64


def attach(vm: Vm, disk: ResourceId) -> int:
    """Attach a disk, and return its LUN: the first that is free. Raises AzureError, Interrupted."""
    with vm.unless_gone():
        data = list(vm.azure.get(vm.id)["properties"]["storageProfile"].get("dataDisks") or [])
    taken = {int(entry["lun"]) for entry in data}
    lun = next(number for number in range(MOST_LUNS) if number not in taken)
    data.append({"lun": lun, "createOption": "Attach", "managedDisk": {"id": str(disk)}, "deleteOption": "Detach"})
    with vm.run.effect("azure.attach", resource=str(disk)):
        change = {"properties": {"storageProfile": {"dataDisks": data}}}
        vm.azure.patch(vm.id, change, stop=vm.run.stop).wait(stop=vm.run.stop)
    return lun


def detach(vm: Vm, disk: ResourceId) -> None:
    """Take a disk off a VM; fine when VM or disk are gone from there. Raises AzureError."""
    found = vm.azure.find(vm.id)
    data = list((found or {}).get("properties", {}).get("storageProfile", {}).get("dataDisks") or [])
    left = [entry for entry in data if ResourceId.parse(entry["managedDisk"]["id"]) != disk]
    if len(left) == len(data):
        return
    with vm.run.effect("azure.detach", resource=str(disk)):
        vm.azure.patch(vm.id, {"properties": {"storageProfile": {"dataDisks": left}}}).wait()
