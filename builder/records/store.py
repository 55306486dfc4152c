"""The local store: checkpoints, artifacts, runs and locks of one project, under `.build/`.

Whatever is kept under a digest is made beside its place and renamed into it, so that what has a name is whole. Losing
the store loses time, never truth: versions carry their manifests.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.records.files import remove_tree, sync_folder, write_json
from builder.records.hashes import FileHashes

CHECKPOINT_FILE = "checkpoint.json"
ARTIFACT_FILE = "artifact.json"
ALIVE_FILE = "alive"
NEW = ".new-"
# What a run is called (`new_run_id`). Image names, which follow it in names of folders, may have dashes as well
RUN_ID = re.compile(r"\d{8}t\d{6}-[0-9a-f]{6}")
# Held by every run while it lives, and by whoever collects garbage alone. Image names don't begin with a dot
STORE_LOCK = ".store.lock"
SWEEP_LOCK = ".sweep.lock"
KEEP_LOCK = ".keep.lock"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Checkpoint:
    """The machine's disks after a step. `disks` are file names in `folder`: the OS disk's, then data disks by LUN.

    Equal digests are equal steps, not equal blocks: `made` tells two makings of a checkpoint apart, and a layer stands
    on the one making of its parent that `parent_made` names.
    """

    digest: str
    parent: str | None
    disks: tuple[str, ...]
    luns: tuple[int | None, ...]
    folder: Path
    title: str = ""
    made: str = ""
    parent_made: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The disks' layers."""
        return tuple(self.folder / name for name in self.disks)


class Store:
    """One project's store at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.artifacts = root / "artifacts"
        self.runs = root / "runs"
        self.sources = root / "sources"
        self.locks = root / "locks"
        self.work = root / "work"
        self.applied = root / "applied"
        self.hashes = FileHashes(root / "hashes.json")

    @cached_property
    def known_checkpoints(self) -> frozenset[str]:
        """The digests of the checkpoints that can be stood on, as they were when first asked.

        Their layers are there, and so are those of all that they stand on.
        """
        return frozenset(whole({found.digest: found for found in self.all_checkpoints()}))

    def all_checkpoints(self) -> Iterator[Checkpoint]:
        """Everything that has the name of a checkpoint and can be read, also when its layers or parents are gone."""
        for name in _names(self.checkpoints):
            try:
                yield self.checkpoint(f"sha256:{name}")
            except FileNotFoundError:
                continue  # no checkpoint, or gone since its name was read

    def damaged_checkpoints(self) -> list[Path]:
        """The folders that have the name of a checkpoint, and nothing that can be understood in them."""
        good = {_hex(found.digest) for found in self.all_checkpoints()}
        return [self.checkpoints / name for name in sorted(_names(self.checkpoints)) if name not in good]

    def checkpoint(self, digest: str) -> Checkpoint:
        """A checkpoint. Raises FileNotFoundError when there is none, or its facts can't be understood."""
        folder = self.checkpoints / _hex(digest)
        try:
            facts = json.loads((folder / CHECKPOINT_FILE).read_text())
            return Checkpoint(
                digest=digest,
                parent=facts["parent"],
                disks=tuple(facts["disks"]),
                luns=tuple(facts["luns"]),
                folder=folder,
                title=facts["title"],
                made=facts.get("made", ""),
                parent_made=facts.get("parent_made", ""),
            )
        except (ValueError, KeyError, TypeError, AttributeError, NotADirectoryError) as error:
            raise FileNotFoundError(f"{folder} is no checkpoint") from error

    def _is_whole(self, digest: str) -> bool:
        """Whether a checkpoint can be stood on, now."""
        found: dict[str, Checkpoint] = {}
        standing: str | None = digest
        while standing is not None and standing not in found:
            try:
                found[standing] = self.checkpoint(standing)
            except FileNotFoundError:
                return False
            standing = found[standing].parent
        return digest in whole(found)

    def new_checkpoint(self, digest: str, run: str) -> Path:
        """An empty folder to make a checkpoint in, beside its final place so that backing names stay right."""
        return self._new(self.checkpoints, run, _hex(digest)[:16])

    def keep_checkpoint(self, folder: Path, checkpoint: Checkpoint, *, replace_whole: bool = False) -> Checkpoint:
        """Make a folder from `new_checkpoint` the checkpoint of its digest, atomically. Returns the one that is kept.

        One that is there already stays, unless it can't be stood on. `replace_whole` is for checkpoints that no layer
        stands on.
        """
        final = self.checkpoints / _hex(checkpoint.digest)
        made = replace(checkpoint, folder=final, made=uuid.uuid4().hex)
        facts = {
            "digest": made.digest,
            "parent": made.parent,
            "disks": list(made.disks),
            "luns": list(made.luns),
            "title": made.title,
            "made": made.made,
            "parent_made": made.parent_made,
        }
        write_json(folder / CHECKPOINT_FILE, facts)
        # Images of parallel runs share checkpoints: between the look and the rename no other run may keep its own
        with self._lock(KEEP_LOCK):
            theirs = not replace_whole and self._is_whole(checkpoint.digest)
            if not theirs:
                self._put(folder, final)
        if theirs:
            # Layers may stand on the one that is there: equal digests are equal results, so ours can go
            remove_tree(folder)
            return self.checkpoint(checkpoint.digest)
        return made

    @cached_property
    def _artifacts(self) -> dict[tuple[str, str], Path]:
        found = {}
        for name in _names(self.artifacts):
            digits, _, image = name.partition("-")
            if (self.artifacts / name / ARTIFACT_FILE).exists():
                found[(f"sha256:{digits}", image)] = self.artifacts / name
        return found

    @property
    def all_artifacts(self) -> Mapping[tuple[str, str], Path]:
        """The folders of all captured artifacts by digest and image, as they were when first asked."""
        return self._artifacts

    def known_artifacts(self, image: str) -> frozenset[str]:
        """The digests of an image's captured artifacts that no version holds yet, as they were when first asked."""
        return frozenset(digest for digest, owner in self._artifacts if owner == image)

    def _artifact_folder(self, digest: str, image: str) -> Path:
        """Each image has its own: images of equal content are published, and their artifacts dropped, one by one."""
        return self.artifacts / f"{_hex(digest)}-{image}"

    def new_artifact(self, digest: str, image: str, run: str) -> Path:
        """An empty folder to capture into."""
        return self._new(self.artifacts, run, f"{_hex(digest)[:16]}-{image}")

    def keep_artifact(self, folder: Path, digest: str, image: str, facts: Mapping[str, Any]) -> Path:
        """Make a folder from `new_artifact` the artifact of its digest and image, atomically; an older one goes."""
        final = self._artifact_folder(digest, image)
        write_json(folder / ARTIFACT_FILE, facts)
        self._put(folder, final)
        return final

    def artifact(self, digest: str, image: str) -> tuple[Path, dict[str, Any]]:
        """A captured artifact: its folder and facts. Raises FileNotFoundError when there is none."""
        folder = self._artifact_folder(digest, image)
        return folder, json.loads((folder / ARTIFACT_FILE).read_text())

    def drop_artifact(self, digest: str, image: str, run: str) -> None:
        """Remove an artifact whose versions are published."""
        folder = self._artifact_folder(digest, image)
        if folder.exists():
            self.remove(folder, run)

    @staticmethod
    def _new(parent: Path, run: str, name: str) -> Path:
        folder = parent / f"{NEW}{run}-{name}"
        if folder.exists():
            remove_tree(folder)
        folder.mkdir(parents=True)
        return folder

    def _put(self, folder: Path, final: Path) -> None:
        """Give a new folder its name, in place of what has it."""
        if final.exists():
            found = RUN_ID.match(folder.name.removeprefix(NEW))
            self.remove(final, found.group() if found else "")
        folder.rename(final)
        sync_folder(final.parent)

    @staticmethod
    def remove(folder: Path, run: str = "") -> None:
        """Remove something that has a name: first the name, so that nothing is ever half there.

        `run` is the live run that removes it, whose business it is until that run ends.
        """
        doomed = folder.with_name(f"{NEW}{run or 'removed'}-{uuid.uuid4().hex[:8]}-{folder.name[:16]}")
        folder.rename(doomed)
        remove_tree(doomed)

    def run_folder(self, run: str) -> Path:
        """Where a run keeps its journal and log."""
        return self.runs / run

    def mark_applied(self, plan: str, run: str) -> None:
        """Remember that a saved plan was applied: it may be applied once."""
        write_json(self.applied / f"{plan}.json", {"plan": plan, "run": run})

    def was_applied(self, plan: str) -> bool:
        """Whether a saved plan was applied from this store."""
        return (self.applied / f"{plan}.json").exists()

    @contextmanager
    def alive(self, run: str) -> Iterator[None]:
        """Mark a run as alive for the length of the block, so that nobody removes what it makes or stands on."""
        folder = self.run_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock(STORE_LOCK, fcntl.LOCK_SH), (folder / ALIVE_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_alive(self, run: str) -> bool:
        """Whether the process of a run still lives (the kernel drops its lock when it dies)."""
        try:
            with (self.run_folder(run) / ALIVE_FILE).open("r") as file:
                # Shared: two that ask at once must not take each other for the run
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the store while no run is alive; runs that start meanwhile wait. Raises BuildError (`store-busy`)."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lock(STORE_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BuildError(
                    "a run works with the local store now",
                    code="store-busy",
                    hint="wait for it to end (`build show` lists the runs), and do this again",
                ) from error
            yield

    @contextmanager
    def _lock(self, name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Hold one of the store's own locks. Raises BlockingIOError when `how` says not to wait."""
        self.locks.mkdir(parents=True, exist_ok=True)
        with (self.locks / name).open("a") as file:
            fcntl.flock(file, how)
            yield

    def leftovers(self) -> list[Path]:
        """What dead runs left half made: checkpoints and artifacts without a name, work folders, parts of downloads."""
        found = []
        for folder, prefix in ((self.checkpoints, NEW), (self.artifacts, NEW), (self.work, ""), (self.sources, ".")):
            for name in _names(folder, prefix):
                # A part of a download begins with its digest; everything else begins with its run
                run = RUN_ID.search(name) if folder == self.sources else RUN_ID.match(name.removeprefix(NEW))
                if run is None or not self.is_alive(run.group()):
                    found.append(folder / name)
        return found

    def sweep(self, on_error: Callable[[Path, OSError], None]) -> list[Path]:
        """Remove what dead runs left half made; returns what was removed.

        Nothing is done while another run sweeps. What can't be removed stays, and `on_error` is told.
        """
        gone = []
        try:
            with self._lock(SWEEP_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                for entry in self.leftovers():
                    try:
                        remove_tree(entry)
                        gone.append(entry)
                    except OSError as error:
                        on_error(entry, error)
        except BlockingIOError:
            return []
        except OSError as error:
            on_error(self.root, error)
        return gone


def whole(found: Mapping[str, Checkpoint]) -> Iterator[str]:
    """Which of these checkpoints (by digest) can be stood on: with all layers, on parents that can be, of one making.

    Looks at each once, however they stand on each other.
    """
    good: dict[str, bool] = {}
    for digest in found:
        chain = []
        standing: str | None = digest
        while standing is not None and standing in found and standing not in good:
            good[standing] = False  # until its parents were seen; it ends a ring, too
            chain.append(found[standing])
            standing = found[standing].parent
        for checkpoint in reversed(chain):
            parent = found.get(checkpoint.parent or "")
            stands = checkpoint.parent is None or (
                parent is not None and good[parent.digest] and parent.made == checkpoint.parent_made
            )
            good[checkpoint.digest] = stands and all(path.is_file() for path in checkpoint.paths)
    return (digest for digest, can in good.items() if can)


def _names(folder: Path, prefix: str = "") -> list[str]:
    """The names in a folder that begin with `prefix`; without one, those that are nobody's work under way."""
    entries = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
    return sorted(name for name in entries if name.startswith(prefix) and (prefix or name[0] != "."))
