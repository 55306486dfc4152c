"""The steps after a capture: a version is published, changed, tested and promoted, and then old ones are retired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from builder.destinations.base import Destination
from builder.model.observed import Published, PublishedVersion, Traits, VersionState
from builder.model.plan import Reason
from builder.model.spec import ImageSpec
from builder.model.steps import Step
from builder.plan.retention import Verdict, is_good, retention
from builder.plan.situation import Situation
from builder.plan.versions import order

# What is said of a version that nobody can take, by its state
_LEFT = {
    VersionState.HELD: "was never promoted",
    VersionState.UNFINISHED: "is unfinished",
    VersionState.FAILED: "is what a failed publish left",
}


@dataclass
class Publishing:
    """What has to be done at an image's destinations: a version published, promoted, or what stands there changed.

    `image` is rendered with the version. `held` are the destinations where the version stands and waits for its tests.
    """

    situation: Situation
    image: ImageSpec
    version: str
    missing: list[tuple[Destination, Published]] = field(default_factory=list)
    held: list[Destination] = field(default_factory=list)
    updates: list[Step] = field(default_factory=list)

    def steps(self, tests: Sequence[Step], traits: Traits) -> list[Step]:
        """The steps, in their order.

        Where `tests` need the published version, it is held back until they have passed. What stands is changed first:
        copies and tests are about the version as it will be.
        """
        image, version = self.image, self.version
        held = bool(tests)
        steps = list(self.updates)
        for destination, _ in self.missing:
            steps += destination.publish_steps(image, version, traits, held=held)
        waiting = [*self.held, *(destination for destination, _ in self.missing if held)]
        if waiting:
            steps += tests
        for destination in waiting:
            steps += destination.promote_steps(image, version)
        for destination, verdict in self._verdicts():
            if verdict.go:
                steps += destination.retire_steps(image, verdict.go)
        return steps

    @property
    def waiting(self) -> list[Destination]:
        """The destinations where the version is not there for everybody yet."""
        return [*(destination for destination, _ in self.missing), *self.held]

    @property
    def retires(self) -> tuple[str, ...]:
        """The versions that go at any destination, the oldest first."""
        return tuple(sorted({version for _, verdict in self._verdicts() for version in verdict.go}, key=order))

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of the destinations where something is done."""
        names = [destination.name for destination in self.waiting]
        names += [str(step.inputs["destination"]) for step in self.updates]
        names += [destination.name for destination, verdict in self._verdicts() if verdict.go]
        return tuple(dict.fromkeys(names))

    def _verdicts(self) -> Iterator[tuple[Destination, Verdict]]:
        situation = self.situation
        for destination, published in situation.published:
            yield (
                destination,
                retention(
                    published.versions,
                    self.version,
                    self.image.publish.retain,
                    now=situation.now,
                    pinned=situation.pinned,
                ),
            )

    def notes(self) -> tuple[Reason, ...]:
        """What stays although retention lets it go, and versions that nobody can take and nothing here touches."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[Reason]:
        image = self.image
        for destination, verdict in self._verdicts():
            for version, why in verdict.stay:
                message = f"version {version} at {destination.name} stays: {why}"
                yield Reason("version_kept", message, image.place("publish", "retain"))
        for (destination, published), (_, verdict) in zip(self.situation.published, self._verdicts(), strict=True):
            for item in published.versions:
                if item.manifest is None or item.version == self.version or item.version in verdict.go:
                    continue
                if item.state in _LEFT:
                    yield self._left(destination, item)

    def _left(self, destination: Destination, item: PublishedVersion) -> Reason:
        held = item.state == VersionState.HELD
        failed = held and item.manifest is not None and not is_good(item.manifest)
        promote = f"promote it (build promote {self.image.name} {item.version}), or " if held else ""
        return Reason(
            f"version_{item.state}",
            f"version {item.version} at {destination.name} {'failed its tests' if failed else _LEFT[item.state]}",
            self.image.place("publish"),
            help=f"{promote}delete it there: build leaves it as it is",
        )
