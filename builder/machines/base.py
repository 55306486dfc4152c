"""The contract of machines: where prepare, generalize, capture and test happen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from builder.errors import BuildError
from builder.model.observed import MachineFacts
from builder.model.run import Run, Session
from builder.model.spec import ImageSpec
from builder.model.steps import Step


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


class Machine(Protocol):
    """Somewhere to make an image. Implementations register in `builder.machines.registry`."""

    name: str
    # Whether images can be made side by side in one process
    side_by_side: bool
    # Whether its tests need a published version; then it is held back until they have passed
    tests_published: bool

    def observe(self, image: ImageSpec) -> MachineFacts:
        """What exists: source pin, checkpoints, capacity. Reads only."""

    def steps(self, image: ImageSpec, facts: MachineFacts) -> list[Step]:
        """The steps of prepare (the source first), generalize, capture and test, not chained yet."""

    def preflight(self, image: ImageSpec) -> None:
        """Raise BuildError when this host can't carry a build out: programs, then ("needs-root") privileges.

        Called before any effect, and by a dry run, which goes on without root.
        """

    def secret(self, image: ImageSpec, origin: str, name: str) -> str | None:
        """The value of a secret of an image's step that isn't on this host; None for an origin it can't read.

        Raises BuildError when it can't be had.
        """

    def open(self, run: Run) -> AbstractContextManager[Session]:
        """Provision. Everything is undone when the block ends."""

    def clean(self, images: Sequence[ImageSpec], keep: Keep, *, dry_run: bool) -> list[Cleaned]:
        """Remove what dead runs of these images left outside of the local store, and what has expired there.

        Returns what that is (or would be); one that can't be removed is in no other's way. Nothing of a run that lives,
        or that this tool did not make, is touched.
        """
