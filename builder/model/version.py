"""Versions: three numbers, each a signed 32-bit integer, ordered as numbers (the rule of Azure Compute Gallery)."""

from __future__ import annotations

import re

LARGEST_PART = 2**31 - 1
# What specs are rendered with where it matters that no version is meant
NEUTRAL = "0.0.0"

_VERSION = re.compile(r"(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})")


def is_version(text: str) -> bool:
    """Whether `text` is an exact version such as `1.4.2`."""
    found = _VERSION.fullmatch(text)
    return found is not None and all(int(part) <= LARGEST_PART for part in found.groups())


def unversioned(name: str) -> str:
    """A name in a spec without the version at its end, where one that no template puts into a name is put."""
    return name.removesuffix(f"-{NEUTRAL}")


def version_key(text: str) -> tuple[int, int, int]:
    """What versions are ordered by. Raises ValueError for text that is no version."""
    if not is_version(text):
        raise ValueError(f"{text!r} is not a version")
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch
