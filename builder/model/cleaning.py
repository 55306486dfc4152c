"""What runs leave outside of this host, and what of it is still needed: the words of clean-up."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from builder.errors import BuildError

DAY_SECONDS = 24 * 3600.0
# Whether a run lives: True, False, or None for one that this host's store knows nothing of
IsAlive = Callable[[str], bool | None]


@dataclass(frozen=True)
class Cleaned:
    """Something that a dead run left, and that is removed now; or `error`: why it could not be."""

    what: str
    error: BuildError | None = None


@dataclass(frozen=True)
class Keep:
    """What clean-up leaves alone: checkpoints that builds start from, by digest, and captured disks that are still to
    be published, by digest and image. `days` is how old a checkpoint may be that is none of these; None for as long as
    was said when it was made.
    """

    checkpoints: frozenset[str]
    artifacts: frozenset[tuple[str, str]]
    days: int | None = None


class Place(Protocol):
    """Somewhere outside of this host where runs leave things. Two with one name are the same, and cleaned once."""

    name: str

    def clean(self, images: Collection[str], keep: Keep, is_alive: IsAlive, *, dry_run: bool) -> list[Cleaned]:
        """Remove what dead runs left here, and what has expired. `images` are those that are built here.

        Returns what that is (or would be); one that can't be removed is in no other's way. Nothing of a run that lives,
        or that this tool did not make, is touched. Raises BuildError when the place can't be looked at.
        """
