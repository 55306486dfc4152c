"""An open local machine: qcow2 layers of one checkpoint, a new layer for the step under way, and its disks mounted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.disk import layers
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts
from builder.disk.system import OpenedSystem, opened_system
from builder.disk.trimming import cluster_size_for, coarse_note
from builder.errors import BuildError
from builder.events import Warned
from builder.machines.local.gifts import host_gifts
from builder.machines.local.sandbox import Sandbox
from builder.machines.local.saved import load_capture
from builder.model.artifact import Artifact, Inventory
from builder.model.hardware import HOST_ARCHITECTURES, host_architecture
from builder.model.run import Guest, GuestFacts, Run
from builder.model.steps import Stage, Step
from builder.records.files import sync_file
from builder.records.store import Checkpoint, Store

if TYPE_CHECKING:
    from builder.machines.local.rehearsal.vm import RehearsedVm

# The block size of nearly every filesystem; `open_to_capture` looks whether it is fine enough
CAPTURE_CLUSTER = 4096
# What os-release calls a distribution's family of package managers, most specific first: the program that must exist
PACKAGE_MANAGERS = (
    ("apt", "/usr/bin/apt-get"),
    ("dnf", "/usr/bin/dnf"),
    ("dnf", "/usr/bin/dnf5"),
    ("tdnf", "/usr/bin/tdnf"),
    ("yum", "/usr/bin/yum"),
    ("zypper", "/usr/bin/zypper"),
    ("apk", "/sbin/apk"),
)


class LocalSession:
    """The session of one run. Use it as a context manager: everything is unmounted and let go at its end."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run = run
        self.store = store
        self.checkpoint: Checkpoint | None = None
        # While a step runs: the folder that becomes its checkpoint, and the disks in it
        self.folder: Path | None = None
        self.disks: list[tuple[str, int | None]] = []
        self.system: OpenedSystem | None = None
        # What outlives a step: the rehearsal's VM
        self.stack = ExitStack()
        self.vm: RehearsedVm | None = None
        self._notes: set[str] = set()
        self._step_stack = ExitStack()
        self._system_stack = ExitStack()
        self._sandbox: Sandbox | None = None

    @property
    def work(self) -> Path:
        """A folder for this run's scratch files, removed at the session's end."""
        return self.store.work / f"{self.run.id}-{self.run.image.name}"

    @property
    def package_sources(self) -> str:
        """Whose package sources steps use: the image's own, or this host's."""
        return str(self.run.image.machine.values["package_sources"])

    def __enter__(self) -> LocalSession:
        private_mounts()
        self.work.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.abort()
        finally:
            try:
                self.stack.close()
            finally:
                shutil.rmtree(self.work)

    def start_at(self, digest: str) -> None:
        """Put the disks in the state of a checkpoint of the store."""
        try:
            self.checkpoint = self.store.checkpoint(digest)
        except FileNotFoundError as error:
            raise _gone("checkpoint") from error

    def begin(self, step: Step) -> None:
        """New layers over the current checkpoint's; the first step finds an empty folder and makes its own disks."""
        self.folder = self.store.new_checkpoint(step.digest, self.run.id)
        self._step_stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.disks = []
        if self.checkpoint is None:
            return
        # What is captured lets go of freed blocks, which qcow2 does by whole clusters: see disk/trimming.py
        capture = step.stage == Stage.CAPTURE
        for name, lun, path in zip(self.checkpoint.disks, self.checkpoint.luns, self.checkpoint.paths, strict=True):
            fine = max(CAPTURE_CLUSTER, layers.smallest_cluster_size(layers.virtual_size(path)))
            size = fine if capture else layers.CLUSTER_SIZE
            layers.create(self.folder / name, backing=path, cluster_size=size)
            self.disks.append((name, lun))

    def commit(self, step: Step) -> None:
        """Close the disks and give the new layers their name."""
        assert self.folder is not None
        self.close_system()
        for name, _ in self.disks:
            sync_file(self.folder / name)
        parent = self.checkpoint.digest if self.checkpoint else None
        made = Checkpoint(
            digest=step.digest,
            parent=parent,
            disks=tuple(name for name, _ in self.disks),
            luns=tuple(lun for _, lun in self.disks),
            folder=self.folder,
            title=step.title,
            parent_made=self.checkpoint.made if self.checkpoint else "",
        )
        with self.run.effect("checkpoint", digest=step.digest, step=step.index):
            # The artifact was written from this very layer, which a later capture of the same disks is not
            self.checkpoint = self.store.keep_checkpoint(self.folder, made, replace_whole=step.stage == Stage.CAPTURE)
        self._step_stack.pop_all()
        self.folder = None

    def abort(self) -> None:
        """Throw away the layers of a step that did not end well."""
        try:
            self.close_system()
        finally:
            self._step_stack.close()
            self.folder = None

    @property
    def guest(self) -> Guest:
        """The system on the disks, opened and mounted at the first use in a step."""
        if self._sandbox is None:
            system = self.open_system()
            facts = guest_facts(system)
            self._sandbox = Sandbox(
                system.root,
                facts=facts,
                gifts=host_gifts(facts, self.package_sources),
                work=self.work,
                stop=self.run.stop,
            )
        return self._sandbox

    def restart(self, timeout: float | None) -> None:
        """Nothing runs: every step begins in a system at rest, and every VM from the disk boots afresh."""

    def open_system(self) -> OpenedSystem:
        """Mount the disks of the step under way, until it is committed."""
        if self.system is None:
            disks = [self.disk(name) for name, _ in self.disks]
            self.system = self._system_stack.enter_context(opened_system(disks, folder=self.work, writable=True))
            self._check_architecture(self.system)
            self._check_distribution(self.system)
            self._warn(self.system.notes)
        return self.system

    def _warn(self, notes: Iterable[str]) -> None:
        """Tell each note once."""
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self.run.emit(Warned(image=self.run.image.name, message=note))

    def open_to_capture(self) -> OpenedSystem:
        """Mount the disks on layers whose clusters are fine enough to let go of every block that the guest freed.

        Where a disk is too large for that, a warning says so.
        """
        system = self.open_system()
        notes = (coarse_note(self.disk(name), system.volumes) for name, _ in self.disks)
        self._warn(note for note in notes if note is not None)
        fine = {name: cluster_size_for(self.disk(name), system.volumes) for name, _ in self.disks}
        coarse = [name for name, size in fine.items() if layers.cluster_size(self.layer(name)) > size]
        if not coarse:
            return system
        self.close_system()
        assert self.checkpoint is not None
        for name in coarse:
            self.layer(name).unlink()
            layers.create(self.layer(name), backing=self.checkpoint.folder / name, cluster_size=fine[name])
        return self.open_system()

    def disk(self, name: str) -> DiskLayer:
        """A disk of the step under way."""
        return DiskLayer(self.layer(name), dict(self.disks)[name])

    def layer(self, name: str) -> Path:
        """A disk's layer in the step under way."""
        assert self.folder is not None, "disks are changed between begin and commit only"
        return self.folder / name

    def close_system(self) -> None:
        """Unmount; nothing of the step can be written after this."""
        self._sandbox = None
        self.system = None
        self._system_stack.close()

    def _check_architecture(self, system: OpenedSystem) -> None:
        image = self.run.image
        if system.architecture in HOST_ARCHITECTURES.values() and system.architecture != image.os.architecture:
            raise BuildError(
                f"the disk holds a system for {system.architecture}; the spec says {image.os.architecture}",
                code="wrong-architecture",
                where=image.place("os", "architecture"),
                hint=f"write `architecture: {system.architecture}`, or name another source",
            )
        host = host_architecture()
        if system.architecture != host:
            raise BuildError(
                f"the disk holds a system for {system.architecture}; this host runs {host}",
                code="wrong-architecture",
                where=self.run.image.place("source"),
                hint=f"build it on a host of {system.architecture}, or with machine azure",
            )

    def _check_distribution(self, system: OpenedSystem) -> None:
        """Steps, generalize and destinations go by what the spec says: it has to be what is on the disk."""
        found = system.os_release
        number, name = found.get("VERSION_ID", ""), found.get("VERSION_CODENAME", "")
        # A release is written as number, as its major number, or as code name
        there = {"distribution": [found.get("ID", "")], "release": [number, number.partition(".")[0], name]}
        for key, texts in there.items():
            wanted = getattr(self.run.image.os, key)
            if wanted and any(texts) and wanted.lower() not in map(str.lower, texts):
                raise BuildError(
                    f"the disk holds {found.get('PRETTY_NAME') or ' '.join(texts)}; the spec says {key} {wanted}",
                    code="wrong-system",
                    where=self.run.image.place("os", key),
                    hint=f'write `{key}: "{next(filter(None, texts))}"`, or name another source',
                )

    def adopt(self, digest: str) -> tuple[Artifact, Inventory]:
        """The artifact that an earlier run captured and did not publish."""
        try:
            saved = load_capture(self.store, digest, self.run.image.name)
        except FileNotFoundError as error:
            raise _gone("captured artifact") from error
        return saved.artifact, saved.inventory

    def release(self, artifact: Artifact) -> None:
        """Forget the captured disks: the versions hold them."""
        self.store.drop_artifact(artifact.digest, artifact.image, self.run.id)


def _gone(what: str) -> BuildError:
    """Only a time between plan and apply in which somebody cleaned the store can lead here."""
    message = f"the {what} that the plan starts from is not in the local store any more"
    return BuildError(message, code="store-changed", hint="run the same apply again: it is made anew")


def guest_facts(system: OpenedSystem) -> GuestFacts:
    """What the system on the disks is, read from them."""
    tree = system.tree
    manager = next((name for name, program in PACKAGE_MANAGERS if tree.exists(program)), "")
    release = system.os_release
    return GuestFacts(
        family="linux",
        distribution=release.get("ID", ""),
        release=release.get("VERSION_ID", ""),
        architecture=system.architecture,
        package_manager=manager,
        os_release=release,
    )
