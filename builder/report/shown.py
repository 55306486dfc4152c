"""What `build show` shows besides plans: the versions of images, and runs. As data, and as text made from that data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.model.canonical import short
from builder.model.observed import FOREIGN, Published, PublishedVersion
from builder.report.plan_words import plural, printable
from builder.report.units import bytes_text, seconds_text

FORMAT = "1.0"
# What people read for a state that isn't a word for itself
STATES = {"unreadable": "not readable by you"}


@dataclass(frozen=True)
class Unseen:
    """A destination that can't be looked at, and why."""

    destination: str
    error: str


def versions_document(image: str, published: Sequence[Published | Unseen]) -> dict[str, Any]:
    """The versions of an image, the newest first, by destination. `error` says why one can't be looked at."""
    return {"format_version": FORMAT, "image": image, "destinations": [_destination(held) for held in published]}


def _destination(held: Published | Unseen) -> dict[str, Any]:
    seen = held if isinstance(held, Published) else Published(held.destination)
    return {
        "destination": seen.destination,
        "newest": seen.newest.version if seen.newest else None,
        "versions": [_version(item) for item in reversed(seen.versions)],
        "blockers": [blocker.message for blocker in seen.blockers],
        "error": held.error if isinstance(held, Unseen) else None,
    }


def _version(item: PublishedVersion) -> dict[str, Any]:
    manifest = item.manifest
    if manifest is None:
        return {"version": item.version, "location": item.location, "foreign": True}
    return {
        "version": item.version,
        "location": item.location,
        "foreign": False,
        "state": "broken" if item.broken else str(item.state),
        "created": manifest.created,
        "digest": manifest.digest,
        "run": manifest.run,
        "size": sum(disk.size for disk in manifest.disks),
        # What only tags tell of has no number here
        "data_bytes": sum(disk.data_bytes for disk in manifest.disks) or None,
        "disks": len(manifest.disks),
        "tests": {"passed": sum(bool(test.get("passed")) for test in manifest.tests), "total": len(manifest.tests)},
    }


def versions_text(document: Mapping[str, Any]) -> str:
    """The versions as a table for each destination."""
    lines = []
    for held in document["destinations"]:
        lines.append(f"{printable(document['image'])} at {printable(held['destination'])}")
        lines += [f"  cannot be published to: {printable(message)}" for message in held["blockers"]]
        if held["error"]:
            lines.append(f"  can't be looked at: {printable(held['error'])}")
            continue
        if not held["versions"]:
            lines.append("  no versions yet")
            continue
        rows = [("VERSION", "CREATED", "DIGEST", "DATA", "STATE", "TESTS", "LOCATION"), *map(_row, held["versions"])]
        lines += _table(rows)
    return "\n".join(lines) + "\n"


def _row(version: Mapping[str, Any]) -> tuple[str, ...]:
    if version["foreign"]:
        return (version["version"], FOREIGN, "", "", "", "", version["location"])
    tests = version["tests"]
    return (
        version["version"],
        version["created"],
        short(version["digest"]),
        _data(version),
        version["state"],
        f"{tests['passed']} of {tests['total']} passed" if tests["total"] else "none",
        version["location"],
    )


def _data(version: Mapping[str, Any]) -> str:
    """What the disks hold, of their size; a cloud doesn't tell what they hold."""
    size = bytes_text(version["size"])
    return f"{bytes_text(version['data_bytes'])} of {size}" if version["data_bytes"] else size


def overview_document(
    images: Mapping[str, Sequence[Published | Unseen]], runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Every image with its newest version at each destination, and the latest runs."""
    return {
        "format_version": FORMAT,
        "images": [
            {
                "image": name,
                "destinations": [_newest(held) for held in published],
            }
            for name, published in images.items()
        ],
        "runs": list(runs),
    }


def _newest(held: Published | Unseen) -> dict[str, Any]:
    newest = held.newest if isinstance(held, Published) else None
    return {
        "destination": held.destination,
        "newest": _version(newest) if newest else None,
        "error": held.error if isinstance(held, Unseen) else None,
    }


def overview_text(document: Mapping[str, Any]) -> str:
    """The overview as two tables."""
    rows = [("IMAGE", "NEWEST", "CREATED", "DESTINATION")]
    for image in document["images"]:
        for held in image["destinations"]:
            newest = held["newest"] or {"version": "not known" if held["error"] else "none", "created": ""}
            rows.append((image["image"], newest["version"], newest["created"], held["destination"]))
    lines = list(_table(rows))
    errors = {held["error"]: None for image in document["images"] for held in image["destinations"] if held["error"]}
    lines += [f"  not known: {printable(error)}" for error in errors]
    if document["runs"]:
        run_rows = [
            (run["run"], _state(run), ", ".join(image["image"] for image in run["images"])) for run in document["runs"]
        ]
        lines += ["", *_table([("RUN", "STATE", "IMAGES"), *run_rows])]
    return "\n".join(lines) + "\n"


def unreadable_run(run: str, *, folder: str) -> dict[str, Any]:
    """A run whose journal only its owner may read."""
    return {**run_document(run, (), alive=False, folder=folder), "state": "unreadable"}


def run_document(run: str, entries: Sequence[Mapping[str, Any]], *, alive: bool, folder: str) -> dict[str, Any]:
    """A run, told from its journal.

    `state` is running, done, failed, interrupted, or died (its process ended without a word).
    """
    begin = _first(entries, "run.begin")
    end = _first(entries, "run.end")
    images: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get("image")
        if name is None:
            continue
        image = images.setdefault(
            name, {"image": name, "state": "died", "action": "", "version": None, "steps_done": 0}
        )
        match entry["entry"]:
            case "image.begin":
                image |= {
                    "action": entry["action"],
                    "version": entry["version"],
                    "state": "running" if alive else "died",
                }
            case "image.end":
                image |= {"state": "done", "locations": entry["locations"]}
            case "image.failed":
                state = "interrupted" if entry["code"] == "interrupted" else "failed"
                image |= {"state": state, "code": entry["code"], "error": entry["error"]}
            case "step.end":
                image["steps_done"] += 1
    return {
        "format_version": FORMAT,
        "run": run,
        "plan": begin.get("plan") if begin else None,
        "state": "running" if alive else "died" if end is None else _ended(end, images.values()),
        "started": begin.get("time") if begin else None,
        "ended": end.get("time") if end else None,
        "seconds": _seconds(begin, end),
        "folder": folder,
        "images": list(images.values()),
    }


def _ended(end: Mapping[str, Any], images: Iterable[Mapping[str, Any]]) -> str:
    """How a run that said its last word ended. An interruption ends the run, whatever failed before."""
    states = {image["state"] for image in images}
    if "interrupted" in states:
        return "interrupted"
    return "failed" if end.get("failed") or "failed" in states else "done"


def run_text(document: Mapping[str, Any]) -> str:
    """A run for people: what became of each image, and where its log is."""
    took = f" after {seconds_text(document['seconds'])}" if document["seconds"] is not None else ""
    lines = [f"run {printable(document['run'])} (plan {document['plan'] or 'unknown'}): {_state(document)}{took}"]
    for image in document["images"]:
        version = f" {image['version']}" if image["version"] else ""
        lines.append(
            f"  {printable(image['image'])}: {image['action']}{version} {image['state']}, "
            f"{plural(image['steps_done'], 'step')} run"
        )
        if image["state"] == "failed":
            lines.append(f"    error[{image['code']}]: {printable(image['error'])}")
        lines += [f"    {printable(location)}" for location in image.get("locations", ())]
    lines.append(f"  logs and journal: {document['folder']}")
    return "\n".join(lines) + "\n"


def _state(document: Mapping[str, Any]) -> str:
    state = str(document["state"])
    return STATES.get(state, state)


def _first(entries: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((entry for entry in entries if entry["entry"] == name), None)


def _seconds(begin: Mapping[str, Any] | None, end: Mapping[str, Any] | None) -> float | None:
    from datetime import datetime

    if begin is None or end is None:
        return None
    return (datetime.fromisoformat(end["time"]) - datetime.fromisoformat(begin["time"])).total_seconds()


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for row in clean:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
