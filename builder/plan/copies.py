"""A version that stands at one destination, for another one that lacks it: whether that works without a build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.destinations.base import Destination
from builder.model.observed import Blocker, PublishedVersion
from builder.plan.situation import OurVersion, Situation


def regions_of(situation: Situation, version: OurVersion) -> tuple[str, ...]:
    """The regions in which a version stands, at any destination."""
    return tuple(dict.fromkeys(region for _, item in _holders(situation, version) for region in item.regions))


def not_copied(situation: Situation, version: OurVersion, missing: Sequence[Destination]) -> Iterator[Blocker]:
    """Those of the `missing` destinations that none which has the version can give it to."""
    holders = [(destination.name, destination.artifact(item)) for destination, item in _holders(situation, version)]
    for index, (destination, _) in enumerate(situation.published):
        wanted = any(destination is item for item in missing)
        if not wanted or any(destination.takes(artifact) for _, artifact in holders):
            continue
        yield Blocker(
            f"{destination.name} can't be given version {version.version} as it stands in "
            f"{', '.join(name for name, _ in holders)}: it needs a new build",
            situation.image.place("publish", "to", index),
            hint=f"make a new version, which goes everywhere: --rebuild {situation.name}",
            code="needs-new-version",
        )


def _holders(situation: Situation, version: OurVersion) -> Iterator[tuple[Destination, PublishedVersion]]:
    for destination, published in situation.published:
        for item in published.versions:
            if item.version == version.version and item.holds(version.manifest.digest):
                yield destination, item
