"""Stands for a kind of destination that this version can't serve, so that an image's other destinations can be seen."""

from __future__ import annotations

from typing import NoReturn

from builder.errors import BuildError
from builder.model.artifact import Artifact
from builder.model.observed import Blocker, Published, PublishedVersion, Traits
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Step


class Unsupported:
    """One destination of a spec that nothing is known about. Every use raises BuildError."""

    def __init__(self, choice: Choice, supported: tuple[str, ...]) -> None:
        self.kind = choice.kind
        self.name = choice.kind
        self._choice = choice
        self._supported = supported

    def observe(self, image: ImageSpec) -> Published:
        """Raises BuildError."""
        self._refuse(image)

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Raises BuildError."""
        self._refuse(image)

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """Raises BuildError."""
        self._refuse(image)

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """Raises BuildError."""
        self._refuse(image)

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """Raises BuildError."""
        self._refuse(image)

    def artifact(self, version: PublishedVersion) -> Artifact:
        """Never asked: nothing was observed."""
        raise NotImplementedError

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """Raises BuildError."""
        self._refuse(image)

    def _refuse(self, image: ImageSpec) -> NoReturn:
        raise BuildError(
            f"publishing to {self.kind} is not possible in this version of build",
            code="destination-unsupported",
            where=image.place(*self._choice.path),
            hint=f"it can publish to: {', '.join(self._supported)}",
        )
