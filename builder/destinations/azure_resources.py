"""Versions that are resources of their own in a resource group: managed images, snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.destinations import azure_manifests as manifests
from builder.destinations.azure_follow import connection, deleted
from builder.destinations.azure_manifests import HERE
from builder.destinations.gallery_definition import Difference
from builder.destinations.usage import users_of_images
from builder.errors import BuildError, PlanStale
from builder.model.observed import FOREIGN, Blocker, Traits
from builder.model.run import StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Step
from builder.records.manifest_places import manifests_in

if TYPE_CHECKING:
    from builder.azure.connection import Azure


def kept_tags() -> dict[str, str]:
    """The tags of what is made once and stays: it belongs to no run, so no clean-up takes it away."""
    made = tag_names.ours(run="")
    return {tag_names.TOOL: made[tag_names.TOOL]}


def taken(id: ResourceId) -> PlanStale:
    """The error for a name that holds something else."""
    return PlanStale(
        f"{id.short} in {id.group} exists with another content, or was {FOREIGN}",
        code="plan-stale",
        hint="plan again: the next version will be taken",
    )


def locations_differ(choice: Choice, name: str, image: ImageSpec, traits: Traits) -> Iterator[Blocker]:
    """Azure makes these from snapshots of their own region only."""
    wanted = choice.values.get("location")
    if traits.where not in (HERE, wanted) and wanted is not None:
        yield Blocker(
            f"the image is built in {traits.where}, and {name} is to be in {wanted}: Azure makes it in the region of "
            "the disks",
            image.place(*choice.path, "location"),
            hint=f"write `location: {traits.where}`, or build in {wanted} (machine.azure.location)",
            code="destination-location",
        )


def tag_differences(body: Mapping[str, Any], wanted: Mapping[str, str]) -> list[Difference]:
    """The spec's tags that a resource lacks, or has with another value."""
    have = {name.lower(): value for name, value in (body.get("tags") or {}).items()}
    return [
        Difference(f"tag {name}", have.get(name.lower(), "none"), value, ("publish", "tags"))
        for name, value in wanted.items()
        if have.get(name.lower()) != value
    ]


def ensure_group(azure: Azure, id: ResourceId, location: str, context: StepContext) -> None:
    """Make the resource group that a resource is to stand in, where it is missing."""
    if azure.find(id.group_id) is None:
        context.log(f"making {id.group_id.short}")
        body = {"location": location, "tags": kept_tags()}
        azure.put(id.group_id, body, stop=context.run.stop).wait(stop=context.run.stop)


def location_of(azure: Azure, id: ResourceId, step: Step) -> str:
    """Where a resource is made: as the step says, else where its group is. Raises BuildError when nothing says."""
    found = str(step.inputs["location"])
    group = azure.find(id.group_id) if not found else None
    if not found and group is None:
        raise BuildError(
            f"{id.group_id.short} doesn't exist, and nothing says in which region to make it",
            code="destination-location",
            where=step.place,
            hint="write `location`",
        )
    return found or region_name((group or {})["location"])


def settle(step: Step, context: StepContext, ids: Sequence[ResourceId], azure: Azure, state: str) -> None:
    """The tags of all resources of a version say what became of its tests; its record has their results."""
    tags: Mapping[str, str] = azure.get(ids[0]).get("tags") or {}
    if not manifests.is_of(tags, context.run.image.name):
        raise BuildError(f"{ids[0].name} was {FOREIGN}: it is left alone", code="foreign-version")
    store = manifests_in(step.inputs["records"], context.run.image.root)
    key = tags.get(tag_names.MANIFEST, "")
    recorded = store.read(key) if store is not None and context.checks else None
    if store is not None and recorded is not None:
        store.write(key, replace(recorded, tests=tuple(vars(check) for check in context.checks)))
    with context.run.effect(step.kind.partition(".")[0], version=step.inputs["version"], resource=str(ids[0])):
        change_tags(azure, ids, {tag_names.STATE: state}, context)
    if state == manifests.PROMOTED and str(ids[0]) not in context.locations:
        context.locations.append(str(ids[0]))


def change_tags(azure: Azure, ids: Sequence[ResourceId], changes: Mapping[str, str], context: StepContext) -> None:
    """Add tags to resources, or give them other values."""
    from builder.azure.operations import wait_all

    stop = context.run.stop
    begun = [azure.patch(id, {"tags": {**(azure.get(id).get("tags") or {}), **changes}}, stop=stop) for id in ids]
    wait_all(begun, stop=stop)


def retire_resource(step: Step, context: StepContext) -> None:
    """Delete a version of ours, unless something uses it by now."""
    id = ResourceId.parse(step.inputs["id"])
    azure = connection(id.subscription)
    body = azure.find(id)
    if body is None:
        context.log(f"{id.name} is gone already")
        return
    if not manifests.is_of(body.get("tags"), context.run.image.name):
        raise BuildError(f"{id.name} was {FOREIGN}: it is left alone", code="foreign-version")
    user = users_of_images(azure, id.subscription).get(str(id).lower())
    if user:
        raise BuildError(
            f"{id.name} is used by {user}, so it stays",
            code="version-in-use",
            where=step.place,
            hint="move that to a newer version; the next apply asks again",
        )
    with context.run.effect("retire", version=step.inputs["version"], resource=str(id)):
        deleted(azure, [id], id.short, context)
