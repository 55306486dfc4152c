"""The steps of an Azure build: what plan time resolved, as inputs that the run side reads.

Inputs hold what the result depends on. Sizes, zones, networks and tags are none: another size makes the same image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from builder.guest.kinds import prepare_step
from builder.guest.kinds.common import file_input

# Imported for the kinds that they register: digests cover their versions
from builder.machines.azure import capture, kinds, tests  # noqa: F401
from builder.machines.azure.names import kept_group
from builder.machines.azure.resolved import (
    CAPTURE,
    DISKS,
    SOURCE,
    TEST_IDENTITY,
    TEST_PROVISION,
    TEST_RUN,
)
from builder.machines.azure.wanted import wanted_machine
from builder.model.spec import MIB, Choice, ImageSpec
from builder.model.steps import Change, FileInput, Preview, Stage, Step

SHOWN_COMMAND = 60
# Files that the VM gets when it is made: what cloud-init or the agent does with them goes into the image
DATA_FILES = ("customData", "userData")
TESTS = {"provision": TEST_PROVISION, "run": TEST_RUN, "identity": TEST_IDENTITY}
CAPTURED = {"osImage": "OS image", "vmImage": "VM image"}


def all_steps(image: ImageSpec, source: Mapping[str, Any], where: str = "") -> list[Step]:
    """The steps of prepare (the source first), generalize, capture and test. `source` is what was observed.

    `where` is the region, which is only shown: an image is the same wherever it was made.
    Raises BuildError for files of the repository that can't be used.
    """
    prepare = [_kept_as_written(prepare_step(choice, image), choice) for choice in image.prepare]
    first = [source_step(image, source, where), *disks_steps(image), *prepare]
    if image.generalize is not None:
        # The backup that must precede what can't be undone
        first[-1] = replace(first[-1], kept=True)
        first.append(replace(_generalize_step(image, prepare), kept=False))
    first = [_with_checkpoint(step, image, where) if step.kept else step for step in first]
    return [*first, capture_step(image), *test_steps(image)]


def _kept_as_written(step: Step, choice: Choice) -> Step:
    """Checkpoints cost money in the cloud: they are kept where the spec says so."""
    return replace(step, kept=bool(choice.values.get("checkpoint")))


def _with_checkpoint(step: Step, image: ImageSpec, where: str) -> Step:
    """A step that leaves a checkpoint, which costs money until it expires: a plan shows that."""
    group = kept_group(where, image.machine.values.get("resourceGroup") or "") if where else ""
    detail = "until it expires" + (f", in resource group {group}" if group else "")
    return replace(step, changes=(*step.changes, Change("create", "checkpoint", f"after “{step.title}”", detail)))


def source_step(image: ImageSpec, source: Mapping[str, Any], where: str = "") -> Step:
    """The step that makes the build VM and its disks.

    Inputs: those of `ResolvedSource` (or `image`, `version` and `digest` of a base of this project), and under
    "machine" those of `ResolvedMachine`. Custom and user data are files of the step.
    """
    machine = image.machine
    files: list[FileInput] = []
    for key in DATA_FILES:
        if machine.values.get(key):
            files.append(file_input(image, machine.values[key], image.place(*machine.path, key)))
    name = source.get("name") or f"image {source.get('image')} {source.get('version', '')}".rstrip()
    places = {key: image.place(*image.source.path, key) for key in image.source.values}
    # An exact version is what a written one, or `latest`, means
    version = image.place(*image.source.path, "version")
    places |= {"name": version, "reference": version}
    written = {"machine": (), "machine.security": ("security",), "machine.controller": ("diskController",),
               "machine.licence": ("licenseType",), **{f"machine.{key}": (key,) for key in DATA_FILES}}  # fmt: skip
    places |= {key: image.place(*machine.path, *path) for key, path in written.items()}
    return Step(
        stage=Stage.PREPARE,
        kind=SOURCE,
        title=f"start from {name}",
        inputs={**source, "machine": wanted_machine(image).as_inputs()},
        changes=(Change("create", "virtual machine", "build VM", _vm_detail(machine.values["size"], where)),),
        files=tuple(files),
        place=image.place(*image.source.path),
        places=places,
        checkpoint=True,
        kept=False,
    )


def _vm_detail(sizes: Sequence[str], where: str) -> str:
    """What a plan shows of the build VM: its sizes, the first that can be had is taken, and the region."""
    return " or ".join(sizes) + (f" in {where}" if where else "")


def disks_steps(image: ImageSpec) -> list[Step]:
    """The step that grows the OS disk and makes the data disks, where the spec asks for either."""
    grow, data = image.disks.os_size, image.disks.data
    if not data and grow is None:
        return []
    changes = [Change("create", "disk", f"data {disk.lun}", disk.mount or "") for disk in data]
    if grow is not None:
        changes.insert(0, Change("update", "disk", "os", f"{grow // MIB} MiB"))
    return [
        Step(
            stage=Stage.PREPARE,
            kind=DISKS,
            title="disks: " + ", ".join(f"{change.name} {change.detail}".strip() for change in changes),
            inputs={
                "os_size": grow,
                "data": [
                    {"lun": disk.lun, "size": disk.size, "filesystem": disk.filesystem, "mount": disk.mount,
                     "label": disk.label}
                    for disk in data
                ],
            },
            changes=tuple(changes),
            place=image.place("disks"),
            checkpoint=True,
            kept=False,
        )
    ]  # fmt: skip


def _generalize_step(image: ImageSpec, prepare: Sequence[Step]) -> Step:
    from builder.guest.generalize import generalize_step

    return generalize_step(image, prepare)


def capture_step(image: ImageSpec) -> Step:
    """The step that turns the VM's disks into snapshots. Inputs: `kind` and `generalized`."""
    disks = ["os"]
    if image.capture == "vmImage":
        disks += [f"data {disk.lun}" for disk in image.disks.data]
    return Step(
        stage=Stage.CAPTURE,
        kind=CAPTURE,
        title=f"capture {CAPTURED[image.capture]}, {'generalized' if image.generalize else 'specialized'}",
        inputs={"kind": image.capture, "generalized": image.generalize is not None},
        changes=tuple(Change("create", "snapshot", name, "until it is published") for name in disks),
        place=image.place("capture"),
        checkpoint=True,
        kept=False,
    )


def test_steps(image: ImageSpec) -> list[Step]:
    """The steps of the test stage: VMs that are made of the published version. Inputs: the check's own values."""
    return [_test_step(choice, image) for choice in image.test]


def _test_step(choice: Choice, image: ImageSpec) -> Step:
    command = str(choice.values.get("command", "")).strip().splitlines() or [""]
    title = {
        "provision": "provision a VM from it" if image.generalize else "boot a VM from it",
        "identity": "two VMs from it share no identity",
        "run": f"run {command[0][:SHOWN_COMMAND]}",
    }[choice.kind]
    return Step(
        stage=Stage.TEST,
        kind=TESTS[choice.kind],
        title=title,
        inputs={**choice.values, "generalized": image.generalize is not None},
        preview=Preview.OPAQUE if choice.kind == "run" else Preview.EXACT,
        changes=(Change("check", "test", title),),
        place=image.place(*choice.path),
        timeout=choice.values.get("timeout"),
        identity=False,
    )
