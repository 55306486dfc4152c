"""A managed image as a destination: generalized, x64, without Trusted Launch; the older way, for who needs it.

Versions are resources of their own, told apart by the version in their names and their tags. Azure changes nothing of
a managed image but its tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId, compute, group_id
from builder.destinations import azure_manifests as manifests
from builder.destinations.azure_disks import Source, disk_sources, gives_out, remove_uploads
from builder.destinations.azure_follow import FOLLOW_SECONDS, Patience, connection, deleted, ended, places_in
from builder.destinations.azure_manifests import HERE
from builder.destinations.azure_resources import (
    change_tags,
    ensure_group,
    location_of,
    locations_differ,
    retire_resource,
    settle,
    tag_differences,
    taken,
)
from builder.destinations.azure_steps import (
    as_rendered,
    fitting,
    publishing_step,
    refuse_fixed,
    resolved_name,
    version_in,
    versioned_name,
)
from builder.destinations.gallery_definition import OS_TYPES, Difference
from builder.destinations.gallery_versions import MOVING
from builder.destinations.surroundings import Surroundings
from builder.errors import BuildError
from builder.model.artifact import Artifact, CapturedDisk, Manifest, ManifestDisk
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

IMAGES = "Microsoft.Compute/images"
PUBLISH, PROMOTE, REJECT, UPDATE, RETIRE = (
    f"{word}.managedImage" for word in ("publish", "promote", "reject", "update", "retire")
)
GIB = 1024**3
LOOK_SECONDS = 10.0
# How a managed image names a source of a disk, by what the source is
_NAMED = {"microsoft.compute/snapshots": "snapshot", "microsoft.compute/disks": "managedDisk"}


class ManagedImage:
    """One `managedImage` destination of a spec."""

    kind = "managedImage"
    deployable = True

    def __init__(self, choice: Choice, image: ImageSpec, surroundings: Surroundings) -> None:
        values = choice.values
        where = f" in {values['subscription']}" if "subscription" in values else ""
        self.name = f"managed image {values['resourceGroup']}/{values.get('name', image.name)}{where}"
        self._choice = choice
        self._values = values
        self._surroundings = surroundings
        self._bodies: Mapping[str, Mapping[str, Any]] = {}

    def observe(self, image: ImageSpec) -> Published:
        """The images in the resource group that are, or are named as, versions of this one. Raises AzureError."""
        azure = self._azure()
        self._bodies = bodies = dict(self._found(azure, image))
        ours = {name: body for name, body in bodies.items() if manifests.is_of(body.get("tags"), image.name)}
        known = manifests.manifests_of(
            (self._seen(name, body, image) for name, body in ours.items()),
            manifests_in(self._surroundings.records, image.root),
        )
        used: Mapping[str, str] = {}
        if ours and (image.publish.retain is not None or image.state == "retired"):
            used = self._surroundings.usage.of(azure, azure.subscription)
        listed = [
            PublishedVersion(
                name,
                known.get(name),
                str(body["id"]),
                _state(body),
                used.get(str(body["id"]).lower(), ""),
                # Its making or its deletion ended badly; while Azure works on it, it says so
                abandoned=body["properties"].get("provisioningState") == "Failed",
            )
            for name, body in bodies.items()
        ]
        listed.sort(key=lambda item: version_key(item.version))
        group = group_id(azure.subscription, self._values["resourceGroup"])
        resolved = resolved_name(group, IMAGES, self._choice, image)
        return Published(self.name, tuple(listed), resolved=resolved)

    def _azure(self) -> Azure:
        return connection(self._values.get("subscription"))

    def _found(self, azure: Azure, image: ImageSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
        from builder.azure.errors import NotFound

        try:
            group = group_id(azure.subscription, self._values["resourceGroup"])
            bodies = self._surroundings.listings.of(azure, group, IMAGES)
        except NotFound:
            return
        base = str(self._values.get("name", image.name))
        # Ours last: such a version stands, whoever has another one of its name
        for body in sorted(bodies, key=lambda body: manifests.is_of(body.get("tags"), image.name)):
            ours = manifests.is_of(body.get("tags"), image.name)
            name = (ours and body["tags"].get(tag_names.VERSION)) or version_in(str(body["name"]), base)
            if is_version(name):
                yield name, body

    @staticmethod
    def _seen(name: str, body: Mapping[str, Any], image: ImageSpec) -> manifests.Seen:
        storage = body["properties"].get("storageProfile", {})
        disks = [(None, storage.get("osDisk", {})), *((disk["lun"], disk) for disk in storage.get("dataDisks") or ())]
        found = tuple(
            ManifestDisk("os" if lun is None else f"data-{lun}", lun, int(disk.get("diskSizeGB") or 0) * GIB, "", 0)
            for lun, disk in disks
        )
        return manifests.Seen(name, body["tags"], "x64", image.os.generation, True, found)

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """What Azure holds in no managed image (its documentation: capture an image of a VM)."""
        place, hint = image.place(*self._choice.path), "publish to a `gallery`"
        reasons = []
        if image.generalize is None:
            reasons.append("a managed image can't be specialized")
        if image.os.architecture != "x64":
            reasons.append("a managed image can't be for Arm64")
        if traits.security != "Standard":
            reasons.append(f"a managed image can't be made from disks of a {traits.security} VM")
        if traits.plan is not None:
            reasons.append("a managed image has no purchase plan, and the source has one")
        found = [Blocker(reason, place, hint=hint, code="managed-image") for reason in reasons]
        return (*found, *locations_differ(self._choice, self.name, image, traits))

    def takes(self, artifact: Artifact) -> bool:
        """Azure makes these of disks, not of other images."""
        return artifact.has_disks and gives_out(self._azure(), artifact)

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step: the image. Held back, a tag says so: Azure knows no latest managed image."""
        choice = as_rendered(self._choice, image)
        id = self._id(choice, image, version)
        inputs = {
            **self._common(id, image, version),
            "location": choice.values.get("location") or ("" if traits.where == HERE else traits.where),
            "storageType": choice.values["storageType"],
            "zoneResilient": choice.values["zoneResilient"],
            "held": held,
        }
        title = f"publish {image.name} {version} to {self.name}"
        changes = [Change("create", "managed image", f"{id.group}/{id.name}")]
        return [publishing_step(PUBLISH, title, inputs, changes, image.place(*choice.path))]

    def _id(self, choice: Choice, image: ImageSpec, version: str) -> ResourceId:
        name = versioned_name(self._choice, image, version)
        fits = fitting(IMAGES, name, self._choice, image)
        return compute(self._azure().subscription, choice.values["resourceGroup"], "images", fits)

    def _common(self, id: ResourceId, image: ImageSpec, version: str) -> dict[str, Any]:
        return {
            "destination": self.name,
            "version": version,
            "id": str(id),
            "tags": manifests.spec_tags(image),
            "records": {kind: dict(where) for kind, where in self._surroundings.records.items()},
        }

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step: the tag says that its tests have passed."""
        id = self._standing_id(image, version)
        title = f"promote {image.name} {version} in {self.name}"
        changes = [Change("change", "managed image", f"{id.group}/{id.name}", "passed its tests")]
        place = image.place(*self._choice.path)
        return [publishing_step(PROMOTE, title, self._common(id, image, version), changes, place)]

    def _standing_id(self, image: ImageSpec, version: str) -> ResourceId:
        body = self._bodies.get(version)
        choice = as_rendered(self._choice, image)
        return ResourceId.parse(str(body["id"])) if body is not None else self._id(choice, image, version)

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """At most one step: its tags. Raises BuildError ("needs-new-version") for anything else."""
        body = self._bodies.get(version)
        if body is None:
            return []
        storage = body["properties"].get("storageProfile", {})
        path = self._choice.path
        rows = (
            ("storageType", storage.get("osDisk", {}).get("storageAccountType", "Standard_LRS")),
            ("zoneResilient", bool(storage.get("zoneResilient"))),
        )
        fixed = [
            Difference(key, str(there), str(self._values[key]), (*path, key), updatable=False)
            for key, there in rows
            if there != self._values[key]
        ]
        id = ResourceId.parse(str(body["id"]))
        refuse_fixed(f"managed image {id.name}", image, fixed)
        found = tag_differences(body, manifests.spec_tags(image))
        if not found:
            return []
        title = f"change managed image {id.name}: {', '.join(item.name for item in found)}"
        changes = [Change("change", "managed image", f"{id.group}/{id.name}", str(item)) for item in found]
        return [publishing_step(UPDATE, title, self._common(id, image, version), changes, image.place(*found[0].path))]

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """One step a version: it is deleted, unless something uses it by then."""
        found = []
        for version in versions:
            id = self._standing_id(image, version)
            title = f"retire {image.name} {version} from {self.name}"
            changes = [Change("delete", "managed image", f"{id.group}/{id.name}")]
            found.append(
                publishing_step(RETIRE, title, self._common(id, image, version), changes, image.place("publish"))
            )
        return found

    def places(self) -> tuple[Place, ...]:
        """The image's subscription: disks that were uploaded for it."""
        return places_in(self._values.get("subscription"))

    def artifact(self, version: PublishedVersion) -> Artifact:
        """The image as a whole: galleries publish from it."""
        assert version.manifest is not None
        manifest = version.manifest
        disks = tuple(
            CapturedDisk(disk.file, disk.lun, disk.size, disk.digest, disk.data_bytes, None, version.location)
            for disk in manifest.disks
        )
        return Artifact(manifest.image, manifest.digest, True, disks, None, version.location)


def _state(body: Mapping[str, Any]) -> VersionState:
    if body["properties"].get("provisioningState") not in ("Succeeded", "Updating"):
        return VersionState.UNFINISHED
    return manifests.STATES.get((body.get("tags") or {}).get(tag_names.STATE, ""), VersionState.PROMOTED)


def _publish(step: Step, context: StepContext) -> None:
    """Make the image, or take one that stands, or that another run is making, with the same content."""
    from builder.azure.errors import AzureError

    assert context.manifest is not None
    manifest = context.manifest()
    id = ResourceId.parse(step.inputs["id"])
    azure = connection(id.subscription)
    if _settled(azure, id, manifest, context):
        context.log(f"{id.name} stands already, with the same content")
        remove_uploads(azure, context, id)
    else:
        try:
            _make(azure, id, manifest, step, context)
        except AzureError:
            # Another run may have begun the same in between
            if not _settled(azure, id, manifest, context):
                raise
    context.locations.append(str(id))


def _settled(azure: Azure, id: ResourceId, manifest: Manifest, context: StepContext) -> bool:
    """Whether the image stands, when nobody works on it any more; a failed one doesn't.

    Raises PlanStale for one with another content.
    """
    patience = Patience(azure, id.short, context)
    while (body := azure.find(id)) is not None:
        if (body.get("tags") or {}).get(tag_names.DIGEST) != manifest.digest:
            raise taken(id)
        if _state(body) != VersionState.UNFINISHED:
            return True
        if body["properties"].get("provisioningState") not in MOVING:
            return False
        context.log(f"{id.name} is being made by another run: waiting for that")
        patience.wait(LOOK_SECONDS)
    return False


def _make(azure: Azure, id: ResourceId, manifest: Manifest, step: Step, context: StepContext) -> None:
    """Make the image; it takes a minute, so what a failed publish left is not mended but removed."""
    stop = context.run.stop
    if azure.find(id) is not None:
        deleted(azure, [id], id.short, context)
    location = location_of(azure, id, step)
    ensure_group(azure, id, location, context)
    key = key_of(manifest.image, manifest.version, context.run.id) if step.inputs["records"] else ""
    state = manifests.HELD if step.inputs["held"] else manifests.PROMOTED
    tags = manifests.version_tags(manifest, run=context.run.id, state=state, record=key, extra=step.inputs["tags"])
    with disk_sources(azure, context, id, location) as sources:
        new = {
            "location": location,
            "tags": tags | {tag_names.VERSION: manifest.version},
            "properties": _properties(step, context, sources),
        }
        store = manifests_in(step.inputs["records"], context.run.image.root)
        if store is not None:
            store.write(key, manifest)
        with context.run.effect("publish", version=manifest.version, resource=str(id)):
            ended([azure.put(id, new, stop=stop)], id.short, context, FOLLOW_SECONDS)


def _properties(step: Step, context: StepContext, sources: list[Source]) -> dict[str, Any]:
    image, artifact = context.run.image, context.artifact
    assert artifact is not None
    found: dict[str, Any] = {"hyperVGeneration": f"V{image.os.generation}"}
    if not sources:
        whole = ResourceId.parse(artifact.resource)
        if whole.kind.lower() != "microsoft.compute/virtualmachines":
            raise BuildError(
                f"a managed image can't be made of {whole.short}",
                code="artifact-unsuitable",
                hint="publish to a `gallery`, or build anew: --rebuild",
            )
        return {**found, "sourceVirtualMachine": {"id": str(whole)}}
    disks = [
        {**_named(source), "caching": "None", "storageAccountType": step.inputs["storageType"]} for source in sources
    ]
    disks[0] |= {"caching": "ReadWrite", "osType": OS_TYPES[image.os.family], "osState": "Generalized"}
    data = [{"lun": disk.lun, **entry} for disk, entry in zip(artifact.disks[1:], disks[1:], strict=True)]
    storage: dict[str, Any] = {"osDisk": disks[0], "dataDisks": data, "zoneResilient": step.inputs["zoneResilient"]}
    return {**found, "storageProfile": storage}


def _named(source: Source) -> dict[str, Any]:
    if "uri" in source:
        return {"blobUri": source["uri"]}
    return {_NAMED[ResourceId.parse(source["id"]).kind.lower()]: {"id": source["id"]}}


def _settle(step: Step, context: StepContext, state: str) -> None:
    id = ResourceId.parse(step.inputs["id"])
    settle(step, context, [id], connection(id.subscription), state)


def _update(step: Step, context: StepContext) -> None:
    id = ResourceId.parse(step.inputs["id"])
    with context.run.effect("update", version=step.inputs["version"], resource=str(id)):
        change_tags(connection(id.subscription), [id], step.inputs["tags"], context)


def _retire(step: Step, context: StepContext) -> None:
    retire_resource(step, context)


KINDS.register(Kind(PUBLISH, 1, _publish, side_by_side=True))
KINDS.register(Kind(PROMOTE, 1, lambda step, context: _settle(step, context, manifests.PROMOTED), side_by_side=True))
KINDS.register(Kind(REJECT, 1, lambda step, context: _settle(step, context, manifests.FAILED)))
KINDS.register(Kind(UPDATE, 1, _update))
KINDS.register(Kind(RETIRE, 1, _retire))
