"""Versions in Azure tell of themselves by tags: what a plan compares, within Azure's limits.

Whoever made a version in another way has not written these tags: that version is foreign, and never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from builder.azure import tags as tag_names
from builder.model.artifact import REBUILD_INPUT, Inventory, Manifest, ManifestDisk
from builder.model.observed import VersionState
from builder.model.spec import ImageSpec
from builder.records.manifests import Manifests, is_key

CREATED = f"{tag_names.PREFIX}created"
REBUILD = f"{tag_names.PREFIX}rebuild"
KIND = f"{tag_names.PREFIX}kind"
# Values of the tag build-state
HELD, PROMOTED, FAILED = "held", "promoted", "failed"
STATES = {HELD: VersionState.HELD, FAILED: VersionState.HELD, PROMOTED: VersionState.PROMOTED}
# Manifests that are read at once
READERS = 8
OWN_TAGS = 11
# What `Traits.where` says of disks that are files of this host
HERE = "here"


def spec_tags(image: ImageSpec) -> dict[str, str]:
    """The tags that the spec gives a version."""
    return {**image.tags, **image.publish.tags}


def version_tags(manifest: Manifest, *, run: str, state: str, record: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version that a run publishes. `record` is the key of its manifest, "" where none is kept."""
    found = tag_names.ours(run=run, image=manifest.image, extra=extra)
    found |= {
        tag_names.DIGEST: manifest.digest,
        tag_names.STATE: state,
        tag_names.SOURCE: source_text(manifest.source),
        CREATED: manifest.created,
        KIND: manifest.kind,
        REBUILD: rebuild_token(manifest),
        tag_names.MANIFEST: record,
    }
    return {name: value[: tag_names.LONGEST_VALUE] for name, value in found.items() if value}


def source_text(source: Mapping[str, Any]) -> str:
    """A source for people, in a line."""
    for key in ("name", "path", "image", "url", "distribution"):
        if isinstance(source.get(key), str):
            more = source.get("version") or source.get("release") or ""
            return f"{source[key]} {more}".strip()
    return ""


def rebuild_token(manifest: Manifest) -> str:
    """The version for which it was rebuilt on request; "" when it wasn't."""
    first: Mapping[str, Any] = manifest.steps[0] if manifest.steps else {}
    return str(first.get("inputs", {}).get(REBUILD_INPUT) or "")


@dataclass(frozen=True)
class Seen:
    """A version that was found: its tags, and what its resource says of the rest."""

    version: str
    tags: Mapping[str, str]
    architecture: str
    generation: int
    generalized: bool
    disks: tuple[ManifestDisk, ...] = ()


def is_of(tags: Mapping[str, str] | None, image: str) -> bool:
    """Whether this tool published this as a version of that image."""
    return (
        tags is not None
        and tag_names.is_ours(tags)
        and tags.get(tag_names.IMAGE) == image
        and bool(tags.get(tag_names.DIGEST))
    )


def manifest_of(seen: Seen) -> Manifest:
    """As much of a version's manifest as its tags tell."""
    tags = seen.tags
    token = tags.get(REBUILD)
    # Plans look for the request to rebuild among the first step's inputs
    steps = ({"stage": "", "kind": "", "title": "", "inputs": {REBUILD_INPUT: token}, "files": []},) if token else ()
    return Manifest(
        image=tags[tag_names.IMAGE],
        version=seen.version,
        digest=tags[tag_names.DIGEST],
        created=tags.get(CREATED, ""),
        tool=tags.get(tag_names.TOOL, ""),
        run=tags[tag_names.RUN],
        generalized=seen.generalized,
        kind=tags.get(KIND, "vmImage"),
        architecture=seen.architecture,
        generation=seen.generation,
        source={"name": tags[tag_names.SOURCE]} if tags.get(tag_names.SOURCE) else {},
        steps=steps,
        disks=seen.disks,
        recorded_inventory=Inventory().as_dict(),
        tests=({"name": "all", "passed": False, "seconds": 0.0, "detail": ""},) if tags.get(tag_names.STATE) == FAILED
        else (),
    )  # fmt: skip


def manifests_of(seen: Iterable[Seen], records: Manifests | None) -> dict[str, Manifest]:
    """The manifest of each version: as it was recorded, or else what its tags tell.

    A record whose digest is not that of the tags is not this version's: the tags stand on the version itself.
    """
    versions = list(seen)
    found = {item.version: manifest_of(item) for item in versions}
    recorded = [item for item in versions if records is not None and is_key(item.tags.get(tag_names.MANIFEST, ""))]
    if not recorded or records is None:
        return found
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(records.read, (item.tags[tag_names.MANIFEST] for item in recorded))
        for item, manifest in zip(recorded, read, strict=True):
            if manifest is not None and manifest.digest == item.tags[tag_names.DIGEST]:
                found[item.version] = manifest
    return found


def side_by_side(*reads: Callable[[], Any]) -> list[Any]:
    """The results of several reads that don't wait for each other. Raises the error of the first that failed."""
    with ThreadPoolExecutor(len(reads)) as pool:
        return [future.result() for future in [pool.submit(read) for read in reads]]
