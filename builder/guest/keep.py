"""Globs of what generalize leaves alone, taken apart so that script and verifier can look past linked folders.

A glob is absolute, or `~NAME/` and a path in the home that /etc/passwd gives to the user NAME. Where `/home` leads to
`/var/home`, what was written as `/home/app/x` stands in `/var/home/app/x`: only the guest can tell.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

WILDCARD = re.compile(r"(\[[^]/]+\]|[*?])")
_ESCAPED = re.compile(r"\[([*?[])\]")


@dataclass(frozen=True)
class Keep:
    """A glob of kept paths: what `name` (a glob) matches in the fixed `folder`, and all below.

    With a `user`, the folder is one in the user's home. Folders have no slash at their end.
    """

    user: str
    folder: str
    name: str


def parse_keep(pattern: str) -> Keep:
    """Take a glob apart at the first folder that is not fixed, or at its last part."""
    user, slash, path = pattern[1:].partition("/") if pattern.startswith("~") else ("", "", pattern)
    *folders, last = (slash + path).rstrip("/").split("/") or [""]
    fixed: list[str] = []
    for part in folders:
        if WILDCARD.search(_ESCAPED.sub("", part)):
            break
        fixed.append(_ESCAPED.sub(r"\1", part))
    return Keep(user, "/".join(fixed), "/".join([*folders[len(fixed) :], last]))


def glob_of(path: str) -> str:
    """A glob that matches this path only."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)


def matchers(patterns: Iterable[str]) -> list[re.Pattern[str]]:
    """What matches the paths that globs keep: those that they match, and all below."""
    plain = (pattern.rstrip("/") for pattern in patterns)
    return [re.compile(fnmatch.translate(part)) for pattern in plain for part in (pattern or "/", f"{pattern}/*")]
