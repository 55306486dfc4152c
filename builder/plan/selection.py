"""Which images a plan is about: globs over their names. A pattern that matches nothing is an error, never ignored."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from builder.errors import BuildError


@dataclass(frozen=True)
class PlanOptions:
    """What a plan is asked to be about.

    `include`, `exclude` and `rebuild` are globs over image names; an empty `include` means all. `request` is kept in
    the plan for whoever has to make it again (files, environment, variables): the planner doesn't look inside.
    `offline` says that machines and destinations of a cloud were not asked.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    rebuild: Sequence[str] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    offline: bool = False


def matching(patterns: Sequence[str], names: Sequence[str], *, option: str) -> set[str]:
    """The names that any pattern matches. Raises BuildError (code "no-such-image") for a pattern without a match."""
    found: set[str] = set()
    exact = set(names)
    for pattern in patterns:
        if pattern in exact:
            found.add(pattern)
            continue
        expression = re.compile(translate(pattern))
        matches = {name for name in names if expression.match(name)}
        if not matches:
            raise BuildError(
                f"{option}no image is called {pattern!r}", code="no-such-image", hint=known(pattern, names)
            )
        found |= matches
    return found


def known(name: str, names: Sequence[str]) -> str:
    """A hint for who gives a name that no image has: the one that is most like it, else those that there are."""
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known images: {', '.join(names[:10]) or 'none'}{', ...' if len(names) > 10 else ''}"


def selected(options: PlanOptions, names: Sequence[str]) -> tuple[set[str], set[str], set[str]]:
    """The names to plan, those that were excluded, and those to rebuild (which are planned too).

    Raises BuildError as `matching` does.
    """
    excluded = matching(options.exclude, names, option="--exclude: ")
    rebuild = matching(options.rebuild, names, option="--rebuild: ") - excluded
    included = matching(options.include, names, option="") | rebuild if options.include else set(names)
    return included - excluded, excluded, rebuild
