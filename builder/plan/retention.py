"""Retention: which versions go once a new one is published, and which stay although the limits let them go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from builder.model.artifact import Manifest
from builder.model.observed import PublishedVersion, VersionState
from builder.model.spec import RetainSpec
from builder.plan.versions import order


@dataclass(frozen=True)
class Verdict:
    """What retention says of one destination: the versions that `go`, oldest first, and why others `stay`."""

    go: tuple[str, ...] = ()
    stay: tuple[tuple[str, str], ...] = ()


def is_good(manifest: Manifest) -> bool:
    """Whether a version passed all its tests. One without tests is good: nobody asked for any."""
    return all(test.get("passed", True) for test in manifest.tests)


def retention(
    published: Sequence[PublishedVersion],
    new: str,
    retain: RetainSpec | None,
    *,
    now: datetime,
    pinned: Iterable[str] = (),
) -> Verdict:
    """What goes at one destination once `new` is published there, and what stays against the limits.

    A version goes when no limit keeps it: it is neither among the newest `versions` (`new` counts, broken ones don't)
    nor younger than `days`. Whatever the limits, these stay: the new version, the newest good one, versions that
    another image names (`pinned`), versions in use, and versions that this tool did not make, or did not promote. What
    failed publishes and failed deletions left below the new version goes, unless one of these needs it.
    """
    if retain is None or (retain.versions is None and retain.days is None):
        return Verdict()
    ours = sorted(
        (item for item in published if item.manifest is not None and item.state == VersionState.PROMOTED),
        key=lambda item: order(item.version),
    )
    named = frozenset(pinned)
    newest_good = _newest_good(ours, new)
    go, stay = [], []
    for item in _beyond(ours, new, retain, now):
        why = _needed(item, named, newest_good)
        if why:
            stay.append((item.version, why))
        else:
            go.append(item.version)
    for item in published:
        if _is_left_over(item) and order(item.version) < order(new) and not _needed(item, named, newest_good):
            go.append(item.version)
    return Verdict(tuple(sorted(go, key=order)), tuple(stay))


def _beyond(
    ours: Sequence[PublishedVersion], new: str, retain: RetainSpec, now: datetime
) -> Iterator[PublishedVersion]:
    """The versions beside the new one that no limit keeps."""
    counting = [order(item.version) for item in ours if item.version != new and not item.broken] + [order(new)]
    edge = now - timedelta(days=retain.days) if retain.days is not None else None
    for item in ours:
        assert item.manifest is not None
        newer = sum(other > order(item.version) for other in counting)
        if item.version == new or newer < max(retain.versions or 0, 0):
            continue
        if edge is None or _older(item.manifest, edge):
            yield item


def _is_left_over(item: PublishedVersion) -> bool:
    return item.manifest is not None and (
        item.state == VersionState.FAILED or (item.state == VersionState.UNFINISHED and item.abandoned)
    )


def _newest_good(ours: Sequence[PublishedVersion], new: str) -> str:
    good = [item.version for item in ours if item.manifest is not None and is_good(item.manifest)]
    return max((*good, new), key=order)


def _needed(item: PublishedVersion, pinned: frozenset[str], newest_good: str) -> str:
    """What keeps a version whatever the limits; "" for nothing."""
    if item.version in pinned:
        return "another image stands on it"
    if item.version == newest_good:
        return "it is the newest that passed its tests"
    return f"it is kept by {item.in_use}" if item.in_use else ""


def _older(manifest: Manifest, edge: datetime) -> bool:
    # A time that can't be read says nothing about age: the version stays
    try:
        created = datetime.fromisoformat(manifest.created)
    except ValueError:
        return False
    return created.tzinfo is not None and created < edge
