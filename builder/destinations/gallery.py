"""An Azure Compute Gallery as a destination: what stands there, and the steps that make it as the spec wants it.

What is missing is made when a version is published: resource group, gallery, definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId, compute
from builder.azure.names import region_name
from builder.destinations import azure_manifests as manifests
from builder.destinations import gallery_checks as checks
from builder.destinations import gallery_definition as definitions
from builder.destinations import gallery_run as run
from builder.destinations import gallery_versions as versions
from builder.destinations.azure_disks import gives_out
from builder.destinations.azure_follow import places_in
from builder.destinations.azure_manifests import HERE
from builder.destinations.azure_steps import as_rendered, publishing_step, refuse_fixed
from builder.destinations.gallery_standing import Standing, look
from builder.destinations.surroundings import Surroundings
from builder.errors import BuildError
from builder.model.artifact import Artifact, CapturedDisk
from builder.model.cleaning import Place
from builder.model.observed import Blocker, Published, PublishedVersion, Traits, VersionState
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Step
from builder.model.version import version_key
from builder.records.manifest_places import manifests_in

if TYPE_CHECKING:
    from builder.azure.connection import Azure


class Gallery:
    """One `gallery` destination of a spec."""

    kind = "gallery"
    deployable = True

    def __init__(self, choice: Choice, image: ImageSpec, surroundings: Surroundings) -> None:
        values = choice.values
        # The subscription belongs to the name only where the spec says it: two of them may have a gallery "corp"
        where = f" in {values['subscription']}" if "subscription" in values else ""
        self.name = f"gallery {values['gallery']}/{values['definition']}{where}"
        self._choice = choice
        self._values = values
        self._surroundings = surroundings
        self._standing: Standing | None = None

    def observe(self, image: ImageSpec) -> Published:
        """The definition's versions; those of other images and other tools are foreign. Raises AzureError."""
        try:
            azure = self._azure()
            standing = self._standing = look(
                azure, self._definition_id(azure), image.name, self._surroundings.galleries
            )
        except BuildError as error:
            error.where = error.where or image.place(*self._choice.path)
            raise
        ours = {name: body for name, body in standing.versions.items() if manifests.is_of(body.get("tags"), image.name)}
        found = manifests.manifests_of(
            (self._seen(name, body, image) for name, body in ours.items()),
            manifests_in(self._surroundings.records, image.root),
        )
        used: Mapping[str, str] = {}
        if ours and (image.publish.retain is not None or image.state == "retired"):
            used = self._used(azure, image)
        listed = [
            PublishedVersion(
                name,
                found.get(name),
                str(body["id"]),
                versions.state_of(body) if name in ours else VersionState.PROMOTED,
                used.get(str(body["id"]).lower(), "") or _kept_by_azure(body, azure.clock.now()),
                versions.is_broken(body),
                versions.standing_regions(body),
            )
            for name, body in standing.versions.items()
        ]
        listed.sort(key=lambda item: version_key(item.version))
        blockers = tuple(checks.standing_blockers(self._choice, image, standing))
        return Published(self.name, tuple(listed), blockers, resolved=str(self._definition_id(azure)).lower())

    def _used(self, azure: Azure, image: ImageSpec) -> Mapping[str, str]:
        try:
            return self._surroundings.usage.of(azure, self._definition_id(azure).subscription)
        except BuildError as error:
            error.where = error.where or image.place("publish", "retain")
            raise

    def _azure(self) -> Azure:
        from builder.azure import connection

        return connection.connect(self._values.get("subscription"))

    def _definition_id(self, azure: Azure) -> ResourceId:
        values = self._values
        return compute(
            azure.subscription, values["resourceGroup"], "galleries", values["gallery"], "images", values["definition"]
        )

    @staticmethod
    def _seen(name: str, body: Mapping[str, Any], image: ImageSpec) -> manifests.Seen:
        return manifests.Seen(
            name,
            body["tags"],
            image.os.architecture,
            image.os.generation,
            image.generalize is not None,
            versions.manifest_disks(body),
        )

    def _location(self, image: ImageSpec, where: str) -> str:
        """The gallery's region: where it stands, else as the spec says, else where the image is built or goes first."""
        standing = self._seen_now(image)
        if standing.gallery is not None:
            return region_name(standing.gallery["location"])
        built = image.machine.values.get("location", "") if image.machine.kind == "azure" else ""
        regions = self._values.get("regions", ())
        first = str(regions[0]["name"]) if regions else ""
        return str(self._values.get("location") or ("" if where == HERE else where) or built or first)

    def _seen_now(self, image: ImageSpec) -> Standing:
        if self._standing is None:
            self.observe(image)
        assert self._standing is not None
        return self._standing

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Why Azure would refuse a version of an artifact with these traits."""
        return tuple(self._checks(image, traits.where).of_version(traits))

    def _checks(self, image: ImageSpec, where: str) -> checks.Checks:
        location, now = self._location(image, where), self._azure().clock.now()
        return checks.Checks(self._choice, image, self._seen_now(image), location, now)

    def takes(self, artifact: Artifact) -> bool:
        """All that Azure gives out: disks, managed images, versions that have a replica in this gallery's region."""
        standing = self._standing
        gallery = standing.gallery if standing is not None else None
        location = region_name(gallery["location"]) if gallery is not None else self._values.get("location")
        reached = not artifact.regions or location in (None, *artifact.regions)
        return reached and gives_out(self._azure(), artifact)

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step: the version, with all that it stands in. Held back, it is excluded from the latest."""
        choice = as_rendered(self._choice, image)
        location = self._location(image, traits.where)
        profile = versions.publishing_profile(choice.values, location, held=held)
        inputs = {
            **self._common(version, image),
            "location": location,
            "properties": definitions.definition_body(choice, image, traits),
            "updates": [item.name for item in self._updates_of_definition(choice, image)],
            "publishing": profile,
            "encryptionSets": versions.encryption_sets(choice.values),
            "confidential": _confidential(image),
            "blockDeletion": choice.values["blockDeletionBeforeEndOfLife"],
            "held": held,
        }
        title = f"publish {image.name} {version} to {self.name}"
        changes = list(self._changes(choice, image, version, profile, held=held))
        return [publishing_step(run.PUBLISH, title, inputs, changes, image.place(*choice.path))]

    def _common(self, version: str, image: ImageSpec) -> dict[str, Any]:
        return {
            "destination": self.name,
            "version": version,
            "definition": str(self._definition_id(self._azure())),
            "tags": manifests.spec_tags(image),
            "records": {kind: dict(where) for kind, where in self._surroundings.records.items()},
        }

    def _changes(
        self, choice: Choice, image: ImageSpec, version: str, profile: Mapping[str, Any], *, held: bool
    ) -> Iterator[Change]:
        standing, values = self._seen_now(image), choice.values
        name = f"{values['gallery']}/{values['definition']}"
        if not standing.group:
            yield Change("create", "resource group", values["resourceGroup"])
        if standing.gallery is None:
            yield Change("create", "gallery", values["gallery"])
        elif versions.provisioning(standing.gallery) == versions.FAILED:
            yield Change("change", "gallery", values["gallery"], "made once more: it failed")
        if standing.definition is None:
            yield Change("create", "image definition", name)
        for item in self._updates_of_definition(choice, image):
            yield Change("change", "image definition", name, str(item))
        found = standing.versions.get(version)
        if found is not None and versions.state_of(found) == VersionState.FAILED:
            yield Change("delete", "failed version", f"{name}/{version}")
        regions = ", ".join(
            f"{region['name']} ({region['regionalReplicaCount']})" for region in profile["targetRegions"]
        )
        notes = [f"replicas in {regions}"] + (["not the latest before its tests have passed"] if held else [])
        yield Change("create", "version", f"{name}/{version}", "; ".join(notes))

    def _updates_of_definition(self, choice: Choice, image: ImageSpec) -> list[definitions.Difference]:
        return checks.definition_changes(choice, image, self._seen_now(image))

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step: the version may be the latest (unless the spec excludes it), with its tests on record."""
        excluded = self._values["excludeFromLatest"]
        detail = "passed its tests" if excluded else "may be the latest"
        inputs = {**self._common(version, image), "excludeFromLatest": excluded}
        title = f"promote {image.name} {version} in {self.name}"
        changes = [Change("change", "version", self._version_name(version), detail)]
        return [publishing_step(run.PROMOTE, title, inputs, changes, image.place(*self._choice.path))]

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """At most one step for the definition and one for the version, with what changes.

        Raises BuildError for what Azure can't change ("needs-new-version"), or would refuse.
        """
        standing, choice = self._seen_now(image), as_rendered(self._choice, image)
        check = self._checks(image, HERE)
        steps = []
        changed = self._updates_of_definition(choice, image)
        check.refuse_changes(changed)
        if changed:
            inputs: dict[str, Any] = {
                "properties": definitions.definition_body(choice, image, Traits()),
                "updates": [item.name for item in changed],
            }
            steps.append(self._update(image, run.UPDATE_DEFINITION, version, changed, inputs))
        body = standing.versions.get(version)
        if body is None or versions.state_of(body) not in (VersionState.PROMOTED, VersionState.HELD):
            return steps
        found = list(versions.differences(body, choice.values, check.location, choice.path, manifests.spec_tags(image)))
        refuse_fixed(f"version {self._version_name(version)}", image, found)
        check.refuse_changes(found)
        if found:
            held = versions.state_of(body) == VersionState.HELD
            profile = versions.publishing_profile(choice.values, check.location, held=held)
            inputs = {
                "publishing": profile,
                "encryptionSets": versions.encryption_sets(choice.values),
                "confidential": _confidential(image),
                "blockDeletion": choice.values["blockDeletionBeforeEndOfLife"],
                "removed": versions.removed_regions(body, profile),
            }
            steps.append(self._update(image, run.UPDATE, version, found, inputs))
        return steps

    def _update(
        self, image: ImageSpec, kind: str, version: str, found: list[definitions.Difference], inputs: dict[str, Any]
    ) -> Step:
        whole = kind == run.UPDATE_DEFINITION
        name = f"{self._values['gallery']}/{self._values['definition']}" if whole else self._version_name(version)
        what = "image definition" if whole else "version"
        title = f"change {what} {name}: {', '.join(item.name for item in found)}"
        changes = [Change("change", what, name, str(item)) for item in found]
        return publishing_step(
            kind, title, {**self._common(version, image), **inputs}, changes, image.place(*found[0].path)
        )

    def _version_name(self, version: str) -> str:
        return f"{self._values['gallery']}/{self._values['definition']}/{version}"

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """One step a version: it is deleted, unless something uses it by then."""
        return [
            publishing_step(
                run.RETIRE,
                f"retire {image.name} {version} from {self.name}",
                self._common(version, image),
                [Change("delete", "version", self._version_name(version))],
                image.place("publish"),
            )
            for version in versions
        ]

    def places(self) -> tuple[Place, ...]:
        """The gallery's subscription: disks that were uploaded for it."""
        return places_in(self._values.get("subscription"))

    def artifact(self, version: PublishedVersion) -> Artifact:
        """The version itself: galleries copy from it, also into other subscriptions."""
        assert version.manifest is not None
        manifest = version.manifest
        disks = tuple(
            CapturedDisk(disk.file, disk.lun, disk.size, disk.digest, disk.data_bytes, None, version.location)
            for disk in manifest.disks
        )
        return Artifact(
            manifest.image, manifest.digest, manifest.generalized, disks, None, version.location, version.regions
        )


def _confidential(image: ImageSpec) -> str:
    """What a confidential VM's image encrypts, in the spec's word; "" for others."""
    return str(image.machine.values.get("security", {}).get("encryption") or "")


def _kept_by_azure(body: Mapping[str, Any], now: float) -> str:
    """What keeps a version from being deleted before its end of life; "" when nothing does."""
    from datetime import datetime

    end = body["properties"].get("publishingProfile", {}).get("endOfLifeDate")
    if not end or not body["properties"].get("safetyProfile", {}).get("blockDeletionBeforeEndOfLife"):
        return ""
    to_come = datetime.fromisoformat(end).timestamp() > now
    return f"its end of life, {end[:10]}" if to_come else ""
