"""What exists: read-only observations of machines and destinations that a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from builder.errors import Place
from builder.model.artifact import Manifest

# What is said of a version without a manifest that can be understood
FOREIGN = "not made by build, or is damaged"


@dataclass(frozen=True)
class Blocker:
    """Why an image can't be built now, and what to write or do instead."""

    message: str
    place: Place
    hint: str | None = None
    code: str = "blocked"


@dataclass(frozen=True)
class Traits:
    """What an artifact will be, as far as destinations have to agree with it.

    `where` says whether its disks will be files of this host ("here") or in the cloud (the name of a region).
    `security` is the security type of the machine that makes it, `controllers` the disk controllers that it can boot
    from. `plan` is the purchase plan (name, product, publisher) that it inherits from its source, None for none.
    `regions` are others in which it can be had as well: of a version that is copied.
    """

    where: str = "here"
    security: str = "Standard"
    controllers: tuple[str, ...] = ("SCSI",)
    accelerated_networking: bool = False
    plan: Mapping[str, str] | None = None
    regions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Demand:
    """What a build takes of something that all builds share while they run: `amount` of the `free` of `what`."""

    what: str
    amount: int
    free: int


@dataclass(frozen=True)
class MachineFacts:
    """What a machine says about an image before anything is made.

    `source` is the resolved source (exact version, sha256), part of the first step's inputs. `checkpoints` are the
    digests that a build can start from. `artifacts` are digests captured but not published yet. `demands` are what a
    build takes that others of the same plan may want too.
    """

    source: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    blockers: tuple[Blocker, ...] = ()
    traits: Traits = Traits()
    demands: tuple[Demand, ...] = ()


class VersionState(StrEnum):
    """How far a version is. Only a promoted one counts: for retention, as a base, and as what the spec asked for."""

    PROMOTED = "promoted"
    # It stands there whole, and what takes the latest version passes it by: its tests are not done, or failed
    HELD = "held"
    # A publish that did not end well, or has not ended yet: publishing it again mends or follows it
    UNFINISHED = "unfinished"
    # A publish that did not end well, and that nothing can use: whatever is published under its number replaces it
    FAILED = "failed"


@dataclass(frozen=True)
class PublishedVersion:
    """One version at a destination. `manifest` is None for one that is `FOREIGN`: it is never touched.

    `in_use` says what still needs the version (a virtual machine, a scale set); "" for nothing. `broken`: it stands
    whole, and a change of it failed, which has to be made again. `regions` are those of the cloud that hold it.
    `abandoned`: it is unfinished, and nobody is making it.
    """

    version: str
    manifest: Manifest | None
    location: str
    state: VersionState = VersionState.PROMOTED
    in_use: str = ""
    broken: bool = False
    regions: tuple[str, ...] = ()
    abandoned: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all of it stands, whether or not others may take it."""
        return self.state in (VersionState.PROMOTED, VersionState.HELD)

    def holds(self, digest: str) -> bool:
        """Whether it is whole, and has this content."""
        return self.manifest is not None and self.is_whole and self.manifest.digest == digest

    def is_unfinished(self, digest: str) -> bool:
        """Whether publishing this content again would mend it."""
        return self.manifest is not None and not self.is_whole and self.manifest.digest == digest

    def gives_way(self, digest: str) -> bool:
        """Whether this content can be published under its number: it mends the version, or replaces a failed one."""
        return self.is_unfinished(digest) or self.state == VersionState.FAILED


@dataclass(frozen=True)
class Published:
    """The versions of one image at one destination, oldest first (by version, not by time).

    `resolved` is where they stand, in the same words however specs write it; "" where nobody had to be asked for that.
    """

    destination: str
    versions: tuple[PublishedVersion, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    resolved: str = ""

    @property
    def newest(self) -> PublishedVersion | None:
        """The highest version that this tool made and promoted."""
        ours = [item for item in self.versions if item.manifest is not None and item.state == VersionState.PROMOTED]
        return ours[-1] if ours else None
