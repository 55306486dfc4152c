"""The local machine: disks on this host, steps offline in a sandbox, tests in QEMU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from builder.errors import BuildError
from builder.guest.generalize import generalize_step
from builder.guest.kinds import prepare_step
from builder.machines.local.capture import capture_step
from builder.machines.local.checks import blocked_tests, test_steps
from builder.machines.local.sources import disks_step, file_source, source_step
from builder.model.cleaning import Place
from builder.model.hardware import host_architecture
from builder.model.observed import Blocker, MachineFacts
from builder.model.run import Run, Session
from builder.model.spec import ImageSpec
from builder.model.steps import Step
from builder.process import find_program
from builder.records.store import Store

PROGRAMS = (
    ("qemu-img", "qemu-utils", "make and read disks"),
    ("qemu-storage-daemon", "qemu-system-common", "work on disks"),
    ("bwrap", "bubblewrap", "run steps isolated from this host"),
)
EMULATORS = {
    "x64": ("qemu-system-x86_64", "qemu-system-x86"),
    "arm64": ("qemu-system-aarch64", "qemu-system-arm"),
}


def _programs(image: ImageSpec) -> list[tuple[str, str, str]]:
    """What a build of this image calls: program, Debian package, why."""
    needed = [*PROGRAMS]
    if image.source.kind == "bootstrap":
        from builder.machines.local import bootstrap

        needed += [(program, package, why) for program, (package, why) in bootstrap.PROGRAMS.items()]
    if image.generalize is not None:
        needed.append(("mdir", "mtools", "look into the EFI system partition"))
    if image.test:
        needed.append((*EMULATORS[image.os.architecture], "test the image in a VM"))
        needed += [(program, "openssh-client", "log in to the VM of a test") for program in ("ssh", "ssh-keygen")]
    return needed


def _foreign_architecture(image: ImageSpec) -> tuple[Blocker, ...]:
    """Steps run the image's own programs, whatever its source: this host's processor must know them."""
    host, wanted = host_architecture(), image.os.architecture
    if host == wanted:
        return ()
    return (
        Blocker(
            f"the image is for {wanted}, and this host runs {host}",
            image.place("os", "architecture"),
            hint=f"build it on a host of {wanted}",
            code="foreign-architecture",
        ),
    )


class LocalMachine:
    """Makes images on this host, keeping its checkpoints in the project's store."""

    name = "local"
    # Mounts belong to the process
    side_by_side = False
    tests_published = False

    def __init__(self, store: Store) -> None:
        self.store = store

    def observe(self, image: ImageSpec) -> MachineFacts:
        """The resolved source, and what the store holds already."""
        source: dict[str, Any] = {}
        blockers: tuple[Blocker, ...] = ()
        try:
            if image.source.kind == "bootstrap":
                from builder.machines.local.bootstrap import resolve

                source = resolve(image.os, {**image.source.values, "size": image.disks.os_size})
            elif image.source.kind == "file":
                source = file_source(image, self.store.hashes)
                if "path" in source:
                    from builder.disk.importing import look

                    look(image.root / source["path"])
        except BuildError as error:
            source, where = {}, error.where or image.place(*image.source.path)
            blockers = (Blocker(error.message, where, error.hint, error.code),)
        blockers += (*_foreign_architecture(image), *blocked_tests(image))
        return MachineFacts(
            source=source,
            checkpoints=self.store.known_checkpoints,
            artifacts=self.store.known_artifacts(image.name),
            blockers=blockers,
        )

    def steps(self, image: ImageSpec, facts: MachineFacts) -> list[Step]:
        """The steps of prepare (the source first), generalize, capture and test."""
        steps = [source_step(image, facts.source)]
        disks = disks_step(image)
        if disks is not None:
            steps.append(disks)
        prepare = [prepare_step(choice, image) for choice in image.prepare]
        steps += prepare
        if image.generalize is not None:
            steps.append(generalize_step(image, prepare))
        return [*steps, capture_step(image), *test_steps(image)]

    def preflight(self, image: ImageSpec) -> None:
        """The programs that this image's steps call, and root on Linux."""
        from builder.disk.mounts import require_root

        for program, package, why in _programs(image):
            find_program(program, package=package, why=why)
        if image.test and image.os.generation == 2:
            from builder.machines.local.rehearsal.qemu import require_firmware

            require_firmware()
        # Last: a dry run, which goes on without root, has then seen to all else
        require_root("make images on this machine")

    def secret(self, image: ImageSpec, origin: str, name: str) -> str | None:
        """Reads none: what it makes needs no account anywhere."""
        return None

    def open(self, run: Run) -> AbstractContextManager[Session]:
        """The disks of one run; needs root on Linux."""
        from builder.machines.local.session import LocalSession

        return LocalSession(run, self.store)

    def places(self, image: ImageSpec) -> tuple[Place, ...]:
        """None: everything is in the store, and what a dead process mounted is gone with it."""
        return ()
