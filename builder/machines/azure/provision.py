"""Makes a build VM: what can be made side by side is, and where Azure has no room for a size the next one is tried."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from builder.azure import tags as tag
from builder.azure.connection import Azure
from builder.azure.errors import AzureError, Remedy
from builder.azure.ids import ResourceId
from builder.azure.operations import Operation, wait_all
from builder.machines.azure.bodies import NewDisk, VmParts, disk_body, gib, snapshot_body, vm_body
from builder.machines.azure.names import Names, disk_word
from builder.machines.azure.network import interface_id, start_interface, start_network
from builder.machines.azure.resolved import ResolvedMachine, ResolvedSource, SourceDisk
from builder.machines.azure.vm import OPERATION_SECONDS, Vm, console_of
from builder.model.run import Run
from builder.model.spec import DisksSpec

Json = dict[str, Any]
# What another size, or another moment, helps against
_NO_ROOM = re.compile(
    r"(Zonal|Spot)?AllocationFailed|Overconstrained\w*AllocationRequest|AllocationTimeout|SkuNotAvailable|"
    r"(Resource)?QuotaExceeded|SpotEvicted",
    re.IGNORECASE,
)
_QUOTA = re.compile("quota|exceeding approved", re.IGNORECASE)
# The guest of a new VM gave no sign of life, or Azure heard none: sometimes it does at the next start
_NOT_STARTED = re.compile("OSProvisioning(TimedOut|InternalError)", re.IGNORECASE)
# How often a VM is made anew that failed through no fault of its size's
FAULTS_TAKEN = 2
# Copies of disks, and snapshots, may have terabytes to go through
COPY_SECONDS = 4 * 3600.0
# How long a VM waits for cores that other images of the run use, and how often it is tried
ROOM_SECONDS, ROOM_PAUSE = 4 * 3600.0, 60.0
VMS = "Microsoft.Compute/virtualMachines"


class Provisioner:
    """Makes the VMs of one run for one image, and what they need, below one resource group."""

    def __init__(self, azure: Azure, run: Run, machine: ResolvedMachine, names: Names) -> None:
        self.azure = azure
        self.run = run
        self.machine = machine
        self.names = names
        # The first size that could be had; what is made later begins with it
        self.size = ""
        self._network_stands = False
        self._group_begun = self._group_stands = False

    @property
    def group_made(self) -> bool:
        """Whether the run may have a resource group of its own by now: an answer that was lost may have made it."""
        return self._group_begun and not self.machine.group

    @property
    def something_made(self) -> bool:
        """Whether anything may have been made in Azure."""
        return self._group_begun

    def tags(self, **more: str) -> Json:
        """The tags of everything of this run: ours, and the spec's own, which policies may ask for."""
        expires = self.azure.clock.now() + tag.EXPIRES_SECONDS
        own = {**self.run.image.tags, **self.machine.tags}
        found = tag.ours(run=self.run.id, image=self.run.image.name, expires=expires, extra=own)
        return {**found, **{name.replace("_", "-"): value for name, value in more.items()}}

    def begin(self) -> list[Operation]:
        """Make the resource group, and begin the network; only once."""
        if not self._group_stands:
            self._group_begun = True
            if not self.machine.group:
                body = {"location": self.machine.location, "tags": self.tags()}
                with self.run.effect("azure.group", resource=str(self.names.group_id)):
                    self.azure.put(self.names.group_id, body, stop=self.run.stop).wait(stop=self.run.stop)
            self._group_stands = True
        if self._network_stands:
            return []
        self._network_stands = True
        with self.run.effect("azure.network", resource=str(self.names.group_id)):
            return start_network(self.azure, self.names, self.machine, self.tags())

    def make(self, source: ResolvedSource, role: str, disks: DisksSpec | None = None, *, spot: bool = False) -> Vm:
        """A VM that starts as `source`, with the disks that the spec wants beside those it brings.

        Its agent need not answer yet. `spot`: it may be of spot capacity, where the spec says so: only what can be made
        again from a checkpoint should be. Raises AzureError, Interrupted.
        """
        stop = self.run.stop
        disks = disks or DisksSpec()
        network = self.begin()
        froms = self._snapshots(source, role)
        # What nobody writes to is copied while the network is made
        copied = {} if froms else self._disks(source, role, froms, disks)
        wait_all([*network, *froms.values()], stop=stop, timeout=COPY_SECONDS)
        with self.run.effect("azure.interface", resource=str(interface_id(self.names, role))):
            interface = start_interface(self.azure, self.names, self.machine, self.tags(), role)
        if froms:
            copied = self._disks(source, role, froms, disks)
        wait_all([interface, *copied.values()], stop=stop, timeout=COPY_SECONDS)
        held = {lun: ResourceId.parse(operation.id) for lun, operation in copied.items()}
        image = self._image(source, role, held)
        parts = self._parts(source, role, disks, {} if image and not source.reference else held, image)
        return self._try(source, parts, self.names.compute("virtualMachines", role), spot=spot)

    def _snapshots(self, source: ResolvedSource, role: str) -> dict[int | None, Operation]:
        """Snapshots of disks that somebody may be using: a copy of such a disk would be of no one moment."""
        found = {}
        for disk in source.disks:
            if disk.origin == "disk":
                id = self.names.compute("snapshots", f"{role}-source-{disk_word(disk.lun)}")
                body = snapshot_body(
                    ResourceId.parse(disk.resource), self.machine.location, self.tags(), incremental=False
                )
                with self.run.effect("azure.snapshot", resource=str(id)):
                    found[disk.lun] = self.azure.put(id, body, stop=self.run.stop)
        return found

    def _disks(
        self, source: ResolvedSource, role: str, snapshots: Mapping[int | None, Operation], wanted: DisksSpec
    ) -> dict[int | None, Operation]:
        """Begin the copies of the source's disks, the OS disk as large as the spec wants it."""
        found = {}
        for disk in source.disks:
            if disk.origin == "image":
                continue
            id = self.disk_id(role, disk.lun)
            size = wanted.os_size if disk.lun is None and (wanted.os_size or 0) > disk.size else None
            start = snapshots[disk.lun].id if disk.lun in snapshots else disk.resource
            body = disk_body(disk, source, self.machine, copied_from=start, size=size, tags=self.tags())
            with self.run.effect("azure.disk", resource=str(id)):
                found[disk.lun] = self.azure.put(id, body, stop=self.run.stop)
        return found

    def disk_id(self, role: str, lun: int | None) -> ResourceId:
        """The id of a disk of a role's VM."""
        return self.names.compute("disks", f"{role}-{disk_word(lun)}")

    def _image(
        self, source: ResolvedSource, role: str, held: Mapping[int | None, ResourceId]
    ) -> Mapping[str, str] | None:
        """What the VM is made from: the source's image; for generalized disks, a managed image of them.

        A generalized disk that is only attached would never be provisioned.
        """
        if source.reference:
            return source.reference
        if not source.generalized:
            return None
        id = self.names.compute("images", role)
        profile: Json = {
            "osDisk": {
                "osType": source.family.capitalize(), "osState": "Generalized",
                "managedDisk": {"id": str(held[None])}, "caching": self.machine.os_disk_caching,
            },
            "dataDisks": [
                {"lun": lun, "managedDisk": {"id": str(disk)}} for lun, disk in held.items() if lun is not None
            ],
        }  # fmt: skip
        properties = {"hyperVGeneration": f"V{source.generation}", "storageProfile": profile}
        body = {"location": self.machine.location, "tags": self.tags(), "properties": properties}
        with self.run.effect("azure.image", resource=str(id)):
            self.azure.put(id, body, stop=self.run.stop).wait(stop=self.run.stop, timeout=OPERATION_SECONDS)
        return {"id": str(id)}

    def _parts(
        self,
        source: ResolvedSource,
        role: str,
        disks: DisksSpec,
        held: Mapping[int | None, ResourceId],
        image: Mapping[str, str] | None,
    ) -> VmParts:
        brought = {disk.lun for disk in source.disks}
        grow = disks.os_size if disks.os_size is not None and gib(disks.os_size) > gib(source.os_disk.size) else None
        folder = self.run.image.folder
        files = (self.machine.user_data, self.machine.custom_data)
        user, custom = ((folder / name).read_bytes() if name else None for name in files)
        return VmParts(
            interface=interface_id(self.names, role),
            computer=self.names.computer(role),
            os_name=self.disk_id(role, None).name,
            data_name=self.names.compute("disks", f"{role}-data").name + "-{lun}",
            disks=held,
            image=image,
            new=[NewDisk(disk.lun, disk.size) for disk in disks.data if disk.lun not in brought],
            os_size=grow,
            user_data=user,
            custom_data=custom,
        )

    def _try(self, source: ResolvedSource, parts: VmParts, id: ResourceId, *, spot: bool) -> Vm:
        """The VM in the first size that Azure has room for. A VM that failed is removed before the next try.

        Raises the last try's error, with what the console shows of a guest that did not start.
        """
        machine = self.machine if spot else replace(self.machine, spot=None)
        sizes = sorted(machine.sizes, key=lambda size: size != self.size)
        faults, began = FAULTS_TAKEN, self.azure.clock.now()
        said = set[str]()
        while True:
            body = vm_body(source, machine, parts, sizes[0], self.tags())
            try:
                made = self._made(id, body)
            except AzureError as error:
                if no_room(error) and len(sizes) > 1:
                    what = f"Azure has no room for {sizes.pop(0)} ({error.azure_code}): {sizes[0]} is tried"
                elif self._waits(error, began):
                    what = "other images of this run use up the quota: the VM waits until theirs are gone"
                    self.azure.clock.sleep(ROOM_PAUSE, self.run.stop)
                    self.run.check_stop()
                elif is_passing(error) and faults:
                    faults -= 1
                    what = f"Azure failed to make the VM ({error.azure_code}): it is made anew"
                else:
                    self._add_console(error, id)
                    raise
                if what not in said:
                    self._warn(what)
                said.add(what)
                self.azure.delete(id, stop=self.run.stop).wait(stop=self.run.stop, timeout=OPERATION_SECONDS)
                continue
            self.size = sizes[0]
            return Vm(self.azure, self.run, id, made, spot=machine.spot is not None)

    def _waits(self, error: AzureError, began: float) -> bool:
        """Whether VMs of other images of this run have what a VM of this one lacks."""
        if not is_quota(error) or self.azure.clock.now() - began > ROOM_SECONDS:
            return False
        standing = [machine.get("tags") or {} for machine in self.azure.list(ResourceId(self.azure.subscription), VMS)]
        mine = [tags for tags in standing if tags.get(tag.RUN) == self.run.id]
        return any(tags.get(tag.IMAGE) != self.run.image.name for tags in mine)

    def _made(self, id: ResourceId, body: Json) -> Json:
        with self.run.effect("azure.vm", resource=str(id)):
            operation = self.azure.put(id, body, stop=self.run.stop)
            return operation.wait(stop=self.run.stop, timeout=OPERATION_SECONDS)

    def _add_console(self, error: AzureError, id: ResourceId) -> None:
        """The VM of a guest that did not start stands, and its console tells how far it came."""
        if error.azure_code.lower().startswith("osprovisioning"):
            error.detail = "\n".join(filter(None, (error.detail, console_of(self.azure, id)))) or None

    def _warn(self, message: str) -> None:
        from builder.events import Warned

        self.run.emit(Warned(image=self.run.image.name, message=message, code="azure-no-room"))


def no_room(error: AzureError) -> bool:
    """Whether Azure has too little of a size, or the subscription too few cores of its family left."""
    if _NO_ROOM.fullmatch(error.azure_code):
        return True
    return is_quota(error)


def is_quota(error: AzureError) -> bool:
    """Whether the subscription has too few cores left, of a family or in all."""
    if error.azure_code == "OperationNotAllowed":
        return _QUOTA.search(error.message) is not None
    return error.azure_code.lower() in ("quotaexceeded", "resourcequotaexceeded")


def is_passing(error: AzureError) -> bool:
    """Whether a VM failed by what another try may be spared: a fault inside Azure, a guest that was not heard of."""
    return error.remedy is Remedy.RETRY or _NOT_STARTED.fullmatch(error.azure_code) is not None


def from_snapshots(
    snapshots: Sequence[tuple[SourceDisk, Json]], *, family: str, name: str, architecture: str
) -> ResolvedSource:
    """A checkpoint as a source: a machine in the midst of its life. The first snapshot is the OS disk's."""
    properties = snapshots[0][1]["properties"]
    plan = properties.get("purchasePlan")
    return ResolvedSource(
        kind="checkpoint",
        name=name,
        family=family,
        generation=2 if properties.get("hyperVGeneration") == "V2" else 1,
        architecture=architecture,
        generalized=False,
        disks=tuple(disk for disk, _ in snapshots),
        plan={key: str(plan[key]) for key in ("name", "product", "publisher", "promotionCode") if plan.get(key)}
        if plan
        else None,
    )
