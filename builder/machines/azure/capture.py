"""The capture step on Azure: the machine stops, and its disks become snapshots that versions are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.azure.ids import ResourceId
from builder.errors import BuildError
from builder.machines.azure.resolved import CAPTURE
from builder.machines.azure.saved import save
from builder.model.artifact import Artifact, CapturedDisk
from builder.model.run import StepContext
from builder.model.spec import GIB
from builder.model.steps import KINDS, Kind, Step

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession
    from builder.machines.azure.vm import Vm


def _run_capture(step: Step, context: StepContext) -> None:
    session: AzureSession = context.session
    run, vm = context.run, session.vm
    assert vm is not None
    _refuse_lost_data(step, vm)
    generalized = bool(step.inputs["generalized"])
    if session.inventory is None or not generalized:
        context.progress(0, None, "", "reading what the machine holds")
        session.inventory = session.read_inventory()
    context.progress(0, None, "", "stopping the machine")
    vm.deallocate()
    if generalized:
        vm.generalize()
    disks = [disk for disk in vm.disks if disk.lun is None or step.inputs["kind"] == "vmImage"]
    context.progress(0, None, "", "taking snapshots")
    snapshots = session.keeper.artifact(vm, disks, step.digest)
    captured = tuple(
        CapturedDisk(
            name="os" if disk.lun is None else f"data-{disk.lun}",
            lun=disk.lun,
            size=int(body["properties"].get("diskSizeBytes") or body["properties"]["diskSizeGB"] * GIB),
            digest="",
            data_bytes=0,
            resource=str(ResourceId.parse(body["id"])),
        )
        for disk, body in zip(disks, snapshots, strict=True)
    )
    artifact = Artifact(run.image.name, step.digest, generalized, captured, resource=str(vm.id))
    save(session.store, artifact, session.inventory, run.id)
    context.inventory, context.artifact = session.inventory, artifact


def _refuse_lost_data(step: Step, vm: Vm) -> None:
    """An OS image leaves data disks behind, also those that the source brought."""
    luns = [str(disk.lun) for disk in vm.disks if disk.lun is not None]
    if step.inputs["kind"] == "osImage" and luns:
        raise BuildError(
            f"this machine has data disks (LUN {', '.join(luns)}); an OS image leaves them and what is on them behind",
            code="data-disks-left",
            where=step.place,
            hint="write `capture: {kind: vmImage}`",
        )


KINDS.register(Kind(CAPTURE, 1, _run_capture))
