"""Collects garbage in the local store: left-overs of dead runs, and checkpoints that nothing stands on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from builder.model.canonical import short
from builder.records.store import CHECKPOINT_FILE, Store

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Removed:
    """Something that was (or would be) removed. `size` in bytes on disk."""

    what: str
    size: int


def collect(store: Store, *, needed: Collection[str], days: int, dry_run: bool) -> list[Removed]:
    """Remove what isn't needed. `needed` are digests of present plans; they stay with all that they stand on.

    A checkpoint younger than `days` stays too: another branch's spec may stand on it.
    """
    found = [(f"left-over {entry.name}", entry) for entry in store.leftovers()]
    checkpoints = {digest: store.checkpoint(digest) for digest in store.known_checkpoints}
    young = time.time() - days * DAY_SECONDS
    kept: set[str] = set()
    for digest, checkpoint in checkpoints.items():
        if digest not in needed and (checkpoint.folder / CHECKPOINT_FILE).stat().st_mtime < young:
            continue
        standing: str | None = digest
        while standing in checkpoints and standing not in kept:
            kept.add(standing)
            standing = checkpoints[standing].parent
    for digest in sorted(set(checkpoints) - kept):
        found.append((f"checkpoint {short(digest)} {checkpoints[digest].title}", checkpoints[digest].folder))
    for digest in sorted(store.known_artifacts - set(needed)):
        folder, facts = store.artifact(digest)
        found.append((f"artifact {short(digest)} of {facts['image']}", folder))
    removed = []
    for what, folder in found:
        removed.append(Removed(what, _size(folder)))
        if not dry_run:
            shutil.rmtree(folder)
    return removed


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
