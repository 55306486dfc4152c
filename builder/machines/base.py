"""The contract of machines: where prepare, generalize, capture and test happen."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from builder.model.cleaning import Place
from builder.model.observed import MachineFacts
from builder.model.run import Run, Session
from builder.model.spec import ImageSpec
from builder.model.steps import Step


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

    def places(self, image: ImageSpec) -> tuple[Place, ...]:
        """Where building this image leaves something outside of this host. Raises BuildError when nobody can tell."""
