"""The capture step on Azure: the machine stops, and its disks become snapshots that versions are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.errors import BuildError
from builder.machines.azure.deep import verify_deeply
from builder.machines.azure.names import disk_word
from builder.machines.azure.resolved import CAPTURE
from builder.machines.azure.saved import save
from builder.model.artifact import Artifact, CapturedDisk
from builder.model.kinds import KINDS, Kind
from builder.model.run import StepContext
from builder.model.spec import GIB
from builder.model.steps import Step

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession
    from builder.machines.azure.vm import Disk, Vm


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
    with ExitStack() as unfinished:
        unfinished.callback(_forget, session, snapshots)
        if generalized and run.image.os.family == "linux" and session.provisioner_made.machine.verify == "deep":
            verify_deeply(context, snapshots[0])
        artifact = Artifact(
            run.image.name, step.digest, generalized, tuple(map(_captured, disks, snapshots)), resource=str(vm.id)
        )
        save(session.store, artifact, session.inventory, run.id)
        unfinished.pop_all()
    context.inventory, context.artifact = session.inventory, artifact


def _captured(disk: Disk, snapshot: Mapping[str, Any]) -> CapturedDisk:
    properties = snapshot["properties"]
    return CapturedDisk(
        name=disk_word(disk.lun),
        lun=disk.lun,
        size=int(properties.get("diskSizeBytes") or properties["diskSizeGB"] * GIB),
        digest="",
        data_bytes=0,
        resource=str(ResourceId.parse(snapshot["id"])),
    )


def _forget(session: AzureSession, snapshots: Sequence[Mapping[str, Any]]) -> None:
    """Have snapshots removed that nobody is to publish. What failed before stays what is told."""
    for snapshot in snapshots:
        try:
            session.azure.delete(ResourceId.parse(snapshot["id"]))
        except AzureError as error:
            session.warn(f"{snapshot['name']} could not be removed: {error.message}", "left-over")


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
