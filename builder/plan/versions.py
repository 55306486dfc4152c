"""Which version is published next, and which published versions a spec is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.errors import BuildError
from builder.model.version import LARGEST_PART, is_version, version_key

FIRST = "1.0.0"
AUTO = "auto"

Parts = tuple[int, int, int]


def parse(text: str) -> Parts | None:
    """The parts of a version; None for what isn't one (another tool may name its versions as it likes)."""
    return version_key(text) if is_version(text) else None


def order(text: str) -> tuple[Parts, str]:
    """The sort key of versions. What isn't a version comes before all that are."""
    return (parse(text) or (-1, -1, -1), text)


@dataclass(frozen=True)
class Wanted:
    """What `publish.version` asks for: `auto`, a series such as `1.4.x`, or one exact version."""

    text: str
    exact: Parts | None = None
    series: tuple[int, int] | None = None

    def covers(self, version: str) -> bool:
        """Whether a published version is one that this asks for."""
        parts = parse(version)
        if parts is None:
            return False
        if self.exact is not None:
            return parts == self.exact
        return self.series is None or parts[:2] == self.series


def wanted(text: str) -> Wanted:
    """The meaning of `publish.version`. Raises BuildError (code "version-invalid") when it has none."""
    if text == AUTO:
        return Wanted(text)
    exact = parse(text)
    if exact is not None:
        return Wanted(text, exact=exact)
    first = parse(f"{text.removesuffix('x')}0") if text.endswith(".x") else None
    if first is not None:
        return Wanted(text, series=first[:2])
    raise BuildError(
        f"{text!r} is no version: write `auto`, a series such as `1.4.x`, or three numbers such as `1.4.2`",
        code="version-invalid",
        hint=f"each number is at most {LARGEST_PART}",
    )


def choose(request: Wanted, existing: Iterable[str]) -> str:
    """The version to publish, given all that exist, those of other tools included: they would hide ours otherwise.

    `auto` is the next patch after the highest, a series the next patch in it. An exact version is itself, whether it
    exists or not: the planner compares what it holds. Raises BuildError (code "version-exhausted") when the patch
    number can't grow any more.
    """
    if request.exact is not None:
        return request.text
    known = [parts for text in existing if request.covers(text) and (parts := parse(text)) is not None]
    if not known:
        return FIRST if request.series is None else "{}.{}.0".format(*request.series)
    major, minor, patch = max(known)
    if patch == LARGEST_PART:
        raise BuildError(
            f"the version after {major}.{minor}.{patch} would not fit in 32 bits",
            code="version-exhausted",
            hint=f"write the next version in publish.version, such as `{major}.{minor + 1}.x`",
        )
    return f"{major}.{minor}.{patch + 1}"
