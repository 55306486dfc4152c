"""The Azure machine: a build VM in a subscription, driven through Azure alone: no SSH, no public address."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.machines.azure import capture, kinds, tests  # noqa: F401 - importing them registers their kinds
from builder.machines.azure.steps import all_steps
from builder.machines.azure.wanted import region_as_written, wanted_machine
from builder.model.cleaning import Place
from builder.model.observed import MachineFacts, Traits
from builder.model.run import Run, Session
from builder.model.spec import ImageSpec
from builder.model.steps import Step
from builder.records.store import Store

BASE = "image"
KEY_VAULT = "keyVault"
# Where a build is that nobody was asked about
UNKNOWN_REGION = "a region of Azure"

if TYPE_CHECKING:
    from builder.azure.connection import Azure
    from builder.machines.azure.reading import Cache


class AzureMachine:
    """Makes images in VMs of a subscription.

    `connect` gives the connection to the subscription that a spec names ("": that of the environment). `cache` holds
    what one plan read. `offline` asks Azure nothing: facts are then those of the spec.
    """

    name = "azure"
    side_by_side = True
    tests_published = True

    def __init__(self, store: Store, *, cache: Cache | None = None, offline: bool = False) -> None:
        self.store = store
        self._cache = cache
        self._offline = offline

    def connect(self, image: ImageSpec) -> Azure:
        """The connection to the subscription that the image is built in. Raises BuildError when there is none."""
        from builder.azure.connection import connect

        return connect(image.machine.values.get("subscription"))

    def observe(self, image: ImageSpec) -> MachineFacts:
        """The source as it is now, checkpoints, and everything that stands in the way. Reads only."""
        if self._offline:
            return offline_facts(image)
        from builder.machines.azure.observe import kept_in_azure, observe
        from builder.machines.azure.reading import Cache, Reader
        from builder.machines.azure.saved import adoptable

        reads = Reader(self.connect(image), self._cache if self._cache is not None else Cache())
        facts = observe(image, reads)
        if not facts.source and image.source.kind != BASE:
            return facts
        kept = kept_in_azure(image, reads, facts.traits.where)
        artifacts = adoptable(self.store, image.name, kept)
        return replace(facts, checkpoints=frozenset(kept.checkpoints), artifacts=artifacts)

    def steps(self, image: ImageSpec, facts: MachineFacts) -> list[Step]:
        """The steps of prepare (the source first), generalize, capture and test."""
        where = facts.traits.where
        return all_steps(image, facts.source, "" if where == UNKNOWN_REGION else where)

    def preflight(self, image: ImageSpec) -> None:
        """Sign in: raises BuildError when nobody can. All else was looked at when the plan was made."""
        from builder.azure.ids import ResourceId
        from builder.machines.azure.reading import lasting

        azure = self.connect(image)
        lasting(azure).once("signed in", lambda: azure.get(ResourceId(azure.subscription)), azure.clock.now())

    def secret(self, image: ImageSpec, origin: str, name: str) -> str | None:
        """A secret of Key Vault, by its address; read anew each time. Raises BuildError when it can't be had."""
        if origin != KEY_VAULT:
            return None
        from builder.azure.credentials import sign_in
        from builder.azure.key_vault import read_secret

        cloud = self.connect(image).cloud
        return read_secret(name, cloud=cloud, login=sign_in(cloud))

    def open(self, run: Run) -> AbstractContextManager[Session]:
        """The build VM of one run, made when its first step needs it."""
        from builder.machines.azure.session import AzureSession

        return AzureSession(run, self.store, self.connect(run.image))

    def places(self, image: ImageSpec) -> tuple[Place, ...]:
        """The subscription that the image is built in."""
        from builder.azure.cleanup import Subscription

        return (Subscription(self.connect(image)),)


def offline_facts(image: ImageSpec) -> MachineFacts:
    """What the spec alone tells: the source as written, `latest` and all. Such a plan can't be applied."""
    machine = wanted_machine(image, location=region_as_written(image))
    controllers = tuple(dict.fromkeys(("SCSI", machine.controller)))
    where = machine.location or UNKNOWN_REGION
    traits = Traits(where, machine.security.type, controllers, machine.accelerated_networking)
    values = image.source.values
    words = ":".join(str(value) for value in values.values() if isinstance(value, str))
    source = {**values, "kind": image.source.kind, "name": f"{image.source.kind} {words}".rstrip()}
    return MachineFacts(source=source, traits=traits)
