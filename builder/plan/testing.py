"""Tests that need a published version: machines are made of it where some destination holds it as it is deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.destinations.base import Destination
from builder.machines.base import Machine
from builder.model.observed import Blocker
from builder.model.spec import ImageSpec
from builder.model.steps import Step


def tests_before(steps: Sequence[Step], waiting: Sequence[Destination], *, passed: bool) -> list[Step]:
    """Those of the test `steps` that are run before a version is promoted at the destinations that wait for it.

    What can't be deployed has the content of what was: where it has `passed` at another destination, none is run.
    """
    return [] if passed and not _deployable(waiting) else list(steps)


def untestable(
    image: ImageSpec, machine: Machine, waiting: Sequence[Destination], *, passed: bool
) -> Iterator[Blocker]:
    """Why the tests of a version can't be run: no machine is made of what it is at any destination that waits."""
    if not (image.test and machine.tests_published and waiting) or passed or _deployable(waiting):
        return
    yield Blocker(
        "its tests need a machine that is made of the published version, and none can be made of what is at "
        + " and ".join(destination.name for destination in waiting),
        image.place("test"),
        hint="publish to a gallery as well, or leave out `test`",
        code="untestable",
    )


def _deployable(waiting: Sequence[Destination]) -> bool:
    return any(destination.deployable for destination in waiting)
