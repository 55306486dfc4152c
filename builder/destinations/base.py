"""The contract of destinations: where a captured artifact becomes a version."""

from __future__ import annotations

from typing import Protocol

from builder.model.artifact import Artifact
from builder.model.cleaning import Place
from builder.model.observed import Blocker, Published, PublishedVersion, Traits
from builder.model.spec import ImageSpec
from builder.model.steps import Step


class Destination(Protocol):
    """Somewhere to publish. Implementations register in `builder.destinations.registry`."""

    kind: str
    name: str
    # Whether machines are made of its versions as they stand: tests of published versions need one that is
    deployable: bool

    def observe(self, image: ImageSpec) -> Published:
        """The versions that exist, with their manifests. Reads only."""

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        """Why an artifact with these traits can't be published here."""

    def takes(self, artifact: Artifact) -> bool:
        """Whether a version that stands at another destination can be published here too, without being built anew."""

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        """The steps that publish the artifact as `version`; held back from those who take the latest if `held`."""

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        """The steps that let everybody take a version that was held back: kinds `promote.x`.

        For each there is a kind `reject.x` with the same inputs: its tests have failed, and the version says so.
        """

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        """The steps that make what stands here as the spec wants it, without a rebuild; each lists its changes."""

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        """The steps that remove old versions: one each, with the version in its inputs."""

    def places(self) -> tuple[Place, ...]:
        """Where publishing leaves something that is no version, outside of this host.

        Raises BuildError when nobody can tell.
        """

    def artifact(self, version: PublishedVersion) -> Artifact:
        """A version of ours as the artifact that it was made of, for another destination or as a base."""
