"""A plan that promotes a version which was held back: a person's decision, whatever its tests said."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from builder import __version__
from builder.destinations.base import Destination
from builder.errors import BuildError
from builder.model.kinds import KINDS, KindRegistry
from builder.model.observed import FOREIGN, PublishedVersion, VersionState
from builder.model.plan import Action, ImagePlan, Plan, PlannedStep, Reason
from builder.model.spec import ImageDocument
from builder.model.steps import Step
from builder.plan.digests import chain
from builder.plan.planner import LIFETIME
from builder.plan.retention import is_good


def promotion(
    document: ImageDocument,
    version: str,
    destinations: Sequence[Destination],
    *,
    root: Path,
    kinds: KindRegistry = KINDS,
) -> Plan:
    """The plan that promotes `version` wherever it is held back; without changes when it is nowhere.

    `destinations` are those of the image. Raises BuildError when none has the version, or it isn't ours.
    """
    image = document.render(version)
    found: list[PublishedVersion] = []
    steps: list[Step] = []
    names: list[str] = []
    for destination in destinations:
        standing = next((item for item in destination.observe(image).versions if item.version == version), None)
        if standing is None:
            continue
        _check(standing, destination, document)
        found.append(standing)
        if standing.state == VersionState.HELD:
            steps += destination.promote_steps(image, version)
            names.append(destination.name)
    if not found:
        raise BuildError(
            f"no destination has version {version} of {document.name}",
            code="not-found",
            hint=f"`build show {document.name}` lists the versions",
        )
    assert found[0].manifest is not None
    digest = found[0].manifest.digest
    moment = datetime.now(UTC)
    item = ImagePlan(
        image=document.name,
        file=image.file,
        place=document.place,
        action=Action.PUBLISH if steps else Action.NONE,
        reasons=(Reason("version_held", _why(found), document.place),) if steps else (),
        digest=digest,
        version=version,
        current_version=version,
        steps=tuple(PlannedStep(step, "run") for step in chain(steps, kinds, parent=digest)),
        destinations=tuple(names),
    )
    return Plan(
        id=uuid.uuid4().hex[:12],
        created=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        expires=f"{moment + LIFETIME:%Y-%m-%dT%H:%M:%SZ}",
        tool=__version__,
        root=str(root),
        images=(item,),
        inputs={},
        observed={},
    )


def _check(standing: PublishedVersion, destination: Destination, document: ImageDocument) -> None:
    name = f"version {standing.version} at {destination.name}"
    if standing.manifest is None:
        raise BuildError(f"{name} was {FOREIGN}", code="foreign-version", where=document.place)
    if not standing.is_whole:
        raise BuildError(
            f"{name} is not finished: there is nothing to promote",
            code="version-unfinished",
            where=document.place,
            hint="run `build apply`: it follows or mends it",
        )


def _why(found: Sequence[PublishedVersion]) -> str:
    failed = any(item.manifest is not None and not is_good(item.manifest) for item in found)
    return "its tests have failed, and you promote it all the same" if failed else "promoted by request"
