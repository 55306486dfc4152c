"""A local gallery: `<path>/<image>/<version>/{os.vhd,data-<lun>.vhd,manifest.json,sbom.cdx.json}`. Needs no account.

A version is made in a folder beside its place and renamed there: a publish that dies leaves nothing that looks like a
version. Folders whose name is not a version, or without a manifest of ours, are never touched.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from builder.errors import BuildError
from builder.model.artifact import Manifest
from builder.model.observed import Blocker, Published, PublishedVersion
from builder.model.run import StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import KINDS, Change, Kind, Preview, Stage, Step
from builder.model.version import is_version, version_key
from builder.records.files import sync_folder, write_atomically, write_json
from builder.records.leases import lease

MANIFEST_FILE = "manifest.json"
SBOM_FILE = "sbom.cdx.json"
LOCK_FILE = ".lock"
PUBLISHING = ".publishing-"
RETIRING = ".retiring-"
# Publishing is a rename, at worst a copy to another file system: whoever holds the folder is done soon
LEASE_SECONDS = 600.0
# Another file system, or one without hard links
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


class Directory:
    """One `directory` destination of a spec."""

    kind = "directory"

    def __init__(self, choice: Choice, image: ImageSpec) -> None:
        self.path = str(choice.values["path"])
        self.name = f"directory {self.path}"
        self._choice = choice
        self._folder = image.root / self.path / image.name

    def observe(self, image: ImageSpec) -> Published:
        """The versions in the folder, and whether more can be written to it."""
        versions = []
        for entry in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if entry.is_dir() and is_version(entry.name):
                versions.append(PublishedVersion(entry.name, _read_manifest(entry), str(entry)))
        versions.sort(key=lambda item: version_key(item.version))
        return Published(self.name, tuple(versions), self._blockers(image))

    def _blockers(self, image: ImageSpec) -> tuple[Blocker, ...]:
        existing = self._folder
        while not existing.exists():
            existing = existing.parent
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return ()
        what = "is read-only" if existing.is_dir() else "is not a folder"
        return (
            Blocker(
                f"{self.path}: {existing.relative_to(image.root) if existing.is_relative_to(image.root) else existing} "
                f"{what}, so nothing can be published there",
                image.place(*self._choice.path, "path"),
                hint="make it writable, or name another `path`",
                code="destination-read-only",
            ),
        )

    def publish_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step: the version appears, whole."""
        return [
            Step(
                stage=Stage.PUBLISH,
                kind="publish.directory",
                title=f"publish {image.name} {version} to {self.path}",
                inputs={"destination": self.name, "path": self.path, "version": version},
                preview=Preview.EXACT,
                changes=(Change("create", "version", f"{self.path}/{image.name}/{version}"),),
                place=image.place(*self._choice.path),
                identity=False,
            )
        ]

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """One step a version: it is taken away."""
        return [
            Step(
                stage=Stage.PUBLISH,
                kind="retire.directory",
                title=f"retire {image.name} {version} from {self.path}",
                inputs={"destination": self.name, "path": self.path, "version": version},
                preview=Preview.EXACT,
                changes=(Change("delete", "version", f"{self.path}/{image.name}/{version}"),),
                place=image.place("publish"),
                identity=False,
            )
            for version in versions
        ]


def _read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a version, or None for a folder that isn't ours: it is shown as foreign and left alone."""
    try:
        data = json.loads((folder / MANIFEST_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(data, dict) or "format_version" not in data:
        return None
    try:
        return Manifest.from_dict(data)
    except (KeyError, TypeError):
        return None


def _publish(step: Step, context: StepContext) -> None:
    image, version = context.run.image, str(step.inputs["version"])
    folder = image.root / str(step.inputs["path"]) / image.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lease(
            folder / LOCK_FILE,
            what=f"{image.name} in {step.inputs['path']}",
            run=context.run.id,
            timeout=LEASE_SECONDS,
            on_wait=lambda holder: context.log(f"waiting for {holder}"),
            stop=context.run.stop,
        ):
            _remove_left_overs(folder)
            _publish_under_lease(folder, version, context)
    except OSError as error:
        raise BuildError(
            f"can't publish to {folder}: {error.strerror}",
            code="destination-failed",
            where=step.place,
            hint="the artifact is kept: mend the folder and run the same apply again, nothing is rebuilt",
        ) from error
    context.locations.append(str(folder / version))


def _publish_under_lease(folder: Path, version: str, context: StepContext) -> None:
    final = folder / version
    if final.exists():
        raise BuildError(
            f"{final} exists already: another run published it",
            code="version-exists",
            hint="plan again: the next version will be taken",
        )
    assert context.manifest is not None
    manifest = context.manifest()
    new = folder / f"{PUBLISHING}{context.run.id}"
    with ExitStack() as stack:
        stack.enter_context(context.run.effect("publish", version=version, location=str(final)))
        new.mkdir()
        stack.callback(shutil.rmtree, new, ignore_errors=True)
        assert context.artifact is not None
        disks = context.artifact.disks
        for number, disk in enumerate(disks):
            context.progress(number, len(disks), "disks", disk.name)
            _place_disk(disk.path, new / disk.path.name)
        write_atomically(new / SBOM_FILE, context.sbom(manifest).encode())
        write_json(new / MANIFEST_FILE, manifest.as_dict())
        sync_folder(new)
        new.rename(final)
        sync_folder(folder)


def _place_disk(source: Path, target: Path) -> None:
    """Give the version its disk: the captured file itself where the file system allows, else a sparse copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        from builder.disk.contents import copy_sparse

        copy_sparse(source, target)


def _retire(step: Step, context: StepContext) -> None:
    image, version = context.run.image, str(step.inputs["version"])
    folder = image.root / str(step.inputs["path"]) / image.name
    doomed = folder / version
    if not is_version(version) or _read_manifest(doomed) is None:
        raise BuildError(f"{doomed} is not a version that build made: it is left alone", code="foreign-version")
    with (
        lease(
            folder / LOCK_FILE,
            what=f"{image.name} in {step.inputs['path']}",
            run=context.run.id,
            timeout=LEASE_SECONDS,
            on_wait=lambda holder: context.log(f"waiting for {holder}"),
            stop=context.run.stop,
        ),
        context.run.effect("retire", version=version, location=str(doomed)),
    ):
        # Renamed first: a removal that dies half-way must not leave half a version
        aside = folder / f"{RETIRING}{context.run.id}-{version}"
        doomed.rename(aside)
        sync_folder(folder)
        shutil.rmtree(aside)


def _remove_left_overs(folder: Path) -> None:
    """What dead publishes and retires left; the lease is ours, so no live one is at work here."""
    for entry in folder.iterdir():
        if entry.name.startswith((PUBLISHING, RETIRING)):
            shutil.rmtree(entry)


KINDS.register(Kind("publish.directory", 1, _publish))
KINDS.register(Kind("retire.directory", 1, _retire))
