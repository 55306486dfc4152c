"""The place for manifests that build.yaml's `records` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.records.manifests import FolderManifests, Manifests

Records = Mapping[str, Mapping[str, str]]


def manifests_in(records: Records, root: Path) -> Manifests | None:
    """The place that build.yaml's `records` names; None when it names none."""
    if "directory" in records:
        return FolderManifests(root / records["directory"]["path"])
    if "blob" in records:
        from builder.records.blob_manifests import BlobManifests

        return BlobManifests(records["blob"])
    return None
