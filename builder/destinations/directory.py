"""A local gallery: `<path>/<image>/<version>/{os.vhd,data-<lun>.vhd,manifest.json,sbom.cdx.json}`. Needs no account.

A version is made in a folder beside its place and renamed there: a publish that dies leaves nothing that looks like a
version. Folders whose name is not a version, or without a manifest of ours, are never touched.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.disk.vhd import FOOTER_SIZE
from builder.errors import BuildError, PlanStale
from builder.model.artifact import Artifact, CapturedDisk, Manifest, ManifestDisk
from builder.model.cleaning import Place
from builder.model.kinds import KINDS, Kind
from builder.model.observed import FOREIGN, Blocker, Published, PublishedVersion, Traits
from builder.model.run import StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Stage, Step
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
    deployable = False

    def __init__(self, choice: Choice, image: ImageSpec) -> None:
        self.path = str(choice.values["path"])
        self.name = f"directory {self.path}"
        self._choice = choice
        self._folder = image.root / self.path / image.name

    def observe(self, image: ImageSpec) -> Published:
        """The versions in the folder, and whether there can be more. Raises BuildError when they can't be read."""
        try:
            versions = [
                PublishedVersion(entry.name, _read_manifest(entry), str(entry))
                for entry in (self._folder.iterdir() if self._folder.is_dir() else ())
                if is_version(entry.name) and entry.is_dir()
            ]
            blockers = self._blockers(image)
        except OSError as error:
            at = _shown(Path(error.filename or self._folder), image)
            raise BuildError(
                f"{self.path}: {at} can't be read: {error.strerror}",
                code="destination-unreadable",
                where=image.place(*self._choice.path, "path"),
                hint=f"let yourself read it (chmod -R a+rX {self.path}), or run build as its owner",
            ) from error
        versions.sort(key=lambda item: version_key(item.version))
        return Published(self.name, tuple(versions), blockers)

    def _blockers(self, image: ImageSpec) -> tuple[Blocker, ...]:
        """What no right can change. Who plans needn't be who applies: whether that one may write shows then."""
        existing = self._folder
        while not existing.exists():
            existing = existing.parent
        if existing.is_dir() and not os.statvfs(existing).f_flag & os.ST_RDONLY:
            return ()
        what = "is on a read-only file system" if existing.is_dir() else "is not a folder"
        return (
            Blocker(
                f"{self.path}: {_shown(existing, image)} {what}, so nothing can be published there",
                image.place(*self._choice.path, "path"),
                hint="name another `path`, or make it a folder that can be written to",
                code="destination-read-only",
            ),
        )

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """A folder of this host takes what is on this host."""
        if traits.where == "here":
            return ()
        return (
            Blocker(
                f"{self.name} takes disks of this host, and this image's are in {traits.where}",
                image.place(*self._choice.path),
                hint="publish to a `gallery` or a `blob`, or build the image with machine local",
                code="destination-elsewhere",
            ),
        )

    def takes(self, artifact: Artifact) -> bool:
        """Files of this host."""
        return all(disk.path is not None for disk in artifact.disks)

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step: the version appears, whole. Nothing is held back: its tests were before."""
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

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """None: a version in a folder is there for everybody."""
        return []

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """None: a version in a folder has no properties of its own."""
        return []

    def places(self) -> tuple[Place, ...]:
        """None: it is on this host."""
        return ()

    def artifact(self, version: PublishedVersion) -> Artifact:
        """The files of a version."""
        assert version.manifest is not None
        folder, manifest = Path(version.location), version.manifest
        disks = tuple(_captured(disk, folder / disk.file) for disk in manifest.disks)
        return Artifact(manifest.image, manifest.digest, manifest.generalized, disks, folder)

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


def _captured(disk: ManifestDisk, path: Path) -> CapturedDisk:
    return CapturedDisk(path.stem, disk.lun, disk.size, disk.digest, disk.data_bytes, path)


def _shown(path: Path, image: ImageSpec) -> str:
    return str(path.relative_to(image.root) if path.is_relative_to(image.root) else path)


def _read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a version, or None for a folder that isn't ours or lacks a disk: shown so, and left alone."""
    try:
        data = json.loads((folder / MANIFEST_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(data, dict) or "format_version" not in data:
        return None
    try:
        manifest = Manifest.from_dict(data)
    except (KeyError, TypeError):
        return None
    return manifest if all(_is_whole(folder / disk.file, disk.size) for disk in manifest.disks) else None


def _is_whole(vhd: Path, size: int) -> bool:
    return vhd.is_file() and vhd.stat().st_size == size + FOOTER_SIZE


def _folder(step: Step, context: StepContext) -> Path:
    """The folder of an image's versions. Raises BuildError for one that a link leads out of the project."""
    image = context.run.image
    folder = image.root / str(step.inputs["path"]) / image.name
    if not folder.resolve().is_relative_to(image.root.resolve()):
        raise BuildError(
            f"{step.inputs['path']}/{image.name} leads out of the project, to {folder.resolve()}",
            code="path-outside",
            where=step.place,
            hint="make it a folder of the project",
        )
    return folder


@contextmanager
def _held(folder: Path, step: Step, context: StepContext) -> Iterator[None]:
    """The lease of an image's versions at this destination; errors of the file system are told with the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lease(
            folder / LOCK_FILE,
            what=f"{context.run.image.name} in {step.inputs['path']}",
            run=context.run.id,
            timeout=LEASE_SECONDS,
            on_wait=lambda holder: context.log(f"waiting for {holder}"),
            stop=context.run.stop,
        ):
            yield
    except OSError as error:
        raise BuildError(
            f"{folder} can't be changed: {error.strerror or error}",
            code="destination-failed",
            where=step.place,
            hint="mend the folder and run the same apply again: nothing is rebuilt",
        ) from error


def _publish(step: Step, context: StepContext) -> None:
    version = str(step.inputs["version"])
    folder = _folder(step, context)
    with _held(folder, step, context):
        _remove_left_overs(folder)
        _publish_under_lease(folder, version, context)
    context.locations.append(str(folder / version))


def _publish_under_lease(folder: Path, version: str, context: StepContext) -> None:
    final = folder / version
    if final.exists():
        raise PlanStale(
            f"{final} exists already: another run published it after this plan was made",
            code="plan-stale",
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
            _place_disk(disk.file, new / disk.file.name)
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
    version = str(step.inputs["version"])
    folder = _folder(step, context)
    doomed = folder / version
    with _held(folder, step, context):
        if not doomed.exists():
            context.log(f"{doomed} is gone already")
            return
        if not is_version(version) or _read_manifest(doomed) is None:
            raise BuildError(f"{doomed} was {FOREIGN}: it is left alone", code="foreign-version")
        with context.run.effect("retire", version=version, location=str(doomed)):
            # Renamed first: a removal that dies half-way must not leave half a version
            aside = folder / f"{RETIRING}{context.run.id}-{version}"
            doomed.rename(aside)
            sync_folder(folder)
            _remove(aside)


def _remove_left_overs(folder: Path) -> None:
    """What dead publishes and retires left; the lease is ours, so no live one is at work here."""
    for entry in folder.iterdir():
        if entry.name.startswith((PUBLISHING, RETIRING)):
            _remove(entry)


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one (a version that somebody moved to another disk): never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


KINDS.register(Kind("publish.directory", 1, _publish))
KINDS.register(Kind("retire.directory", 1, _retire))
