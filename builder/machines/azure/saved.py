"""Captured disks that stand in Azure, as the local store remembers them: with the inventory, which no tag can hold."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from builder.machines.azure.checkpoints import Kept
from builder.model.artifact import Artifact, CapturedDisk, Inventory
from builder.records.store import Store


def save(store: Store, artifact: Artifact, inventory: Inventory, run: str) -> None:
    """Remember an artifact, so that a failed publish never costs a build."""
    facts: dict[str, Any] = {
        "image": artifact.image,
        "digest": artifact.digest,
        "generalized": artifact.generalized,
        "disks": [{**asdict(disk), "path": None} for disk in artifact.disks],
        "inventory": inventory.as_dict(),
    }
    with ExitStack() as unfinished:
        folder = store.new_artifact(artifact.digest, artifact.image, run)
        unfinished.callback(shutil.rmtree, folder)
        store.keep_artifact(folder, artifact.digest, artifact.image, facts)
        unfinished.pop_all()


def load(store: Store, digest: str, image: str) -> tuple[Artifact, Inventory] | None:
    """An artifact of Azure that the store remembers; None when it has none, or one whose disks are files here."""
    try:
        _, facts = store.artifact(digest, image)
        disks = tuple(CapturedDisk(**disk) for disk in facts["disks"])
        inventory = Inventory.from_dict(facts["inventory"])
        artifact = Artifact(facts["image"], digest, bool(facts["generalized"]), disks)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None
    return (artifact, inventory) if all(disk.resource for disk in disks) else None


def adoptable(store: Store, image: str, kept: Kept) -> frozenset[str]:
    """The digests whose captured disks stand in Azure and whose inventory the store has."""
    return frozenset(digest for digest in kept.artifacts if load(store, digest, image) is not None)
