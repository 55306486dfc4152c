"""What destinations in Azure have in common: their steps, and the version in their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.destinations.gallery_definition import Difference
from builder.errors import BuildError, Place
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Stage, Step


def publishing_step(kind: str, title: str, inputs: Mapping[str, Any], changes: Sequence[Change], place: Place) -> Step:
    """A step of the publish stage. Its result is in the world, so that no later step stands on its digest."""
    return Step(
        stage=Stage.PUBLISH,
        kind=kind,
        title=title,
        inputs=inputs,
        changes=tuple(changes),
        place=place,
        identity=False,
    )


def as_rendered(choice: Choice, image: ImageSpec) -> Choice:
    """The same destination in an image that is rendered with another version: names may hold the version."""
    return image.publish.to[int(choice.path[2])]


def versioned(base: str, version: str) -> str:
    """A resource's name with the version in it; where the spec has put it there already, as it is."""
    return base if version in base else f"{base}-{version}"


def refuse_fixed(name: str, image: ImageSpec, found: Sequence[Difference]) -> None:
    """Raise BuildError ("needs-new-version") for differences that Azure can't change in place."""
    fixed = [item for item in found if not item.updatable]
    if fixed:
        raise BuildError(
            f"{name} can't be changed in {'; '.join(map(str, fixed))}: Azure fixes that when it is made",
            code="needs-new-version",
            where=image.place(*fixed[0].path),
            hint=f"undo the change, or make a new version: --rebuild {image.name}",
        )
