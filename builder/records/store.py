"""The local store: checkpoints, artifacts, runs and locks of one project, under `.build/`.

Whatever is kept under a digest is made beside its place and renamed into it, so that what has a name is whole. Losing
the store loses time, never truth: versions carry their manifests.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from builder.records.files import sync_folder, write_json
from builder.records.hashes import FileHashes

CHECKPOINT_FILE = "checkpoint.json"
ARTIFACT_FILE = "artifact.json"
ALIVE_FILE = "alive"
NEW = ".new-"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Checkpoint:
    """The machine's disks after a step. `disks` are file names in `folder`: the OS disk's, then data disks by LUN."""

    digest: str
    parent: str | None
    disks: tuple[str, ...]
    luns: tuple[int | None, ...]
    folder: Path
    title: str = ""

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
        """The digests of all whole checkpoints, as they were when first asked."""
        return frozenset(self._digests(self.checkpoints, CHECKPOINT_FILE))

    @cached_property
    def known_artifacts(self) -> frozenset[str]:
        """The digests of all captured artifacts that no version holds yet, as they were when first asked."""
        return frozenset(self._digests(self.artifacts, ARTIFACT_FILE))

    @staticmethod
    def _digests(folder: Path, marker: str) -> Iterator[str]:
        if not folder.is_dir():
            return
        for entry in os.scandir(folder):
            if not entry.name.startswith(".") and Path(entry.path, marker).exists():
                yield f"sha256:{entry.name}"

    def checkpoint(self, digest: str) -> Checkpoint:
        """A whole checkpoint. Raises FileNotFoundError when there is none."""
        folder = self.checkpoints / _hex(digest)
        facts = json.loads((folder / CHECKPOINT_FILE).read_text())
        return Checkpoint(
            digest=digest,
            parent=facts["parent"],
            disks=tuple(facts["disks"]),
            luns=tuple(facts["luns"]),
            folder=folder,
            title=facts["title"],
        )

    def new_checkpoint(self, digest: str, run: str) -> Path:
        """An empty folder to make a checkpoint in, beside its final place so that backing names stay right."""
        return self._new(self.checkpoints, digest, run)

    def keep_checkpoint(self, folder: Path, checkpoint: Checkpoint, *, replace: bool = False) -> Checkpoint:
        """Make a folder from `new_checkpoint` the checkpoint of its digest, atomically.

        `replace` is for checkpoints that no layer can stand on; another that is there already stays.
        """
        facts = {
            "digest": checkpoint.digest,
            "parent": checkpoint.parent,
            "disks": list(checkpoint.disks),
            "luns": list(checkpoint.luns),
            "title": checkpoint.title,
        }
        final = self.checkpoints / _hex(checkpoint.digest)
        if replace and final.exists():
            self._remove(final)
        self._keep(folder, final, CHECKPOINT_FILE, facts)
        return Checkpoint(**{**checkpoint.__dict__, "folder": final})

    def new_artifact(self, digest: str, run: str) -> Path:
        """An empty folder to capture into."""
        return self._new(self.artifacts, digest, run)

    def keep_artifact(self, folder: Path, digest: str, facts: Mapping[str, Any]) -> Path:
        """Make a folder from `new_artifact` the artifact of its digest, atomically."""
        return self._keep(folder, self.artifacts / _hex(digest), ARTIFACT_FILE, facts)

    def artifact(self, digest: str) -> tuple[Path, dict[str, Any]]:
        """A captured artifact: its folder and facts. Raises FileNotFoundError when there is none."""
        folder = self.artifacts / _hex(digest)
        return folder, json.loads((folder / ARTIFACT_FILE).read_text())

    def drop_artifact(self, digest: str) -> None:
        """Remove an artifact whose versions are published."""
        folder = self.artifacts / _hex(digest)
        if folder.exists():
            self._remove(folder)

    def _new(self, parent: Path, digest: str, run: str) -> Path:
        folder = parent / f"{NEW}{run}-{_hex(digest)[:16]}"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    @staticmethod
    def _keep(folder: Path, final: Path, marker: str, facts: Mapping[str, Any]) -> Path:
        write_json(folder / marker, facts)
        if (final / marker).exists():
            # Layers may stand on the one that is there: equal digests are equal results, so ours can go
            shutil.rmtree(folder)
            return final
        folder.rename(final)
        sync_folder(final.parent)
        return final

    @staticmethod
    def _remove(folder: Path) -> None:
        doomed = folder.with_name(f"{NEW}removed-{os.getpid()}-{folder.name[:16]}")
        folder.rename(doomed)
        shutil.rmtree(doomed)

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
        """Mark a run as alive for the length of the block, so that nobody sweeps what it is making."""
        folder = self.run_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ALIVE_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_alive(self, run: str) -> bool:
        """Whether the process of a run still lives (the kernel drops its lock when it dies)."""
        try:
            with (self.run_folder(run) / ALIVE_FILE).open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def leftovers(self) -> list[Path]:
        """What dead runs left half made: new checkpoints and artifacts without a name, and work folders."""
        found = []
        for folder in (self.checkpoints, self.artifacts, self.work):
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                if folder != self.work and not entry.name.startswith(NEW):
                    continue
                run = entry.name.removeprefix(NEW).rsplit("-", 1)[0]
                if not self.is_alive(run):
                    found.append(entry)
        return found

    def sweep(self) -> list[Path]:
        """Remove what dead runs left half made; returns what was removed."""
        gone = self.leftovers()
        for entry in gone:
            shutil.rmtree(entry, ignore_errors=False)
        return gone
