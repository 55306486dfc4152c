"""Where the manifests of versions are kept that stand in Azure: a folder, or a container of a storage account.

A version's tags hold what a plan compares; everything else about it (steps, inventory, test results) is here, under
the key that one of its tags names. A directory destination keeps its manifests beside its disks instead.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Protocol

from builder.errors import BuildError
from builder.model.artifact import Manifest

# Keys come from tags, which others can write too: nothing else may be read or overwritten through them
_KEY = re.compile(r"manifests/[a-z0-9][a-z0-9._-]{0,127}/[0-9.]{5,35}/[A-Za-z0-9-]{1,80}\.json")


class Manifests(Protocol):
    """A place for manifests, by key."""

    def read(self, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be understood. Raises BuildError."""

    def write(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one. Raises BuildError."""


def key_of(image: str, version: str, run: str) -> str:
    """The key of the manifest of a version that a run published."""
    return f"manifests/{image.lower()}/{version}/{run}.json"


def is_key(text: str) -> bool:
    """Whether a tag's text can be a key."""
    return _KEY.fullmatch(text) is not None and "/.." not in text


def understood(text: bytes) -> Manifest | None:
    """The manifest in a file's bytes, or None when it is damaged."""
    try:
        data: Any = json.loads(text)
        return Manifest.from_dict(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class FolderManifests:
    """Manifests in a folder of the project."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> Manifest | None:
        """The manifest, or None where there is none that can be understood."""
        try:
            return understood((self._folder / key).read_bytes()) if is_key(key) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._folder / key, error) from error

    def write(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one."""
        from builder.records.files import write_json

        path = self._folder / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, manifest.as_dict())
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BuildError:
    return BuildError(
        f"the record {path} can't be used: {error.strerror or error}",
        code="records-unreadable",
        hint="mend the folder that `records` in build.yaml names",
    )
