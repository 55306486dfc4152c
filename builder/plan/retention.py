"""Retention: which versions go once a new one is published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from builder.model.artifact import Manifest
from builder.model.observed import PublishedVersion, VersionState
from builder.model.spec import RetainSpec
from builder.plan.versions import order


def is_good(manifest: Manifest) -> bool:
    """Whether a version passed all its tests. One without tests is good: nobody asked for any."""
    return all(test.get("passed", True) for test in manifest.tests)


def retiring(
    published: Sequence[PublishedVersion],
    new: str,
    retain: RetainSpec | None,
    *,
    now: datetime,
    pinned: Iterable[str] = (),
) -> tuple[str, ...]:
    """The versions at one destination that go after `new` is published there, oldest first.

    A version goes when no limit keeps it: it is neither among the newest `versions` (`new` counts) nor younger than
    `days`. Whatever the limits, these stay: the new version, the newest good one, versions that another image names
    (`pinned`), versions in use, and versions that this tool did not make, or did not promote.
    """
    if retain is None or (retain.versions is None and retain.days is None):
        return ()
    ours = {
        item.version: item.manifest
        for item in published
        if item.manifest is not None and item.state == VersionState.PROMOTED
    }
    newest_first = sorted({*ours, new}, key=order, reverse=True)
    good = (version for version in newest_first if version == new or is_good(ours[version]))
    used = (item.version for item in published if item.in_use)
    kept = {new, next(good), *pinned, *used, *newest_first[: max(retain.versions or 0, 0)]}
    if retain.days is not None:
        edge = now - timedelta(days=retain.days)
        kept |= {version for version, manifest in ours.items() if not _older(manifest, edge)}
    return tuple(version for version in reversed(newest_first) if version not in kept)


def _older(manifest: Manifest, edge: datetime) -> bool:
    # A time that can't be read says nothing about age: the version stays
    try:
        created = datetime.fromisoformat(manifest.created)
    except ValueError:
        return False
    return created.tzinfo is not None and created < edge
