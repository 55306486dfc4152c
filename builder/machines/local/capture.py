"""The capture step of the local machine: check what is on the disks, list it, trim it, write fixed VHDs.

The step has a layer of its own over the last one, with clusters as small as the filesystems' blocks: qcow2 can only
let go of whole clusters, and a freed block in a larger one would carry deleted data out. The VHDs are written from
that layer, which stays as the checkpoint to compare them with.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildError
from builder.guest.kinds import paths_of_ours
from builder.guest.kinds.common import listed
from builder.model.artifact import Artifact, CapturedDisk, Inventory
from builder.model.kinds import KINDS, Kind
from builder.model.run import StepContext
from builder.model.spec import ImageSpec
from builder.model.steps import Change, Stage, Step

if TYPE_CHECKING:
    from builder.disk.system import OpenedSystem
    from builder.disk.tree import GuestTree
    from builder.machines.local.session import LocalSession

MOST_SHOWN = 40
MOST_NAMED = 5


def capture_step(image: ImageSpec) -> Step:
    """The step that turns the machine's disks into an artifact."""
    disks = ["os.vhd"]
    if image.capture == "vmImage":
        disks += [f"data-{disk.lun}.vhd" for disk in image.disks.data]
    words = {"osImage": "OS image", "vmImage": "VM image"}
    return Step(
        stage=Stage.CAPTURE,
        kind="capture",
        title=f"capture {words[image.capture]}, {'generalized' if image.generalize else 'specialized'}",
        inputs={"kind": image.capture, "generalized": image.generalize is not None},
        changes=tuple(Change("create", "disk", name) for name in disks),
        place=image.place("capture"),
        checkpoint=True,
    )


def _run_capture(step: Step, context: StepContext) -> None:
    from builder.disk.trimming import trim
    from builder.guest.inventory import read_inventory

    session: LocalSession = context.session
    image = context.run.image
    context.progress(0, None, "", "checking what is on the disks")
    system = session.open_to_capture()
    _refuse_lost_data(step, context)
    _verify(system.tree, image)
    _refuse_unseen(system, image)
    _forget_random_seeds(system, context)
    inventory = read_inventory(system.tree, paths_of_ours(image))
    context.progress(0, None, "", "letting go of freed blocks")
    trim(system)
    session.close_system()
    context.inventory = inventory
    context.artifact = _write(step, context, inventory)


def _refuse_lost_data(step: Step, context: StepContext) -> None:
    """An OS image leaves data disks behind, also those that the source brought."""
    session: LocalSession = context.session
    data = [str(lun) for _, lun in session.disks if lun is not None]
    if step.inputs["kind"] == "osImage" and data:
        raise BuildError(
            f"this machine has data disks (LUN {', '.join(data)}); an OS image leaves them and what is on them behind",
            code="data-disks-left",
            where=step.place,
            hint="write `capture: {kind: vmImage}`",
        )


def _refuse_unseen(system: OpenedSystem, image: ImageSpec) -> None:
    """A filesystem that was not mounted was neither cleaned nor scanned: nobody knows what it carries."""
    if image.generalize is None:
        return
    from builder.disk.filesystems import MOUNTABLE

    seen = {filesystem.volume.name for filesystem in system.filesystems}
    unseen = [
        volume.name
        for volume in system.volumes
        if volume.content is not None and volume.content.type in MOUNTABLE and volume.name not in seen
        if volume.disk.lun is None
    ]
    if unseen:
        raise BuildError(
            f"{', '.join(unseen)} holds a filesystem that the image's fstab does not mount, so it was not generalized",
            code="not-generalized",
            where=image.place("generalize"),
            hint="name it in the image's fstab by UUID (a step can), remove it, or write `generalize: false`",
        )
    _refuse_unseen_subvolumes(system, image)


def _refuse_unseen_subvolumes(system: OpenedSystem, image: ImageSpec) -> None:
    """A btrfs can hold copies of the machine, and files beside its system, that no mount shows."""
    from builder.disk.subvolumes import unseen_subvolumes

    for volume in (volume for volume in system.volumes if volume.disk.lun is None):
        unseen = unseen_subvolumes(system, volume)
        if unseen:
            raise BuildError(
                f"{volume.name} holds what was not generalized: {listed(unseen, MOST_NAMED)}",
                code="not-generalized",
                where=image.place("generalize"),
                hint="delete it in the source (`btrfs subvolume delete`), mount it by the image's fstab, or write "
                "`generalize: false`",
                detail="\n".join(unseen[:MOST_SHOWN]) if len(unseen) > MOST_NAMED else None,
            )


def _forget_random_seeds(system: OpenedSystem, context: StepContext) -> None:
    """The part of the operation `random-seed` that no step can do: EFI system partitions aren't mounted there."""
    from builder.disk.efi import RANDOM_SEED, forget_random_seed
    from builder.guest.generalize import deletes

    if not deletes(context.run.image, RANDOM_SEED):
        return
    fats = [volume for volume in system.volumes if volume.content is not None and volume.content.type == "vfat"]
    for volume in fats:
        if volume.disk.lun is None and forget_random_seed(volume):
            context.log(f"removed {RANDOM_SEED} from {volume.name}")


def _verify(tree: GuestTree, image: ImageSpec) -> None:
    from builder.guest.generalize import place_of, verify_image

    findings = verify_image(tree, image)
    if not findings:
        return
    lines = [finding.describe() for finding in findings]
    more = f"\n… {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    raise BuildError(
        f"the image is not generalized: {len(findings)} {'thing' if len(findings) == 1 else 'things'} of this machine "
        "would go into every VM",
        code="not-generalized",
        where=place_of(image),
        hint="if one belongs in the image, keep it: `generalize: {keep: [PATH]}`",
        detail="\n".join(lines[:MOST_SHOWN]) + more,
    )


def _write(step: Step, context: StepContext, inventory: Inventory) -> Artifact:
    from builder.disk.capture import write_fixed_vhd
    from builder.machines.local.saved import save_capture

    session: LocalSession = context.session
    store, run = session.store, context.run
    disks = []
    with run.effect("capture", digest=step.digest), ExitStack() as stack:
        folder = store.new_artifact(step.digest, run.image.name, run.id)
        stack.callback(shutil.rmtree, folder)
        for name, lun in session.disks:
            if lun is not None and step.inputs["kind"] == "osImage":
                continue
            target = folder / Path(name).with_suffix(".vhd").name
            captured = write_fixed_vhd(
                session.layer(name),
                target,
                progress=partial(_tell, context, f"writing {target.name}"),
                stop=run.stop,
            )
            disks.append(CapturedDisk(target.stem, lun, captured.size, captured.digest, captured.data_bytes, target))
        artifact = Artifact(run.image.name, step.digest, bool(step.inputs["generalized"]), tuple(disks), folder)
        saved = save_capture(store, folder, artifact, inventory)
        stack.pop_all()
        return saved.artifact


def _tell(context: StepContext, doing: str, done: int, total: int) -> None:
    context.progress(done, total, "bytes", doing)


KINDS.register(Kind("capture", 2, _run_capture))
