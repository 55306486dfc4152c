"""What destinations in Azure have in common: their steps, and the version in their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.azure.ids import ResourceId
from builder.azure.names import name_problem
from builder.destinations.gallery_definition import Difference
from builder.errors import BuildError, Place
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Stage, Step
from builder.model.version import NEUTRAL, is_version, unversioned


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


def versioned(neutral: str, rendered: str, version: str) -> str:
    """The name of a version's resource, from the spec's name as rendered without a version, and with this one.

    The version is in it: put there by the spec's own template, or else at its end.
    """
    by_template = rendered != neutral and re.search(_apart(version), rendered) is not None
    return rendered if by_template else f"{rendered}-{version}"


def versioned_name(choice: Choice, image: ImageSpec, version: str) -> str:
    """The same for a destination, as it is in a spec without a version, and an image that is rendered with one."""
    neutral, rendered = (str(item.values.get("name", image.name)) for item in (choice, as_rendered(choice, image)))
    return versioned(neutral, rendered, version)


def resolved_name(group: ResourceId, kind: str, choice: Choice, image: ImageSpec) -> str:
    """Where versions of a kind of resource stand: their group, and their names but for the version."""
    name = unversioned(str(choice.values.get("name", image.name)))
    return f"{group}/{kind}/{name}".lower()


def fitting(kind: str, name: str, choice: Choice, image: ImageSpec) -> str:
    """A version's name. Raises BuildError, with the place of the spec's own part of it, when Azure would refuse it."""
    problem = name_problem(kind, name)
    if problem is not None:
        where = image.place(*choice.path, "name")
        hint = "write another `name`, shorter where it is too long: the version is added to it"
        raise BuildError(problem, code="azure-name", where=where, hint=hint)
    return name


def version_in(name: str, neutral: str) -> str:
    """The version that a name says which `versioned` could have made; "" for any other name."""
    found = re.search(_apart(NEUTRAL), neutral)
    before, after = (neutral[: found.start()], neutral[found.end() :]) if found else (f"{neutral}-", "")
    match = re.fullmatch(f"{re.escape(before)}([0-9.]+){re.escape(after)}", name, re.IGNORECASE)
    return match[1] if match is not None and is_version(match[1]) else ""


def _apart(version: str) -> str:
    """A version that is no part of a longer number: "1.0.0" is not in "sql-11.0.0"."""
    return rf"(?<![0-9.]){re.escape(version)}(?!\.?[0-9])"


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
