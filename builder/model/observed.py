"""What exists: read-only observations of machines and destinations that a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.errors import Place
from builder.model.artifact import Manifest

# What is said of a version without a manifest that can be understood
FOREIGN = "not made by build, or its manifest is damaged"


@dataclass(frozen=True)
class Blocker:
    """Why an image can't be built now, and what to write or do instead."""

    message: str
    place: Place
    hint: str | None = None
    code: str = "blocked"


@dataclass(frozen=True)
class MachineFacts:
    """What a machine says about an image before anything is made.

    `source` is the resolved source (exact version, sha256), part of the first step's inputs. `checkpoints` are the
    digests that a build can start from. `artifacts` are digests captured but not published yet.
    """

    source: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True)
class PublishedVersion:
    """One version at a destination. `manifest` is None for one that is `FOREIGN`: it is never touched."""

    version: str
    manifest: Manifest | None
    location: str


@dataclass(frozen=True)
class Published:
    """The versions of one image at one destination, oldest first (by version, not by time)."""

    destination: str
    versions: tuple[PublishedVersion, ...] = ()
    blockers: tuple[Blocker, ...] = ()

    @property
    def newest(self) -> PublishedVersion | None:
        """The highest version that this tool made."""
        ours = [version for version in self.versions if version.manifest is not None]
        return ours[-1] if ours else None
