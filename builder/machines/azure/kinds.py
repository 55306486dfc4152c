"""The first steps of an Azure build: the VM from its source, and the data disks in the shape that the spec wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId
from builder.errors import BuildError
from builder.machines.azure.resolved import DISKS, SOURCE, ResolvedSource, SourceDisk
from builder.model.artifact import Artifact, Manifest
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestScript, StepContext
from builder.model.steps import Step

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession

TEMPLATES = Path(__file__).parent / "templates"
VERSION = "Microsoft.Compute/galleries/images/versions"


def _run_source(step: Step, context: StepContext) -> None:
    session: AzureSession = context.session
    source = source_of(step, context)
    context.progress(0, None, "", "making the build VM")
    vm = session.provision(source)
    context.log(f"{vm.id.short} runs in {vm.location} as {session.provisioner(source).size}")


def source_of(step: Step, context: StepContext) -> ResolvedSource:
    """What the first step starts from. Raises BuildError when a base of this project can't be had."""
    if "disks" in step.inputs:
        return ResolvedSource.from_inputs(step.inputs)
    found = context.base(str(step.inputs["image"]), str(step.inputs["digest"]))
    return base_source(context.session.azure, found, step)


def base_source(azure: Azure, found: list[tuple[Artifact, Manifest]], step: Step) -> ResolvedSource:
    """A version of another image of this project as a source. Raises BuildError when none of them is in Azure."""
    for artifact, manifest in found:
        plan, family = None, _family(manifest)
        if artifact.resource:
            id = ResourceId.parse(artifact.resource)
            plan = plan_of(azure, id)
            disks = tuple(SourceDisk(disk.lun, disk.size) for disk in artifact.disks)
            reference = {"id": artifact.resource}
        elif all(disk.resource for disk in artifact.disks):
            disks = tuple(SourceDisk(disk.lun, disk.size, "snapshot", disk.resource) for disk in artifact.disks)
            reference = {}
        else:
            continue
        return ResolvedSource(
            kind="image",
            name=f"{manifest.image} {manifest.version}",
            family=family,
            generation=manifest.generation,
            architecture=manifest.architecture,
            generalized=manifest.generalized,
            disks=disks,
            reference=reference,
            plan=plan,
        )
    raise BuildError(
        f"no version of {step.inputs['image']} with the planned digest is in Azure",
        code="base-elsewhere",
        where=step.place,
        hint="publish the base to a gallery, or build this image with machine local",
    )


def _family(manifest: Manifest) -> str:
    return "windows" if manifest.recorded_inventory.get("os", {}).get("ID") == "windows" else "linux"


def plan_of(azure: Azure, id: ResourceId) -> dict[str, str] | None:
    """The purchase plan that VMs of a gallery's version have to name; None for none."""
    if id.kind.lower() != VERSION.lower():
        return None
    plan = azure.get(id.parent)["properties"].get("purchasePlan")
    return {key: str(plan[key]) for key in ("name", "product", "publisher")} if plan else None


def _run_disks(step: Step, context: StepContext) -> None:
    """The VM has its disks since it was made: here the guest takes them into use."""
    script = disks_script(step.inputs, context.run.image.os.family)
    if script is not None:
        guest = context.session.guest
        guest.execute(replace(script, timeout=step.timeout), context.log)


def disks_script(inputs: Mapping[str, Any], family: str) -> GuestScript | None:
    """The script that grows the root filesystem, and makes and mounts filesystems on the data disks."""
    if family == "windows":
        return _windows_disks(inputs)
    words: list[str] = []
    # Parents first: the folder of a nested mount belongs on its parent's disk
    for disk in sorted(inputs["data"], key=lambda disk: ((disk["mount"] or "").rstrip("/").count("/"), disk["lun"])):
        if disk["filesystem"] is not None:
            words += [str(disk["lun"]), disk["filesystem"], disk["label"] or "", disk["mount"] or ""]
    text = "\n".join((TEMPLATES / f"{name}.sh").read_text(encoding="utf-8") for name in ("devices", "disks"))
    return GuestScript(text, arguments=("grow" if inputs["os_size"] else "keep", *words))


def _windows_disks(inputs: Mapping[str, Any]) -> GuestScript | None:
    if inputs["os_size"] is None:
        return None
    from builder.guest.powershell import script

    lines = [
        "Update-HostStorageCache",
        "$letter = $env:SystemDrive.Substring(0, 1)",
        "$most = (Get-PartitionSupportedSize -DriveLetter $letter).SizeMax",
        "$size = (Get-Partition -DriveLetter $letter).Size",
        "if ($most -gt $size) { Resize-Partition -DriveLetter $letter -Size $most }",
    ]
    return script("grow the system's drive", lines)


KINDS.register(Kind(SOURCE, 1, _run_source))
KINDS.register(Kind(DISKS, 2, _run_disks))
