"""Names of the tags on everything that stands in Azure for this tool. Clean-up and plans go by them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from builder import __version__

PREFIX = "build-"
RUN = "build-run"
IMAGE = "build-image"
DIGEST = "build-digest"
SPEC = "build-spec"
SOURCE = "build-source"
STEP = "build-step"
TITLE = "build-title"
STATE = "build-state"
CREATED = "build-created"
EXPIRES = "build-expires"
TOOL = "build-tool"
ROLE = "build-role"
DISKS = "build-disks"
MANIFEST = "build-manifest"
VERSION = "build-version"

# Azure's limits: 50 tags, names of 512 characters (128 on storage accounts), values of 256
MOST_TAGS = 50
LONGEST_NAME = 512
LONGEST_VALUE = 256
# Groups of what outlives runs begin so; they belong to no run
CHECKPOINTS = "build-checkpoints"
# How long after its beginning a run's resources may be taken for left behind by somebody who can't ask for the run
EXPIRES_SECONDS = 2 * 24 * 3600.0
# Characters that a name can't have
NOT_IN_NAMES = frozenset("<>%&\\?/")


def ours(
    *, run: str, image: str = "", expires: float | None = None, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The tags that everything of a run carries. `expires` is seconds since 1970; `extra` are the spec's own tags.

    Ours win over `extra`: clean-up must find what it is to remove.
    """
    found = foreign(extra or {}) | {RUN: run, TOOL: f"build {__version__}"}
    if image:
        found[IMAGE] = image
    if expires is not None:
        found[EXPIRES] = stamp(expires)
    return found


def foreign(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags whose names are not ours. Azure takes "Build-Step" and "build-step" for one name."""
    return {name: value for name, value in tags.items() if not name.lower().startswith(PREFIX)}


def stamp(moment: float) -> str:
    """A moment (seconds since 1970) as tags hold it: "2026-01-05T08:00:00Z"."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> float | None:
    """The moment of a tag's `stamp`, or None for text that is none: a stranger may have written it."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def is_ours(tags: Mapping[str, str] | None) -> bool:
    """Whether this tool made what carries these tags. Nothing else is ever changed or removed by clean-up.

    `build-run` alone may be anybody's word: what is ours says which tool, too.
    """
    found = tags or {}
    return bool(found.get(RUN)) and found.get(TOOL, "").split(" ")[0] == "build"
