"""An open Azure machine: the run's resource group, the build VM that steps work in, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from builder.azure.cleanup import remove_from_group
from builder.azure.connection import Azure
from builder.azure.errors import AzureError
from builder.azure.ids import ResourceId
from builder.errors import BuildError
from builder.events import Warned
from builder.machines.azure import checkpoints
from builder.machines.azure.cargo import Carrier
from builder.machines.azure.checkpoints import Keeper
from builder.machines.azure.guest import AzureGuest
from builder.machines.azure.last import LastGuest
from builder.machines.azure.names import Names
from builder.machines.azure.observe import resolve_machine
from builder.machines.azure.provision import Provisioner, from_snapshots
from builder.machines.azure.reading import lasting
from builder.machines.azure.resolved import SECURITY_TYPES, ResolvedMachine, ResolvedSource
from builder.machines.azure.run_commands import RunCommands
from builder.machines.azure.vm import Vm
from builder.model.artifact import Artifact, Inventory
from builder.model.cleaning import DAY_SECONDS
from builder.model.run import Guest, GuestScript, MachineLost, Run
from builder.model.spec import ImageSpec
from builder.model.steps import Stage, Step
from builder.records.store import Store


class AzureSession:
    """The session of one run. Use it as a context manager: what the run made in Azure goes at its end.

    Nothing is made before a step needs it.
    """

    def __init__(self, run: Run, store: Store, azure: Azure) -> None:
        self.run = run
        self.store = store
        self.azure = azure
        self.vm: Vm | None = None
        # Read before the machine's identity goes: afterwards nobody answers
        self.inventory: Inventory | None = None
        self.step: Step | None = None
        # VMs of tests, by their role
        self.test_vms: dict[str, tuple[Vm, AzureGuest]] = {}
        self._made: Provisioner | None = None
        self._keeper: Keeper | None = None
        self._guest: AzureGuest | None = None
        self._checkpoint: list[dict[str, Any]] = []
        self._checkpoint_digest: str | None = None
        self._evictions = 0

    @property
    def image(self) -> ImageSpec:
        """What is built."""
        return self.run.image

    def __enter__(self) -> AzureSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        made = self._made
        if made is None or not made.something_made:
            return
        if kind is not None and made.machine.on_failure == "keep":
            self.warn(
                f"the build VM and what belongs to it stay in resource group {made.names.group}: they cost money until "
                f"`build gc` removes them, or you do (their tag is build-run={self.run.id})",
                "azure-kept",
            )
            return
        try:
            self._remove(made)
        except AzureError as error:
            self.warn(f"{made.names.group} could not be removed: {error.message}; `build gc` tries again", "left-over")

    def _remove(self, made: Provisioner) -> None:
        with self.run.effect("azure.remove", resource=str(made.names.group_id)):
            if made.group_made:
                # Not waited for: it takes minutes, and nothing depends on it
                self.azure.delete(made.names.group_id)
            else:
                remove_from_group(self.azure, made.names.group_id, self.run.id, self.image.name)

    def provisioner(self, source: ResolvedSource) -> Provisioner:
        """What makes VMs of this run. The machine is resolved anew: sizes and rooms change between plan and apply."""
        if self._made is None:
            # What the source allows was checked when the plan was made, and is no part of it
            allowed = replace(
                source, security=SECURITY_TYPES, controllers=("SCSI", "NVMe"), accelerated_networking=True
            )
            machine = resolve_machine(self.image, allowed, self.azure, lasting(self.azure))
            names = Names(self.azure.subscription, self.run.id, self.image.name, machine.group)
            self._made = Provisioner(self.azure, self.run, machine, names)
        return self._made

    @property
    def keeper(self) -> Keeper:
        """Takes snapshots that outlive the run."""
        assert self._made is not None
        if self._keeper is None:
            days = int(_expire_seconds(self.image) // DAY_SECONDS)
            self._keeper = Keeper(self.azure, self.run, self._made, self._made.names, days=days)
        return self._keeper

    def provision(self, source: ResolvedSource) -> Vm:
        """Make the build VM. Raises MachineLost when Azure takes it away before it is ready."""
        self._forget_vm()
        vm = self.provisioner(source).make(source, self._role(), self.image.disks, spot=True)
        vm.recover = self._recover
        self.vm = vm
        vm.wait_agent()
        self._guest = self.guest_of(vm)
        return vm

    @property
    def provisioner_made(self) -> Provisioner:
        """What made the build VM."""
        assert self._made is not None
        return self._made

    def second_vm(self, role: str, source: ResolvedSource) -> Vm:
        """Another VM, without the spec's own data disks."""
        vm = self.provisioner_made.make(source, role)
        vm.wait_agent()
        return vm

    def _role(self) -> str:
        """Each try has resources of its own: those of the one before may still be going."""
        return "vm" if self._evictions == 0 else f"vm-{self._evictions + 1}"

    def _forget_vm(self) -> None:
        self.vm = self._guest = None

    def guest_of(self, vm: Vm) -> AzureGuest:
        """The system inside a VM."""
        carrier = Carrier(self.provisioner_made, vm, self.store.work)
        return AzureGuest(RunCommands(self.azure, self.run, vm), self.image.os.family, carrier)

    def warn(self, message: str, code: str) -> None:
        """Tell a person what doesn't stop the run."""
        self.run.emit(Warned(image=self.image.name, message=message, code=code))

    def start_at(self, digest: str) -> None:
        """A VM from the snapshots of a checkpoint. Raises BuildError ("store-changed") when they are gone."""
        # Where they are depends on the machine's region, which the image tells without its source
        machine = resolve_machine_place(self.image, self.azure)
        kept = checkpoints.known(self.azure, machine.location, machine.group).checkpoints.get(digest)
        if kept is None:
            raise _gone("checkpoint")
        self._start(list(kept), digest)

    def _start(self, snapshots: list[dict[str, Any]], digest: str) -> None:
        source = from_snapshots(
            checkpoints.source_disks(snapshots),
            family=self.image.os.family,
            name=f"checkpoint {digest}",
            architecture=self.image.os.architecture,
        )
        self._checkpoint, self._checkpoint_digest = snapshots, digest
        while True:
            try:
                self.provision(source)
                return
            except MachineLost as lost:
                self._give_up()
                self.warn(f"{lost.message}: it is made again", "machine-lost")

    def _recover(self) -> str | None:
        """Azure took the VM away: make it again from the last checkpoint, or let it begin at its source."""
        self._give_up()
        if self._checkpoint_digest is None:
            return None
        self._start(self.keeper.wait_copied(self._checkpoint), self._checkpoint_digest)
        return self._checkpoint_digest

    def _give_up(self) -> None:
        """Let go of a VM that Azure took away. Raises BuildError when that was once too often."""
        spot = self.provisioner_made.machine.spot
        self._evictions += 1
        lost = self.vm
        self._forget_vm()
        if spot is None or self._evictions > spot.retries:
            raise BuildError(
                f"Azure took the spot VM away {self._evictions} times",
                code="machine-lost",
                hint="raise `machine.azure.spot.maxPrice` or `retries`, list more sizes, or build without `spot`",
            )
        if lost is not None:
            with self.run.effect("azure.vm", resource=str(lost.id), action="delete"):
                self.azure.delete(lost.id)

    def begin(self, step: Step) -> None:
        """Prepare a step. Before the machine's identity goes, what it holds is read."""
        self.step = step
        if step.stage == Stage.GENERALIZE:
            self.inventory = self.read_inventory()

    def commit(self, step: Step) -> None:
        """Keep the disks as the checkpoint of this step, where the step says so."""
        self.step = None
        if step.stage == Stage.PREPARE and step.kept and self.vm is not None:
            self._checkpoint = self.keeper.checkpoint(self.vm, step.digest, step.title)
            self._checkpoint_digest = step.digest

    def abort(self) -> None:
        """Nothing to throw away: the VM of a step that failed goes with the session, and is not used any more."""
        self.step = None

    @property
    def guest(self) -> Guest:
        """The system of the build VM; for the step that takes its identity out, one that ends with that."""
        assert self._guest is not None, "the source step makes the machine"
        assert self.vm is not None
        if self.step is not None and self.step.stage == Stage.GENERALIZE and self.image.os.family == "linux":
            return LastGuest(self._guest, self.vm, self.check_of_generalize())
        return self._guest

    def check_of_generalize(self) -> GuestScript:
        """Looks in the guest whether all was done that the spec chose."""
        from builder.guest.generalize import selection
        from builder.guest.operations import applicable
        from builder.guest.verify_script import verify_script

        assert self._guest is not None
        chosen = selection(self.image)
        operations = applicable(chosen.operations, dict(self._guest.facts.os_release))
        return verify_script(operations, chosen.keep, chosen.users)

    def read_inventory(self) -> Inventory:
        """What the guest holds, told by itself."""
        from builder.guest.kinds import paths_of_ours

        assert self._guest is not None
        paths = paths_of_ours(self.image)
        if self.image.os.family == "windows":
            from builder.guest import windows_inventory
            from builder.guest.results import ResultReader

            reader = ResultReader(lambda line: None)
            reader(self._guest.read(windows_inventory.inventory_script(paths)))
            return windows_inventory.parse_inventory(reader.result())
        from builder.guest.live_inventory import inventory_script, parse_inventory

        return parse_inventory(self._guest.read(inventory_script(paths)))

    def restart(self, timeout: float | None) -> None:
        """Restart the build VM and wait until its agent answers."""
        assert self.vm is not None
        self.vm.restart(timeout)

    def adopt(self, digest: str) -> tuple[Artifact, Inventory]:
        """The disks that a run captured under this digest and did not publish, as the store remembers them."""
        from builder.machines.azure.saved import load

        machine = resolve_machine_place(self.image, self.azure)
        kept = checkpoints.known(self.azure, machine.location, machine.group).artifacts
        found = load(self.store, digest, self.image.name)
        if found is None or digest not in kept:
            raise _gone("captured disks")
        return found

    def release(self, artifact: Artifact) -> None:
        """The versions are published: the captured disks go, without waiting for it."""
        for disk in artifact.disks:
            with self.run.effect("azure.remove", resource=disk.resource):
                self.azure.delete(ResourceId.parse(disk.resource))
        self.store.drop_artifact(artifact.digest, artifact.image, self.run.id)


def resolve_machine_place(image: ImageSpec, azure: Azure) -> ResolvedMachine:
    """Where the machine is: its region and group; not whether a size can be had."""
    from builder.machines.azure.reading import Cache, Reader
    from builder.machines.azure.wanted import find_location, wanted_machine

    location = find_location(image, Reader(azure, Cache()))
    return wanted_machine(image, subscription=azure.subscription, location=location)


def _expire_seconds(image: ImageSpec) -> float:
    """How long the project keeps checkpoints."""
    from builder.spec.project import load_project

    return load_project(image.root, None)[0].expire_checkpoints


def _gone(what: str) -> BuildError:
    """Only a time between plan and apply in which somebody cleaned up can lead here."""
    message = f"the {what} that the plan starts from can't be found in Azure any more"
    return BuildError(message, code="store-changed", hint="plan again: it is made anew")
