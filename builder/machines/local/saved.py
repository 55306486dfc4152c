"""Captured artifacts in the store: kept until a version holds them, so that a failed publish never costs a build."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.model.artifact import Artifact, CapturedDisk, Inventory
from builder.records.files import sync_file
from builder.records.store import Store


@dataclass(frozen=True)
class SavedCapture:
    """An artifact and what was read from it."""

    artifact: Artifact
    inventory: Inventory


def save_capture(store: Store, folder: Path, artifact: Artifact, inventory: Inventory) -> SavedCapture:
    """Give a new artifact its name in the store, once its disks are stored."""
    facts: dict[str, Any] = {
        "image": artifact.image,
        "digest": artifact.digest,
        "generalized": artifact.generalized,
        "disks": [{**asdict(disk), "path": disk.file.name} for disk in artifact.disks],
        "inventory": inventory.as_dict(),
    }
    for disk in artifact.disks:
        sync_file(disk.file)
    store.keep_artifact(folder, artifact.digest, artifact.image, facts)
    return load_capture(store, artifact.digest, artifact.image)


def load_capture(store: Store, digest: str, image: str) -> SavedCapture:
    """An image's artifact of a digest. Raises FileNotFoundError when the store has none."""
    folder, facts = store.artifact(digest, image)
    disks = tuple(CapturedDisk(**{**disk, "path": folder / disk["path"]}) for disk in facts["disks"])
    artifact = Artifact(
        image=facts["image"], digest=digest, generalized=facts["generalized"], disks=disks, folder=folder
    )
    return SavedCapture(artifact, Inventory.from_dict(facts["inventory"]))
