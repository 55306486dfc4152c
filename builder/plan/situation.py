"""What is known about one image before anything is decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from builder.destinations.base import Destination
from builder.errors import BuildError, Place
from builder.model.artifact import REBUILD_INPUT, Manifest
from builder.model.kinds import KindRegistry
from builder.model.observed import Blocker, Published, PublishedVersion, VersionState
from builder.model.spec import ImageDocument, ImageSpec
from builder.plan.versions import Wanted, choose, order, wanted


@dataclass(frozen=True)
class OurVersion:
    """A version that this tool made, with its manifest."""

    version: str
    manifest: Manifest


@dataclass(frozen=True)
class Situation:
    """One image, what its destinations hold, and what the plan was asked to do with it.

    `image` is rendered without a version (as "0.0.0"): its digest is what manifests are compared with. `pinned` are its
    versions that other images name.
    """

    document: ImageDocument
    image: ImageSpec
    published: tuple[tuple[Destination, Published], ...]
    kinds: KindRegistry
    now: datetime
    pinned: frozenset[str] = frozenset()
    rebuild: bool = False

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image.name

    @property
    def place(self) -> Place:
        """Where the image's document stands."""
        return self.document.place

    @cached_property
    def wanted(self) -> Wanted:
        """What `publish.version` asks for. Raises BuildError when it can't be understood."""
        return wanted(self.image.publish.version)

    @property
    def ours(self) -> Iterator[OurVersion]:
        """Every version that this tool made and promoted, at any destination."""
        return self._ours(VersionState.PROMOTED)

    def _ours(self, *states: VersionState) -> Iterator[OurVersion]:
        for _, published in self.published:
            for item in published.versions:
                if item.manifest is not None and item.state in states:
                    yield OurVersion(item.version, item.manifest)

    def held(self, digest: str) -> OurVersion | None:
        """The highest version of this digest that waits for its tests, if it is one that `publish.version` asks for."""
        waiting = (item for item in self._ours(VersionState.HELD) if item.manifest.digest == digest)
        return max(
            (item for item in waiting if self.wanted.covers(item.version)),
            key=lambda item: order(item.version),
            default=None,
        )

    @cached_property
    def latest(self) -> OurVersion | None:
        """The highest version that this tool made."""
        return max(self.ours, key=lambda item: order(item.version), default=None)

    @cached_property
    def current(self) -> OurVersion | None:
        """The highest version of those that `publish.version` asks for: the one that the spec is compared with."""
        candidates = (item for item in self.ours if self.wanted.covers(item.version))
        return max(candidates, key=lambda item: order(item.version), default=None)

    def is_promoted(self, version: str, digest: str) -> bool:
        """Whether a version of this content stands promoted at any destination."""
        return any(item.version == version and item.manifest.digest == digest for item in self.ours)

    @property
    def unfinished(self) -> Iterator[tuple[str, str]]:
        """What publishes of ours that did not end well left at any destination: versions and their digests."""
        left = self._ours(VersionState.UNFINISHED, VersionState.FAILED)
        return ((item.version, item.manifest.digest) for item in left)

    def taken(self, digest: str) -> Iterator[str]:
        """The versions whose numbers can't be given to this content: all at any destination, those of other tools
        included, but for an unfinished one of the same content. That can be mended. (A number that another content
        failed to get could be given again, but then it would mean two things in logs and records.)
        """
        versions: Iterator[PublishedVersion] = (item for _, published in self.published for item in published.versions)
        return (item.version for item in versions if not item.is_unfinished(digest))

    def next_version(self, digest: str) -> str:
        """The version to publish this content as. Raises BuildError, at `publish.version`, when there is none left."""
        try:
            return choose(self.wanted, self.taken(digest))
        except BuildError as error:
            error.where = error.where or self.image.place("publish", "version")
            raise

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """What the destinations say against working on the image."""
        return tuple(blocker for _, published in self.published for blocker in published.blockers)

    @property
    def rebuild_token(self) -> str | None:
        """The version for which the image was last rebuilt on request; None when it never was."""
        newest = self.current or self.latest
        first: Mapping[str, Any] = newest.manifest.steps[0] if newest and newest.manifest.steps else {}
        token = first.get("inputs", {}).get(REBUILD_INPUT)
        return None if token is None else str(token)

    def observed(self) -> dict[str, Any]:
        """What the destinations hold, as the plan keeps it to notice when it moves."""
        return {
            destination.name: {
                "version": published.newest.version if published.newest else None,
                "digest": _digest(published),
                "versions": [item.version for item in published.versions],
                **_states(published),
            }
            for destination, published in self.published
        }


def _states(published: Published) -> dict[str, Any]:
    """The versions that are not simply there, with their states."""
    states = {item.version: str(item.state) for item in published.versions if item.state != VersionState.PROMOTED}
    return {"states": states} if states else {}


def _digest(published: Published) -> str | None:
    newest = published.newest
    return newest.manifest.digest if newest is not None and newest.manifest is not None else None
