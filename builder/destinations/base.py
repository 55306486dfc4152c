"""The contract of destinations: where a captured artifact becomes a version."""

from __future__ import annotations

from typing import Protocol

from builder.model.observed import Published
from builder.model.spec import ImageSpec
from builder.model.steps import Step


class Destination(Protocol):
    """Somewhere to publish. Implementations register in `builder.destinations.registry`."""

    kind: str
    name: str

    def observe(self, image: ImageSpec) -> Published:
        """The versions that exist, with their manifests. Reads only."""

    def publish_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """The steps that publish the artifact as `version`."""

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """The steps that remove old versions: one each, with the version in its inputs."""
