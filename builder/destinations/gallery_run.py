"""Carries out what a plan does in a gallery: versions are made, followed, promoted, changed and retired.

Azure's gallery has no "create only if missing": whoever publishes looks first, and again when its request was refused
or is done. Names are the spec's, so that two that publish the same at once, or one after the other died, meet in one
version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.destinations import azure_manifests as manifests
from builder.destinations import gallery_definition as definitions
from builder.destinations import gallery_versions as versions
from builder.destinations.azure_disks import Source, disk_sources, remove_uploads
from builder.destinations.azure_follow import connection, deleted, follow
from builder.destinations.azure_resources import kept_tags, settle
from builder.destinations.usage import users_of_images
from builder.errors import BuildError, PlanStale
from builder.model.artifact import Manifest
from builder.model.kinds import KINDS, Kind
from builder.model.observed import FOREIGN, VersionState
from builder.model.run import StepContext
from builder.model.steps import Step
from builder.records.manifest_places import manifests_in
from builder.records.manifests import key_of

if TYPE_CHECKING:
    from builder.azure.connection import Azure
    from builder.azure.errors import AzureError

PUBLISH = "publish.gallery"
PROMOTE = "promote.gallery"
REJECT = "reject.gallery"
UPDATE = "update.gallery.version"
UPDATE_DEFINITION = "update.gallery.definition"
RETIRE = "retire.gallery"
# What is sent again of a gallery that failed; the rest is Azure's own
_GALLERY_PROPERTIES = ("description", "sharingProfile", "softDeletePolicy")
# How often a version is begun anew that Azure failed by a fault of its own, and the seconds between
_AGAIN = (60.0, 180.0)


class _Work:
    """One step in one gallery."""

    def __init__(self, step: Step, context: StepContext) -> None:
        self.step, self.context = step, context
        self.inputs: Mapping[str, Any] = step.inputs
        self.definition = ResourceId.parse(self.inputs["definition"])
        self.id = self.definition.child("versions", str(self.inputs["version"]))
        self.azure: Azure = connection(self.definition.subscription)

    @property
    def name(self) -> str:
        """The version for people: "corp/web/1.0.0"."""
        return "/".join(self.id.names)

    def find(self) -> dict[str, Any] | None:
        """The version as it is now."""
        return self.azure.find(self.id, expand="ReplicationStatus")

    def ours(self) -> dict[str, Any]:
        """The version, which must be one of this image. Raises PlanStale when it is gone, BuildError when foreign."""
        body = self.find()
        if body is None:
            raise PlanStale(f"{self.name} is gone", code="plan-stale", hint="plan again")
        if not manifests.is_of(body.get("tags"), self.context.run.image.name):
            raise BuildError(f"{self.name} was {FOREIGN}: it is left alone", code="foreign-version")
        return follow(self.azure, self.id, self.context, body) if versions.provisioning(body) in versions.MOVING \
            else body  # fmt: skip

    def change(self, body: Mapping[str, Any], profile: Mapping[str, Any], *, tags: Mapping[str, str],
               safety: Mapping[str, bool], whole: bool = False) -> dict[str, Any]:  # fmt: skip
        """Change a version that stands, and follow its replication.

        What isn't named again stays; unless the version is sent as a `whole`: then it goes.
        """
        from builder.azure.errors import AzureError, Remedy

        new: dict[str, Any] = {
            "tags": {**(body.get("tags") or {}), **tags},
            "properties": {
                "publishingProfile": {key: value for key, value in profile.items() if key != "publishedDate"},
                "storageProfile": versions.stored(body),
                "safetyProfile": dict(safety),
            },
        }
        stop = self.context.run.stop
        try:
            if whole:
                operation = self.azure.put(self.id, {"location": body["location"], **new}, stop=stop, read=False)
            else:
                operation = self.azure.patch(self.id, new, stop=stop, read=False)
        except AzureError as error:
            if versions.provisioning(body) == versions.FAILED and error.remedy in (Remedy.CHANGE, Remedy.ADOPT):
                image = self.context.run.image.name
                error.hint = f"if Azure lets a failed version only be deleted: --rebuild {image} makes its successor"
            raise
        return follow(self.azure, self.id, self.context, None, operation)

    def record(self, key: str, manifest: Manifest) -> None:
        """Keep the manifest where the project keeps its records."""
        store = manifests_in(self.inputs["records"], self.context.run.image.root)
        if store is not None and key:
            store.write(key, manifest)


class _Publish(_Work):
    """A version on its way into a gallery."""

    def run(self) -> None:
        """The version stands in all its regions when this returns; nothing is made twice."""
        assert self.context.manifest is not None
        manifest = self.context.manifest()
        self._ensure_place()
        body = self._settled(self.find(), manifest)
        if body is None:
            body = self._make(manifest)
        else:
            remove_uploads(self.azure, self.context, self.id)
        if body["tags"].get(tag_names.DIGEST) != manifest.digest:
            raise self._taken()
        self.context.locations.append(str(self.id))

    def _ensure_place(self) -> None:
        """Resource group, gallery and definition, made where they are missing or failed, in this order."""
        azure, inputs, stop = self.azure, self.inputs, self.context.run.stop
        made = kept_tags()
        self._ensure_gallery(made)
        existing = azure.find(self.definition)
        if existing is None:
            self.context.log(f"making image definition {self.definition.name}")
            body = {"location": inputs["location"], "tags": made, "properties": inputs["properties"]}
            with self.context.run.effect("definition", resource=str(self.definition)):
                azure.put(self.definition, body, stop=stop, read=False).wait(stop=stop)
        elif inputs["updates"] or versions.provisioning(existing) == versions.FAILED:
            _update_definition(self.step, self.context)

    def _ensure_gallery(self, made: Mapping[str, str]) -> None:
        azure, inputs, stop = self.azure, self.inputs, self.context.run.stop
        gallery, group = self.definition.parent, self.definition.group_id
        body = azure.find(gallery)
        if body is None:
            if azure.find(group) is None:
                self.context.log(f"making {group.short}")
                azure.put(group, {"location": inputs["location"], "tags": dict(made)}, stop=stop).wait(stop=stop)
            new = {"location": inputs["location"], "tags": dict(made), "properties": {}}
        elif versions.provisioning(body) == versions.FAILED:
            kept = {key: value for key, value in body["properties"].items() if key in _GALLERY_PROPERTIES}
            new = {"location": body["location"], "tags": body.get("tags") or {}, "properties": kept}
        else:
            return
        self.context.log(f"making gallery {gallery.name}{'' if body is None else ' once more: it failed'}")
        with self.context.run.effect("gallery", resource=str(gallery)):
            azure.put(gallery, new, stop=stop, read=False).wait(stop=stop)

    def _settled(self, body: dict[str, Any] | None, manifest: Manifest) -> dict[str, Any] | None:
        """The version that stands already, with our content; None when it has to be made.

        One that another run is making is followed; one of ours that failed everywhere has to go first, whatever its
        content. Raises PlanStale for one with another content.
        """
        if body is None:
            return None
        tags = body.get("tags") or {}
        if not manifests.is_of(tags, manifest.image):
            raise self._taken()
        if versions.state_of(body) == VersionState.FAILED:
            self.context.log(f"{self.name} failed earlier: it is deleted, and published again")
            with self.context.run.effect("delete-failed", resource=str(self.id)):
                deleted(self.azure, [self.id], self.name, self.context)
            return None
        if tags.get(tag_names.DIGEST) != manifest.digest:
            raise self._taken()
        state = versions.provisioning(body)
        if state in versions.MOVING:
            self.context.log(f"{self.name} is {state.lower()} by run {tags.get(tag_names.RUN)}: following that")
            return self._settled(follow(self.azure, self.id, self.context, body) or None, manifest)
        if versions.is_broken(body):
            self.context.log(f"{self.name} did not reach all its regions: replicating it again")
            return self.change(body, body["properties"]["publishingProfile"], tags={}, safety=_kept_safety(body))
        self.context.log(f"{self.name} stands already, with the same content")
        return body

    def _taken(self) -> PlanStale:
        return PlanStale(
            f"{self.name} exists with another content: another run published it after this plan was made",
            code="plan-stale",
            hint="plan again: the next version will be taken",
        )

    def _make(self, manifest: Manifest) -> dict[str, Any]:
        from builder.azure.errors import AzureError, Remedy

        for seconds in (*_AGAIN, None):
            try:
                return self._try(manifest)
            except AzureError as error:
                body = self.find()
                if body is not None and versions.provisioning(body) == versions.FAILED:
                    if error.remedy is not Remedy.RETRY or seconds is None:
                        raise self._explained(error, body) from error
                    self.context.log(f"Azure failed by a fault of its own: {error.azure_code}; trying again")
                    self.azure.clock.sleep(seconds, self.context.run.stop)
                    self.context.run.check_stop()
                settled = self._settled(body, manifest)
                if settled is not None:
                    # Another run was quicker with the same content
                    return settled
                if body is None:
                    raise
        raise AssertionError

    def _explained(self, error: AzureError, body: Mapping[str, Any]) -> AzureError:
        error.detail = "\n".join(filter(None, (error.detail, versions.replication_faults(body)))) or None
        again = "replicates it again" if versions.is_broken(body) else "deletes the failed version first"
        error.hint = error.hint or f"mend that and run the same apply again: it {again}"
        return error

    def _try(self, manifest: Manifest) -> dict[str, Any]:
        """Send the request, and follow it to its end."""
        context, inputs = self.context, self.inputs
        assert context.artifact is not None
        run = context.run
        key = key_of(manifest.image, manifest.version, run.id) if inputs["records"] else ""
        luns = [disk.lun for disk in context.artifact.disks if disk.lun is not None]
        with ExitStack() as stack:
            sources = stack.enter_context(disk_sources(self.azure, context, self.id, str(inputs["location"])))
            body = self._body(manifest, key, sources, luns)
            self.record(key, manifest)
            with run.effect("publish", version=manifest.version, resource=str(self.id)):
                operation = self.azure.put(self.id, body, stop=run.stop, read=False)
                context.log(f"publishing {self.name}")
                return follow(self.azure, self.id, context, None, operation)

    def _body(self, manifest: Manifest, key: str, sources: Sequence[Source], luns: Sequence[int]) -> dict[str, Any]:
        inputs = self.inputs
        assert self.context.artifact is not None
        profile = versions.encrypted(
            {**inputs["publishing"], "targetRegions": [dict(item) for item in inputs["publishing"]["targetRegions"]]},
            inputs["encryptionSets"],
            inputs["confidential"],
            luns,
        )
        return {
            "location": inputs["location"],
            "tags": manifests.version_tags(
                manifest,
                run=self.context.run.id,
                state=manifests.HELD if inputs["held"] else manifests.PROMOTED,
                record=key,
                extra=inputs["tags"],
            ),
            "properties": {
                "publishingProfile": profile,
                "storageProfile": versions.storage_profile(self.context.artifact, sources),
                "safetyProfile": _safety(inputs["blockDeletion"]),
            },
        }


def _publish(step: Step, context: StepContext) -> None:
    _Publish(step, context).run()


def _safety(block: bool, there: Mapping[str, Any] | None = None, *, remove: bool = False) -> dict[str, bool]:
    """A safety profile. `there` is that of a version that stands; `remove`: regions lose their replicas now."""
    found = {"allowDeletionOfReplicatedLocations": remove}
    # Older versions of the API don't know it: it is said where it matters
    if block or "blockDeletionBeforeEndOfLife" in (there or {}):
        found["blockDeletionBeforeEndOfLife"] = block
    return found


def _kept_safety(body: Mapping[str, Any]) -> dict[str, bool]:
    there = body["properties"].get("safetyProfile", {})
    return _safety(bool(there.get("blockDeletionBeforeEndOfLife")), there)


def _promote(step: Step, context: StepContext) -> None:
    """The version may be the latest, and its record has the results of its tests."""
    work = _Work(step, context)
    body = work.ours()
    tags = body["tags"]
    profile = {**body["properties"]["publishingProfile"], "excludeFromLatest": step.inputs["excludeFromLatest"]}
    key = tags.get(tag_names.MANIFEST, "")
    store = manifests_in(step.inputs["records"], context.run.image.root)
    recorded = store.read(key) if store is not None and context.checks else None
    if recorded is not None:
        work.record(key, replace(recorded, tests=tuple(vars(check) for check in context.checks)))
    with context.run.effect("promote", version=step.inputs["version"], resource=str(work.id)):
        work.change(body, profile, tags={tag_names.STATE: manifests.PROMOTED}, safety=_kept_safety(body))
    if str(work.id) not in context.locations:
        context.locations.append(str(work.id))


def _reject(step: Step, context: StepContext) -> None:
    """The version stays excluded from the latest, and its tags say why."""
    work = _Work(step, context)
    settle(step, context, [work.id], work.azure, manifests.FAILED)


def _update(step: Step, context: StepContext) -> None:
    """Regions, replicas, end of life, exclusion, tags of a version that stands."""
    work = _Work(step, context)
    body = work.ours()
    wanted = step.inputs["publishing"]
    there = {region_name(region["name"]): region
             for region in body["properties"]["publishingProfile"].get("targetRegions", ())}  # fmt: skip
    luns = [disk.lun for disk in versions.manifest_disks(body) if disk.lun is not None]
    profile = versions.encrypted(
        {
            **wanted,
            "targetRegions": [{**there.get(region["name"], {}), **region} for region in wanted["targetRegions"]],
        },
        step.inputs["encryptionSets"],
        step.inputs["confidential"],
        luns,
    )
    there_safety = body["properties"].get("safetyProfile", {})
    safety = _safety(step.inputs["blockDeletion"], there_safety, remove=bool(step.inputs["removed"]))
    # Azure keeps what a change doesn't name: what the spec has no more goes by sending the version as a whole
    whole = "endOfLifeDate" in body["properties"]["publishingProfile"] and "endOfLifeDate" not in profile
    with context.run.effect("update", version=step.inputs["version"], resource=str(work.id)):
        new = work.change(body, profile, tags=step.inputs["tags"], safety=safety, whole=whole)
    left = [str(item) for item in versions.profile_differences(new["properties"]["publishingProfile"], wanted)]
    if left:
        raise BuildError(
            f"Azure took the change of {work.name}, and left as it was: {'; '.join(left)}",
            code="change-not-taken",
            where=step.place,
            hint=f"undo it in the spec, or make a new version: --rebuild {context.run.image.name}",
        )


def _update_definition(step: Step, context: StepContext) -> None:
    """What Azure can change of a definition; everything else is sent as it stands there."""
    work = _Work(step, context)
    body = work.azure.get(work.definition)
    context.log(f"changing image definition {work.definition.name}: {', '.join(step.inputs['updates'])}")
    new = {
        "location": body["location"],
        "tags": body.get("tags") or {},
        "properties": definitions.merged(body["properties"], step.inputs["properties"], step.inputs["updates"]),
    }
    with context.run.effect("update", resource=str(work.definition)):
        work.azure.put(work.definition, new, stop=context.run.stop).wait(stop=context.run.stop)


def _retire(step: Step, context: StepContext) -> None:
    """Delete a version of ours, unless something uses it by now."""
    work = _Work(step, context)
    body = work.find()
    if body is None:
        context.log(f"{work.name} is gone already")
        return
    body = work.ours()
    user = users_of_images(work.azure, work.id.subscription).get(str(work.id).lower())
    if user:
        raise BuildError(
            f"{work.name} is used by {user}, so it stays",
            code="version-in-use",
            where=step.place,
            hint="move that to a newer version: plans show the deletion until it is done",
        )
    with context.run.effect("retire", version=step.inputs["version"], resource=str(work.id)):
        deleted(work.azure, [work.id], work.name, context)


KINDS.register(Kind(PUBLISH, 1, _publish, side_by_side=True))
KINDS.register(Kind(PROMOTE, 1, _promote, side_by_side=True))
KINDS.register(Kind(REJECT, 1, _reject))
KINDS.register(Kind(UPDATE, 1, _update))
KINDS.register(Kind(UPDATE_DEFINITION, 1, _update_definition))
KINDS.register(Kind(RETIRE, 1, _retire))
