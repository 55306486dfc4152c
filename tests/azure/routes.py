"""Every route of the simulator, in one table."""

from __future__ import annotations

from tests.azure.answers import Answer, Call
from tests.azure.kinds import (
    capacity,
    deployments,
    disks,
    galleries,
    groups,
    identity,
    images,
    machine_power,
    machines,
    marketplace,
    neighbours,
    network,
    run_commands,
    scale_sets,
    shared_galleries,
    snapshots,
    vaults,
    versions,
)
from tests.azure.operations import COMPUTE, DISK, GALLERY, NETWORK, Poll
from tests.azure.router import SUBSCRIPTION, Route


def _poll_route(poll: Poll, collection: str) -> Route:
    def answer(call: Call) -> Answer:
        return call.cloud.operations.answer(call, poll, monitor=collection == poll.results)

    place = f"providers/{poll.provider}/locations/{{location}}/{collection}/{{operation}}"
    return Route("GET", f"{SUBSCRIPTION}/{place}", f"GET {poll.provider}/{collection}", answer)


ROUTES: tuple[Route, ...] = (
    *(_poll_route(poll, poll.collection) for poll in (COMPUTE, DISK, GALLERY, NETWORK)),
    _poll_route(NETWORK, NETWORK.results),
    *groups.ROUTES,
    *network.ROUTES,
    *disks.ROUTES,
    *snapshots.ROUTES,
    *images.ROUTES,
    *galleries.ROUTES,
    *versions.ROUTES,
    *shared_galleries.ROUTES,
    *marketplace.ROUTES,
    *capacity.ROUTES,
    *deployments.ROUTES,
    *machines.ROUTES,
    *machine_power.ROUTES,
    *run_commands.ROUTES,
    *scale_sets.ROUTES,
    *neighbours.ROUTES,
    *identity.ROUTES,
    *vaults.ROUTES,
)
