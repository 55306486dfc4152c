"""Stands for a destination in a cloud when a plan is made offline: nothing is known of what it holds."""

from __future__ import annotations

from typing import NoReturn

from builder.destinations.base import Destination
from builder.errors import BuildError
from builder.model.artifact import Artifact
from builder.model.cleaning import Place
from builder.model.kinds import KINDS, Kind
from builder.model.observed import Blocker, Published, PublishedVersion, Traits
from builder.model.run import StepContext
from builder.model.spec import ImageSpec
from builder.model.steps import Change, Preview, Stage, Step

# Destinations on this host are looked at all the same
LOCAL = frozenset({"directory"})


class Unseen:
    """One destination that isn't asked. Its steps show what a publish would be, and can't be run."""

    def __init__(self, destination: Destination) -> None:
        self.kind = destination.kind
        self.deployable = destination.deployable
        self.name = destination.name
        self._destination = destination

    def observe(self, image: ImageSpec) -> Published:
        """Nothing."""
        return Published(self.name)

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Nothing: what it would refuse is not known."""
        return ()

    def takes(self, artifact: Artifact) -> bool:
        """What it would refuse is not known."""
        return True

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """One step for all that publishing there takes."""
        return [self._step(image, "publish", version)]

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """One step."""
        return [self._step(image, "promote", version)]

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """None: what stands there is not known."""
        return []

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """None: what stands there is not known."""
        return []

    def places(self) -> tuple[Place, ...]:
        """None: nothing is asked of it."""
        return ()

    def artifact(self, version: PublishedVersion) -> Artifact:
        """That of the destination."""
        return self._destination.artifact(version)

    def _step(self, image: ImageSpec, action: str, version: str) -> Step:
        return Step(
            stage=Stage.PUBLISH,
            kind="unseen",
            title=f"{action} {version} at {self.name}",
            inputs={"destination": self.name, "action": action, "version": version},
            preview=Preview.PREDICTED,
            changes=(Change("publish", "version", version, self.name),),
            place=image.place("publish"),
            identity=False,
        )


def seen_offline(destination: Destination) -> Destination:
    """The destination as a plan that is made offline sees it."""
    return destination if destination.kind in LOCAL else Unseen(destination)


def _refuse(step: Step, context: StepContext) -> NoReturn:
    raise BuildError("this plan was made offline", code="plan-offline", where=step.place, hint="plan without --offline")


KINDS.register(Kind("unseen", 1, _refuse))
