"""VHDs in a storage account: `<prefix>/<version>/{os.vhd,data-<lun>.vhd,sbom.cdx.json,manifest.json}`.

The manifest comes last, and only where there is none: a version is there once its manifest is, and of two that publish
it at once one finds the other's. Disks without a manifest are what an upload left; the next one goes on with them.
A manifest without its disks (one was deleted, or it alone was restored) is an unfinished version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builder.azure.sdk import STORAGE, load
from builder.azure.storage import ensure_container
from builder.destinations.azure_follow import connection
from builder.destinations.azure_manifests import FAILED, HELD, PROMOTED, READERS, STATES
from builder.destinations.azure_steps import as_rendered, publishing_step
from builder.errors import BuildError, PlanStale
from builder.model.artifact import Artifact, CapturedDisk, Manifest
from builder.model.canonical import canonical
from builder.model.cleaning import Place
from builder.model.kinds import KINDS, Kind
from builder.model.observed import FOREIGN, Blocker, Published, PublishedVersion, Traits, VersionState
from builder.model.run import StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Step
from builder.model.version import is_version, version_key
from builder.records.containers import container_address, container_client, container_failed, sign_in
from builder.records.manifests import understood

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient

    from builder.azure.blobs import PageBlob
    from builder.azure.clouds import Cloud
    from builder.azure.pageblob import Manner, Uploaded

MANIFEST, SBOM = "manifest.json", "sbom.cdx.json"
PUBLISH, PROMOTE, REJECT, RETIRE = (f"{word}.blob" for word in ("publish", "promote", "reject", "retire"))
# Metadata of our blobs; Azure wants names without dashes
STATE, IMAGE, DIGEST = "build_state", "build_image", "build_digest"


class Blob:
    """One `blob` destination of a spec."""

    kind = "blob"
    deployable = False

    def __init__(self, choice: Choice, image: ImageSpec) -> None:
        values = choice.values
        self.name = f"blob {values['account']}/{values['container']}/{values.get('prefix', image.name)}"
        self._choice = choice
        self._where = {key: values[key] for key in ("account", "container", "endpoint") if key in values}
        self._prefix = str(values.get("prefix", image.name)).rstrip("/")

    def observe(self, image: ImageSpec) -> Published:
        """The versions below the prefix. Raises BuildError when the container can't be read."""
        load(STORAGE)
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            client = container_client(self._where)
            listed = list(client.list_blobs(name_starts_with=f"{self._prefix}/", include=["metadata"]))
        except ResourceNotFoundError:
            return Published(self.name)
        except AzureError as error:
            failed = container_failed(self._where, "listed", error)
            failed.where = image.place(*self._choice.path)
            raise failed from error
        return Published(self.name, tuple(self._versions(client, listed, image)))

    def _versions(
        self, client: ContainerClient, listed: list[BlobProperties], image: ImageSpec
    ) -> list[PublishedVersion]:
        folders: dict[str, dict[str, BlobProperties]] = {}
        for blob in listed:
            version, _, name = blob.name.removeprefix(f"{self._prefix}/").partition("/")
            if is_version(version) and name:
                folders.setdefault(version, {})[name] = blob
        whole = [version for version, blobs in folders.items() if MANIFEST in blobs]
        with ThreadPoolExecutor(READERS) as pool:
            texts = pool.map(lambda version: _read(client, f"{self._prefix}/{version}/{MANIFEST}"), whole)
            manifests = {version: understood(text) for version, text in zip(whole, texts, strict=True)}
        found = []
        for version, blobs in folders.items():
            manifest = manifests.get(version)
            ours = manifest is not None and manifest.image == image.name
            # What an upload of ours left is no version yet
            if MANIFEST not in blobs and all(_metadata(blob).get(IMAGE) == image.name for blob in blobs.values()):
                continue
            state = VersionState.PROMOTED
            if manifest is not None and ours:
                state = _state(manifest, blobs)
            # Uploads hold a lease of what they write
            abandoned = state == VersionState.UNFINISHED and not any(map(_is_leased, blobs.values()))
            location = f"{container_address(self._where, _cloud())}/{self._prefix}/{version}"
            found.append(PublishedVersion(version, manifest if ours else None, location, state, abandoned=abandoned))
        return sorted(found, key=lambda item: version_key(item.version))

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Any disk is a VHD in a blob, wherever it is now."""
        return ()

    def takes(self, artifact: Artifact) -> bool:
        """Any bytes that can be had, from here or from Azure."""
        return artifact.has_disks

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step: the disks, and then the manifest, which says that its tests are to come if it is held back."""
        choice = as_rendered(self._choice, image)
        title = f"publish {image.name} {version} to {self.name}"
        changes = [Change("create", "version", self._version_name(version))]
        inputs = {**self._inputs(version), "held": held}
        return [publishing_step(PUBLISH, title, inputs, changes, image.place(*choice.path))]

    def _inputs(self, version: str) -> dict[str, Any]:
        return {"destination": self.name, "version": version, "container": self._where, "prefix": self._prefix}

    def _version_name(self, version: str) -> str:
        return f"{self._where['container']}/{self._prefix}/{version}"

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step: the manifest says that its tests have passed."""
        title = f"promote {image.name} {version} in {self.name}"
        changes = [Change("change", "version", self._version_name(version), "passed its tests")]
        return [publishing_step(PROMOTE, title, self._inputs(version), changes, image.place(*self._choice.path))]

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """None: a version in a container has no properties of its own."""
        return []

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """One step a version: its blobs are deleted."""
        return [
            publishing_step(
                RETIRE,
                f"retire {image.name} {version} from {self.name}",
                self._inputs(version),
                [Change("delete", "version", self._version_name(version))],
                image.place("publish"),
            )
            for version in versions
        ]

    def places(self) -> tuple[Place, ...]:
        """None: what an upload left stands below the prefix, and the next one goes on with it."""
        return ()

    def artifact(self, version: PublishedVersion) -> Artifact:
        """The VHDs of a version, by their addresses."""
        assert version.manifest is not None
        manifest = version.manifest
        disks = tuple(
            CapturedDisk(
                _stem(disk.file),
                disk.lun,
                disk.size,
                disk.digest,
                disk.data_bytes,
                None,
                f"{version.location}/{_stem(disk.file)}.vhd",
            )
            for disk in manifest.disks
        )
        return Artifact(manifest.image, manifest.digest, manifest.generalized, disks)


def _stem(file: str) -> str:
    return file.removesuffix(".vhd")


def _cloud() -> Cloud:
    from builder.azure.clouds import current

    return current(os.environ)


def _metadata(blob: BlobProperties) -> Mapping[str, str]:
    return blob.metadata or {}


def _is_leased(blob: BlobProperties) -> bool:
    return str(blob.lease.status or "") == "locked"


def _state(manifest: Manifest, blobs: Mapping[str, BlobProperties]) -> VersionState:
    """How far a version is, by the blobs in its folder."""
    if not _has_disks(manifest, blobs):
        return VersionState.UNFINISHED
    return STATES.get(_metadata(blobs[MANIFEST]).get(STATE, ""), VersionState.PROMOTED)


def _has_disks(manifest: Manifest, blobs: Mapping[str, BlobProperties]) -> bool:
    """Whether all disks are there that the manifest tells of, each of that content and whole."""
    from builder.azure.claim import is_finished

    found = (blobs.get(f"{_stem(disk.file)}.vhd") for disk in manifest.disks)
    return all(
        blob is not None and _metadata(blob).get(DIGEST) == manifest.digest and is_finished(_metadata(blob))
        for blob in found
    )


def _read(client: ContainerClient, name: str) -> bytes:
    return client.download_blob(name, max_concurrency=1).readall()


class _Version:
    """One version in a container, while a step works on it."""

    def __init__(self, step: Step, context: StepContext) -> None:
        self.step, self.context = step, context
        self.where: Mapping[str, Any] = step.inputs["container"]
        self.folder = f"{step.inputs['prefix']}/{step.inputs['version']}"
        self.client = container_client(self.where)
        self.address = f"{container_address(self.where, _cloud())}/{self.folder}"

    def manifest(self) -> Manifest | None:
        """The version's manifest; None when there is none. Raises BuildError for one that isn't this image's."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = understood(_read(self.client, f"{self.folder}/{MANIFEST}"))
        except ResourceNotFoundError:
            return None
        if found is None or found.image != self.context.run.image.name:
            raise BuildError(f"{self.folder} was {FOREIGN}: it is left alone", code="foreign-version")
        return found

    def publish(self, manifest: Manifest) -> None:
        """The disks, the SBOM, the manifest. Of two that do this at once, the second finds the first's manifest.

        A manifest of this content that has lost its disks gets them again.
        """
        from azure.core.exceptions import ResourceExistsError

        standing = self.manifest()
        lost = standing is not None and standing.digest == manifest.digest and not _has_disks(standing, self._blobs())
        if lost:
            self.context.log(f"{self.folder} has lost disks: it is published again")
        if standing is None or lost:
            ensure_container(self.client)
            assert self.context.artifact is not None
            for disk in self.context.artifact.disks:
                self._disk(disk, manifest)
            self._write(SBOM, self.context.sbom(manifest).encode(), overwrite=True)
            state = HELD if self.step.inputs["held"] else PROMOTED
            try:
                self._write(MANIFEST, canonical(manifest.as_dict()), overwrite=lost, **{STATE: state})
                standing = None
            except ResourceExistsError:
                standing = self.manifest()
        if standing is not None and standing.digest != manifest.digest:
            raise PlanStale(
                f"{self.folder} exists with another content: another run published it after this plan was made",
                code="plan-stale",
                hint="plan again: the next version will be taken",
            )
        if standing is not None:
            self.context.log(f"{self.folder} stands already, with the same content")
        self.context.locations.append(self.address)

    def _blobs(self) -> dict[str, BlobProperties]:
        """The blobs of the version, by name."""
        found = self.client.list_blobs(name_starts_with=f"{self.folder}/", include=["metadata"])
        return {blob.name.removeprefix(f"{self.folder}/"): blob for blob in found}

    def _write(self, name: str, data: bytes, *, overwrite: bool, **metadata: str) -> None:
        from azure.storage.blob import ContentSettings

        found = {IMAGE: self.context.run.image.name, **metadata}
        settings = ContentSettings(content_type="application/json")
        self.client.upload_blob(
            f"{self.folder}/{name}", data, overwrite=overwrite, metadata=found, content_settings=settings
        )

    def _disk(self, disk: CapturedDisk, manifest: Manifest) -> None:
        """One disk as a page blob: uploaded, or copied by the service. Nothing is sent that is there already."""
        from builder.azure.pageblob import Manner

        run, name = self.context.run, f"{_stem(disk.name)}.vhd"
        target = self._page_blob(f"{self.address}/{name}")
        facts = target.facts()
        ours = facts is not None and facts.metadata.get(IMAGE) == run.image.name
        if facts is not None and ours and facts.metadata.get(DIGEST) != manifest.digest:
            self._remove_left_over(name)
        manner = Manner(
            metadata={IMAGE: run.image.name, DIGEST: manifest.digest},
            progress=lambda done, total: self.context.progress(done, total, "bytes", f"{_doing(disk)} {name}"),
        )
        with run.effect("upload", resource=f"{self.address}/{name}"):
            try:
                done = self._transfer(disk, target, manner)
            except BuildError as error:
                if error.code != "blob-exists" or not ours:
                    raise
                # The same steps, carried out again, made other bytes
                self._remove_left_over(name)
                done = self._transfer(disk, target, manner)
        self.context.log(f"{name}: {done.sent} bytes sent, {done.kept} were there ({done.how})")

    def _remove_left_over(self, name: str) -> None:
        """A disk without a manifest is no version: it goes, unless an upload holds its lease."""
        self.context.log(f"{name} is what an older upload left: it is deleted")
        self._delete(name)

    def _delete(self, name: str) -> None:
        # A blob that was restored has its overwritten contents as snapshots: it can't go without them
        self.client.delete_blob(f"{self.folder}/{name}", delete_snapshots="include")

    def _transfer(self, disk: CapturedDisk, target: PageBlob, manner: Manner) -> Uploaded:
        from builder.azure.pageblob import copy, upload
        from builder.destinations.upload import vhd_source

        run = self.context.run
        if disk.path is not None:
            with vhd_source(disk.path, work=run.folder, stop=run.stop) as source:
                return upload(source, target, manner)
        if disk.resource.startswith(("https://", "http://")):
            return copy(self._page_blob(disk.resource), target, manner)
        return self._from_azure(disk, target, manner)

    def _from_azure(self, disk: CapturedDisk, target: PageBlob, manner: Manner) -> Uploaded:
        from builder.azure.disk_access import copy_disk
        from builder.azure.ids import ResourceId

        id = ResourceId.parse(disk.resource)
        if id.kind.lower() not in ("microsoft.compute/snapshots", "microsoft.compute/disks"):
            raise BuildError(
                f"a VHD can't be made of {id.short}",
                code="artifact-unsuitable",
                hint="Azure gives out no bytes of it: build anew (--rebuild), with the blob among the destinations",
            )
        return copy_disk(connection(id.subscription), id, target, manner, stop=self.context.run.stop)

    def _page_blob(self, url: str) -> PageBlob:
        from builder.azure.storage import page_blob

        cloud = _cloud()
        return page_blob(url, cloud=cloud, login=sign_in(cloud), environment=os.environ, stop=self.context.run.stop)

    def settle(self, state: str) -> None:
        """The manifest has the results of the tests, and says what became of them."""
        manifest = self._standing()
        if self.context.checks:
            manifest = replace(manifest, tests=tuple(vars(check) for check in self.context.checks))
        word = self.step.kind.partition(".")[0]
        with self.context.run.effect(word, version=self.step.inputs["version"], location=self.address):
            self._write(MANIFEST, canonical(manifest.as_dict()), overwrite=True, **{STATE: state})
        if state == PROMOTED and self.address not in self.context.locations:
            self.context.locations.append(self.address)

    def _standing(self) -> Manifest:
        manifest = self.manifest()
        if manifest is None:
            raise PlanStale(f"{self.folder} is gone", code="plan-stale", hint="plan again")
        return manifest

    def retire(self) -> None:
        """Delete it, its manifest last: as long as that stands, what is left is found as this version's."""
        if self.manifest() is None:
            self.context.log(f"{self.folder} is gone already")
            return
        with self.context.run.effect("retire", version=self.step.inputs["version"], location=self.address):
            for name, blob in sorted(self._blobs().items(), key=lambda item: item[0] == MANIFEST):
                if name == MANIFEST or _metadata(blob).get(IMAGE) == self.context.run.image.name:
                    self._delete(name)
                else:
                    self.context.log(f"{self.folder}/{name} stays: build did not put it there")


def _doing(disk: CapturedDisk) -> str:
    return "uploading" if disk.path is not None else "copying"


def _told(work: str, step: Step, context: StepContext) -> None:
    """Do it; errors of the storage account are told with the container."""
    from azure.core.exceptions import AzureError

    version = _Version(step, context)
    try:
        if work == PUBLISH:
            assert context.manifest is not None
            version.publish(context.manifest())
        elif work == RETIRE:
            version.retire()
        else:
            version.settle(PROMOTED if work == PROMOTE else FAILED)
    except AzureError as error:
        raise container_failed(version.where, "changed", error) from error


for _kind in (PUBLISH, PROMOTE, REJECT, RETIRE):
    KINDS.register(Kind(_kind, 1, lambda step, context: _told(step.kind, step, context)))
