"""Collects garbage in the local store: left-overs of dead runs, and what no build stands on any more."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from builder.model.canonical import short
from builder.model.cleaning import DAY_SECONDS
from builder.records.files import remove_tree
from builder.records.store import RUN_ID, Checkpoint, Store


@dataclass(frozen=True)
class Needed:
    """What present specs need: checkpoints by digest, artifacts by digest and image.

    Of a blocked image nobody can tell what it needs: all its artifacts stay.
    """

    checkpoints: frozenset[str]
    artifacts: frozenset[tuple[str, str]]
    blocked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Removed:
    """Something that was (or would be) removed. `size` in bytes on disk."""

    what: str
    size: int


def collect(store: Store, *, needed: Needed, days: int, dry_run: bool) -> list[Removed]:
    """Remove what isn't needed, while no run is alive. What is needed stays with all that it stands on.

    A checkpoint younger than `days` stays too: another branch's spec may stand on it. Records of runs and downloads
    stay for as long. Raises BuildError (`store-busy`) when a run is alive; with `dry_run` that is no matter.
    """
    with nullcontext() if dry_run else store.alone():
        young = time.time() - days * DAY_SECONDS
        found = [(f"left-over {entry.name}", entry) for entry in store.leftovers()]
        found += _checkpoints(store, needed, young)
        kept = kept_artifacts(store, needed)
        for (digest, image), folder in sorted(store.all_artifacts.items()):
            if (digest, image) not in kept:
                found.append((f"artifact {short(digest)} of {image or 'an unknown image'}", folder))
        found += [(f"run {folder.name}", folder) for folder in _old(store.runs, young) if _is_dead(store, folder)]
        found += [(f"download {file.name[:12]}", file) for file in _old(store.sources, young)]
        removed = []
        for what, path in found:
            removed.append(Removed(what, _size(path)))
            if dry_run:
                continue
            if path.parent in (store.checkpoints, store.artifacts):
                store.remove(path)
            else:
                remove_tree(path)
    return removed


def kept_artifacts(store: Store, needed: Needed) -> frozenset[tuple[str, str]]:
    """The artifacts that a publish may still need, by digest and image."""
    return frozenset(pair for pair in store.all_artifacts if pair in needed.artifacts or pair[1] in needed.blocked)


def _checkpoints(store: Store, needed: Needed, young: float) -> list[tuple[str, Path]]:
    """The checkpoints to remove, children before what they stand on, so that what is left can always be stood on."""
    found = {checkpoint.digest: checkpoint for checkpoint in store.all_checkpoints()}
    usable = store.known_checkpoints
    kept: set[str] = set()
    for digest in usable:
        if digest not in needed.checkpoints and _last_change(found[digest].folder) < young:
            continue
        standing: str | None = digest
        while standing is not None and standing not in kept:
            kept.add(standing)
            standing = found[standing].parent
    depth = _depths(found)
    gone = sorted(set(found) - kept, key=lambda digest: (-depth[digest], digest))
    named = [(f"checkpoint {short(digest)} {found[digest].title}", found[digest].folder) for digest in gone]
    unreadable = [(f"checkpoint {folder.name[:12]} (damaged)", folder) for folder in store.damaged_checkpoints()]
    return named + unreadable


def _depths(found: Mapping[str, Checkpoint]) -> dict[str, int]:
    """How many checkpoints each one stands on."""
    depth: dict[str, int] = {}
    for digest in found:
        chain: list[str] = []
        standing: str | None = digest
        while standing is not None and standing in found and standing not in depth and standing not in chain:
            chain.append(standing)
            standing = found[standing].parent
        below = depth.get(standing or "", -1)
        for place, item in enumerate(reversed(chain), start=1):
            depth[item] = below + place
    return depth


def _old(folder: Path, young: float) -> list[Path]:
    """What in a folder was last changed before `young`. Names with a dot are somebody's work under way."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in entries if not entry.name.startswith(".") and _last_change(entry) < young]


def _is_dead(store: Store, folder: Path) -> bool:
    return RUN_ID.fullmatch(folder.name) is not None and not store.is_alive(folder.name)


def _last_change(path: Path) -> float:
    """The time of the last change of a file, or of a folder and the files in it."""
    inside = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(path)] if path.is_dir() else []
    return max([path.lstat().st_mtime, *inside])


def _size(path: Path) -> int:
    """Bytes on disk. What goes meanwhile has none."""
    total = 0
    for entry in [path, *path.rglob("*")]:
        try:
            total += entry.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
