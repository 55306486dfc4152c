"""Snapshots as a destination: one for each disk, told apart by the version in their names and their tags.

A version is whole once all its snapshots are, with their data copied. Azure changes nothing of them but their tags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId, compute, group_id
from builder.azure.names import check_name
from builder.destinations import azure_manifests as manifests
from builder.destinations.azure_disks import Source, disk_sources, gives_out
from builder.destinations.azure_follow import FOLLOW_SECONDS, Patience, connection, deleted, ended, places_in
from builder.destinations.azure_manifests import HERE
from builder.destinations.azure_resources import (
    change_tags,
    ensure_group,
    location_of,
    locations_differ,
    settle,
    tag_differences,
    taken,
)
from builder.destinations.azure_steps import (
    as_rendered,
    fitting,
    publishing_step,
    resolved_name,
    version_in,
    versioned_name,
)
from builder.destinations.gallery_definition import OS_TYPES
from builder.destinations.listings import Listings
from builder.destinations.surroundings import Surroundings
from builder.errors import BuildError, PlanStale
from builder.model.artifact import Artifact, CapturedDisk, ManifestDisk
from builder.model.cleaning import Place
from builder.model.kinds import KINDS, Kind
from builder.model.observed import Blocker, Published, PublishedVersion, Traits, VersionState
from builder.model.run import StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Step
from builder.model.version import is_version, version_key
from builder.records.manifest_places import manifests_in
from builder.records.manifests import key_of

if TYPE_CHECKING:
    from builder.azure.connection import Azure

SNAPSHOTS = "Microsoft.Compute/snapshots"
PUBLISH, PROMOTE, REJECT, UPDATE, RETIRE = (
    f"{word}.snapshot" for word in ("publish", "promote", "reject", "update", "retire")
)
# Which disk it is ("os", "data-0"), and which ones the version has
DISK, DISKS = f"{tag_names.PREFIX}disk", f"{tag_names.PREFIX}version-disks"
COPY_SECONDS = 5.0
# Snapshots younger than this may be those of a run that is still making the others of its version
ABANDONED_SECONDS = 3600.0
# The names that a version's disks have, after that of the version
_OF_A_DISK = re.compile(r"(.+)-(?:os|data-[0-9]+)", re.IGNORECASE)

Bodies = Mapping[str, Mapping[str, Any]]


class Snapshots:
    """One `snapshot` destination of a spec."""

    kind = "snapshot"
    # Machines are made of disks that are made of them
    deployable = False

    def __init__(self, choice: Choice, image: ImageSpec, surroundings: Surroundings) -> None:
        values = choice.values
        where = f" in {values['subscription']}" if "subscription" in values else ""
        self.name = f"snapshots {values['resourceGroup']}/{values.get('name', image.name)}{where}"
        self._choice = choice
        self._values = values
        self._surroundings = surroundings
        self._bodies: Mapping[str, Bodies] = {}

    def observe(self, image: ImageSpec) -> Published:
        """The versions among the snapshots of the resource group. Raises AzureError."""
        azure = connection(self._values.get("subscription"))
        group = group_id(azure.subscription, self._values["resourceGroup"])
        listed = _listed(azure, group, self._surroundings.listings)
        self._bodies = bodies = _versions(listed, image.name)
        known = manifests.manifests_of(
            (_seen(version, disks, image) for version, disks in bodies.items() if "os" in disks),
            manifests_in(self._surroundings.records, image.root),
        )
        now = azure.clock.now()
        found = {
            version: PublishedVersion(
                version, known[version], str(disks["os"]["id"]), _state(disks), abandoned=_is_abandoned(disks, now)
            )
            for version, disks in bodies.items()
            if version in known
        }
        for version, id in self._foreign(listed, image):
            # One that is in the way of a disk of ours hides what we have of the version
            if version not in found or found[version].state == VersionState.UNFINISHED:
                found[version] = PublishedVersion(version, None, id)
        ordered = tuple(sorted(found.values(), key=lambda item: version_key(item.version)))
        return Published(self.name, ordered, resolved=resolved_name(group, SNAPSHOTS, self._choice, image))

    def _foreign(self, bodies: Sequence[Mapping[str, Any]], image: ImageSpec) -> Iterator[tuple[str, str]]:
        """Snapshots that are named as disks of a version and aren't ours: the version that they say, and their ids."""
        base = str(self._values.get("name", image.name))
        for body in bodies:
            match = _OF_A_DISK.fullmatch(str(body["name"]))
            version = version_in(match[1], base) if match is not None else ""
            if version and not manifests.is_of(body.get("tags"), image.name):
                yield version, str(body["id"])

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Snapshots stand where the disks are."""
        return tuple(locations_differ(self._choice, self.name, image, traits))

    def takes(self, artifact: Artifact) -> bool:
        """Azure makes these of disks, not of images."""
        return artifact.has_disks and gives_out(connection(self._values.get("subscription")), artifact)

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step: all snapshots. Held back, a tag says so."""
        choice, base = as_rendered(self._choice, image), versioned_name(self._choice, image, version)
        for word in ("os", *(f"data-{disk.lun}" for disk in image.disks.data)):
            fitting(SNAPSHOTS, f"{base}-{word}", self._choice, image)
        inputs = {
            **self._inputs(image, version),
            "base": base,
            "location": choice.values.get("location") or ("" if traits.where == HERE else traits.where),
            "incremental": choice.values["incremental"],
            "held": held,
        }
        title = f"publish {image.name} {version} to {self.name}"
        changes = [Change("create", "snapshots", f"{choice.values['resourceGroup']}/{inputs['base']}")]
        return [publishing_step(PUBLISH, title, inputs, changes, image.place(*choice.path))]

    def _inputs(self, image: ImageSpec, version: str) -> dict[str, Any]:
        subscription = connection(self._values.get("subscription")).subscription
        return {
            "destination": self.name,
            "version": version,
            "group": str(group_id(subscription, self._values["resourceGroup"])),
            "tags": manifests.spec_tags(image),
            "records": {kind: dict(where) for kind, where in self._surroundings.records.items()},
        }

    def _change(self, kind: str, action: str, image: ImageSpec, version: str, details: list[str]) -> Step:
        word = kind.partition(".")[0]
        name = f"{self._values['resourceGroup']}/{self._values.get('name', image.name)} {version}"
        changes = [Change(action, "snapshots", name, detail) for detail in details or [""]]
        title = f"{word} {image.name} {version} in {self.name}"
        place = image.place(*self._choice.path)
        return publishing_step(kind, title, self._inputs(image, version), changes, place)

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step: the tags say that its tests have passed."""
        return [self._change(PROMOTE, "change", image, version, ["passed its tests"])]

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """At most one step: the tags."""
        disks = self._bodies.get(version, {})
        wanted = manifests.spec_tags(image)
        found = {str(item): None for body in disks.values() for item in tag_differences(body, wanted)}
        return [self._change(UPDATE, "change", image, version, list(found))] if found else []

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """One step a version: its snapshots are deleted."""
        return [self._change(RETIRE, "delete", image, version, []) for version in versions]

    def places(self) -> tuple[Place, ...]:
        """The snapshots' subscription: disks that were uploaded for them."""
        return places_in(self._values.get("subscription"))

    def artifact(self, version: PublishedVersion) -> Artifact:
        """The snapshots themselves."""
        assert version.manifest is not None
        manifest, disks = version.manifest, self._bodies[version.version]
        captured = tuple(
            CapturedDisk(word, _lun(word), int(body["properties"].get("diskSizeBytes") or 0), "", 0, None, body["id"])
            for word, body in disks.items()
        )
        return Artifact(manifest.image, manifest.digest, manifest.generalized, captured)


def _lun(word: str) -> int | None:
    return None if word == "os" else int(word.removeprefix("data-"))


def _listed(azure: Azure, group: ResourceId, listings: Listings) -> list[dict[str, Any]]:
    from builder.azure.errors import NotFound

    try:
        return listings.of(azure, group, SNAPSHOTS)
    except NotFound:
        return []


def _versions(bodies: Sequence[Mapping[str, Any]], image: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The snapshots of an image's versions, by version and disk; the OS disk first, then by LUN."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for body in bodies:
        tags = body.get("tags") or {}
        version, word = tags.get(tag_names.VERSION, ""), tags.get(DISK, "")
        if manifests.is_of(tags, image) and is_version(version) and (word == "os" or word[5:].isdigit()):
            found.setdefault(version, {})[word] = body
    return {version: dict(sorted(disks.items(), key=lambda item: (_lun(item[0]) is not None, _lun(item[0]) or 0)))
            for version, disks in found.items()}  # fmt: skip


def _seen(version: str, disks: Bodies, image: ImageSpec) -> manifests.Seen:
    found = tuple(
        ManifestDisk(word, _lun(word), int(body["properties"].get("diskSizeBytes") or 0), "", 0)
        for word, body in disks.items()
    )
    return manifests.Seen(
        version, disks["os"]["tags"], image.os.architecture, image.os.generation, image.generalize is not None, found
    )


def _is_done(body: Mapping[str, Any]) -> bool:
    properties = body["properties"]
    copied = float(properties.get("completionPercent", 100.0)) >= 100.0
    return properties.get("provisioningState") in ("Succeeded", "Updating") and copied


def _state(disks: Bodies) -> VersionState:
    tags = disks["os"]["tags"]
    if set(tags.get(DISKS, "").split()) != set(disks) or not all(map(_is_done, disks.values())):
        return VersionState.UNFINISHED
    return manifests.STATES.get(tags.get(tag_names.STATE, ""), VersionState.PROMOTED)


def _is_abandoned(disks: Bodies, now: float) -> bool:
    """Whether nobody makes a version that is unfinished: Azure works on none of its snapshots, and none is young."""
    old = now - ABANDONED_SECONDS
    return _state(disks) == VersionState.UNFINISHED and all(
        body["properties"].get("provisioningState") == "Failed" or (_is_done(body) and _made(body) < old)
        for body in disks.values()
    )


def _made(body: Mapping[str, Any]) -> float:
    # A time that can't be read says nothing about age: the version stays
    try:
        return datetime.fromisoformat(str(body["properties"].get("timeCreated"))).timestamp()
    except ValueError:
        return math.inf


def _publish(step: Step, context: StepContext) -> None:
    """Make the snapshots that are missing, side by side, and wait until their data are copied."""
    assert context.manifest is not None
    assert context.artifact is not None
    manifest, stop = context.manifest(), context.run.stop
    group = ResourceId.parse(step.inputs["group"])
    azure = connection(group.subscription)
    words = [disk.name for disk in context.artifact.disks]
    ids = [_id(group, str(step.inputs["base"]), word) for word in words]
    location = location_of(azure, ids[0], step)
    ensure_group(azure, ids[0], location, context)
    key = key_of(manifest.image, manifest.version, context.run.id) if step.inputs["records"] else ""
    state = manifests.HELD if step.inputs["held"] else manifests.PROMOTED
    tags = manifests.version_tags(manifest, run=context.run.id, state=state, record=key, extra=step.inputs["tags"])
    tags |= {tag_names.VERSION: manifest.version, DISKS: " ".join(words)}
    missing = [not _stands(azure, id, manifest.digest, context) for id in ids]
    with disk_sources(azure, context, ids[0], location) as sources:
        if not sources:
            raise BuildError(
                f"a snapshot can't be made of {ResourceId.parse(context.artifact.resource).short}",
                code="artifact-unsuitable",
                hint="build anew (--rebuild), with the snapshot among the destinations",
            )
        store = manifests_in(step.inputs["records"], context.run.image.root)
        if store is not None:
            store.write(key, manifest)
        with context.run.effect("publish", version=manifest.version, resource=str(ids[0])):
            begun = [
                azure.put(id, _body(step, context, location, tags | {DISK: word}, source), stop=stop)
                for id, word, source, new in zip(ids, words, sources, missing, strict=True)
                if new
            ]
            ended(begun, f"the snapshots of {step.inputs['version']}", context, FOLLOW_SECONDS)
            for id in ids:
                _wait_for_data(azure, id, context)
    context.locations.append(str(ids[0]))


def _id(group: ResourceId, base: str, word: str) -> ResourceId:
    name = check_name(SNAPSHOTS, f"{base}-{word}")
    return compute(group.subscription, group.group, "snapshots", name)


def _stands(azure: Azure, id: ResourceId, digest: str, context: StepContext) -> bool:
    """Whether a snapshot is there already; one that failed is removed. Raises PlanStale for another content."""
    body = azure.find(id)
    if body is None:
        return False
    tags = body.get("tags") or {}
    if not manifests.is_of(tags, context.run.image.name) or tags.get(tag_names.DIGEST) != digest:
        raise taken(id)
    if body["properties"].get("provisioningState") == "Failed":
        deleted(azure, [id], id.short, context)
        return False
    return True


def _body(step: Step, context: StepContext, location: str, tags: Mapping[str, str], source: Source) -> dict[str, Any]:
    image = context.run.image
    if "uri" in source:
        creation = {
            "createOption": "Import",
            "sourceUri": source["uri"],
            "storageAccountId": source["storageAccountId"],
        }
    else:
        creation = {"createOption": "Copy", "sourceResourceId": source["id"]}
    properties: dict[str, Any] = {"creationData": creation, "incremental": step.inputs["incremental"]}
    if tags[DISK] == "os":
        properties |= {"osType": OS_TYPES[image.os.family], "hyperVGeneration": f"V{image.os.generation}"}
    return {"location": location, "sku": {"name": "Standard_LRS"}, "tags": dict(tags), "properties": properties}


def _wait_for_data(azure: Azure, id: ResourceId, context: StepContext) -> None:
    """Incremental snapshots copy their data after their operation has ended; the source must stay until then."""
    patience = Patience(azure, id.short, context)
    while not _is_done(body := azure.get(id)):
        if body["properties"].get("provisioningState") == "Failed":
            raise BuildError(f"snapshot {id.name} failed", code="azure-error", hint="run the same apply again")
        percent = int(body["properties"].get("completionPercent") or 0)
        context.progress(percent, 100, "per cent", id.name)
        patience.wait(COPY_SECONDS)


def _standing(step: Step, context: StepContext) -> tuple[Azure, list[ResourceId]]:
    """The snapshots of a version as they are now."""
    group = ResourceId.parse(step.inputs["group"])
    azure = connection(group.subscription)
    disks = _versions(_listed(azure, group, Listings()), context.run.image.name).get(str(step.inputs["version"]), {})
    return azure, [ResourceId.parse(str(body["id"])) for body in disks.values()]


def _settle(step: Step, context: StepContext, state: str) -> None:
    azure, ids = _standing(step, context)
    if not ids:
        raise PlanStale(f"the snapshots of {step.inputs['version']} are gone", code="plan-stale", hint="plan again")
    settle(step, context, ids, azure, state)


def _update(step: Step, context: StepContext) -> None:
    azure, ids = _standing(step, context)
    with context.run.effect("update", version=step.inputs["version"], group=step.inputs["group"]):
        change_tags(azure, ids, step.inputs["tags"], context)


def _retire(step: Step, context: StepContext) -> None:
    azure, ids = _standing(step, context)
    if not ids:
        context.log(f"{step.inputs['version']} is gone already")
        return
    with context.run.effect("retire", version=step.inputs["version"], group=step.inputs["group"]):
        # The OS disk's goes last: as long as it stands, the rest is found as left of this version
        name = f"the snapshots of {step.inputs['version']}"
        deleted(azure, ids[1:], name, context)
        deleted(azure, ids[:1], name, context)


KINDS.register(Kind(PUBLISH, 1, _publish, side_by_side=True))
KINDS.register(Kind(PROMOTE, 1, lambda step, context: _settle(step, context, manifests.PROMOTED), side_by_side=True))
KINDS.register(Kind(REJECT, 1, lambda step, context: _settle(step, context, manifests.FAILED)))
KINDS.register(Kind(UPDATE, 1, _update))
KINDS.register(Kind(RETIRE, 1, _retire))
