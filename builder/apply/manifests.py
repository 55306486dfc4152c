"""The manifest of a version that is about to be published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from builder import __version__
from builder.model.artifact import Artifact, Manifest, ManifestDisk
from builder.model.plan import ImagePlan
from builder.model.run import StepContext
from builder.model.steps import Step


def recorded_step(step: Step) -> dict[str, Any]:
    """What a manifest keeps of a step: enough for a later plan to say which input changed."""
    return {
        "stage": str(step.stage),
        "kind": step.kind,
        "title": step.title,
        "inputs": dict(step.inputs),
        "files": [asdict(file) for file in step.files],
        "digest": step.digest,
    }


def make_manifest(item: ImagePlan, context: StepContext) -> Manifest:
    """The manifest of the artifact that the context holds. Secrets are in it as references only."""
    image, artifact = context.run.image, context.artifact
    assert artifact is not None
    assert context.inventory is not None
    assert item.version is not None
    steps = [planned.step for planned in item.steps if planned.step.identity]
    return Manifest(
        image=image.name,
        version=item.version,
        digest=item.digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=f"build {__version__}",
        run=context.run.id,
        generalized=artifact.generalized,
        kind=image.capture,
        architecture=image.os.architecture,
        generation=image.os.generation,
        source=dict(steps[0].inputs),
        steps=tuple(recorded_step(step) for step in steps),
        disks=manifest_disks(artifact),
        recorded_inventory=context.inventory.as_dict(),
        description=image.description,
        tags=dict(image.tags),
        tests=tuple(asdict(check) for check in context.checks),
        timings=_rounded(context.timings),
    )


def manifest_disks(artifact: Artifact) -> tuple[ManifestDisk, ...]:
    """The disks as a manifest tells them."""
    return tuple(
        ManifestDisk(disk.path.name if disk.path else disk.name, disk.lun, disk.size, disk.digest, disk.data_bytes)
        for disk in artifact.disks
    )


def _rounded(timings: Mapping[str, float]) -> dict[str, float]:
    # A copy: steps that run at the same time add theirs
    return {name: round(seconds, 3) for name, seconds in dict(timings).items()}
