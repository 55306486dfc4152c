"""Follows a version of a gallery until it stands, or has failed, in all its regions: minutes, at times hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.destinations import gallery_versions as versions
from builder.errors import BuildError, Interrupted
from builder.model.cleaning import Place
from builder.model.run import StepContext

if TYPE_CHECKING:
    from builder.azure.connection import Azure
    from builder.azure.operations import Operation, Progress

# Replication is asked for at most so often: it moves by per cent in minutes
LOOK_SECONDS = 30.0
LONGEST_PAUSE = 60.0
# How long a version or an image is followed: replicating terabytes to far regions takes many hours
FOLLOW_SECONDS = 24 * 3600.0
# How long a deletion is waited for; a version's takes minutes
DELETE_SECONDS = 2 * 3600.0


def connection(subscription: str | None) -> Azure:
    """The connection to a subscription (None: the usual one), by whoever is signed in."""
    from builder.azure import connection as gateway

    return gateway.connect(subscription)


def places_in(subscription: str | None) -> tuple[Place, ...]:
    """A subscription as the place where publishing leaves things. Raises BuildError when there is no connection."""
    from builder.azure.cleanup import Subscription

    return (Subscription(connection(subscription)),)


def ended(operations: Sequence[Operation], name: str, context: StepContext, seconds: float) -> None:
    """Wait until Azure has done all of these with what people call `name`.

    Raises BuildError ("azure-timeout") after so many seconds, and as `wait_all` does.
    """
    from builder.azure.operations import OperationTimeout, wait_all

    try:
        wait_all(operations, stop=context.run.stop, timeout=seconds)
    except OperationTimeout as error:
        raise _still_at_work(name, seconds) from error


def deleted(azure: Azure, ids: Sequence[ResourceId], name: str, context: StepContext) -> None:
    """Delete these side by side, and wait until they are gone. `name` is what people call them. Raises as `ended`."""
    ended([azure.delete(id, stop=context.run.stop) for id in ids], name, context, DELETE_SECONDS)


class Patience:
    """Waits for what Azure or another run is at work on, of which there is no operation to wait for."""

    def __init__(self, azure: Azure, name: str, context: StepContext) -> None:
        self._clock, self._name, self._run = azure.clock, name, context.run
        self._began = self._clock.now()

    @property
    def passed(self) -> float:
        """The seconds waited so far."""
        return self._clock.now() - self._began

    def wait(self, seconds: float) -> None:
        """Wait until the next look. Raises BuildError ("azure-timeout") after FOLLOW_SECONDS, and Interrupted."""
        if self.passed >= FOLLOW_SECONDS:
            raise _still_at_work(self._name, FOLLOW_SECONDS)
        self._clock.sleep(seconds, self._run.stop)
        self._run.check_stop()


def _still_at_work(name: str, seconds: float) -> BuildError:
    """The error for what Azure doesn't come to an end with. None of Azure's own: nobody is to try it again at once."""
    return BuildError(
        f"Azure is still at work on {name} after {seconds / 3600:g} h: nothing was undone, and it goes on there",
        code="azure-timeout",
        hint="the same `build apply` follows it again; Azure's activity log of the resource group says what it does",
    )


class _Regions:
    """Tells how the regions of a version come along: each change of a region in the log, the whole as progress."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._told: dict[str, str] = {}

    def tell(self, body: dict[str, Any]) -> None:
        regions = versions.replication(body)
        if not regions:
            return
        for name, state, _ in regions:
            if self._told.get(name) != state:
                self._told[name] = state
                self._context.log(f"{name}: {state.lower()}")
        done = sum(state == "Completed" for _, state, _ in regions)
        waits = ", ".join(f"{name} {percent} %" for name, state, percent in regions if state != "Completed")
        self._context.progress(done, len(regions), "regions", waits)


def follow(
    azure: Azure, id: ResourceId, context: StepContext, body: dict[str, Any] | None, operation: Operation | None = None
) -> dict[str, Any]:
    """Wait until nothing goes on with a version any more; returns it as it then is, {} when it is gone.

    `operation` is ours; without one it is another run's, and `body` is where that had come to. Raises AzureError when
    our operation fails. Interrupted, or BuildError ("azure-timeout") after FOLLOW_SECONDS, only ends the waiting: Azure
    goes on, and the next apply follows it.
    """
    from builder.azure.operations import OperationTimeout

    regions = _Regions(context)
    try:
        if operation is not None:
            return _by_operation(azure, id, context, regions, operation)
        return _by_state(azure, id, context, regions, body or {})
    except Interrupted as error:
        raise Interrupted(
            f"interrupted; Azure goes on with {'/'.join(id.names)}",
            code="interrupted",
            hint="the same `build apply` follows it to its end",
        ) from error
    except OperationTimeout as error:
        raise _still_at_work("/".join(id.names), FOLLOW_SECONDS) from error


def _by_operation(
    azure: Azure, id: ResourceId, context: StepContext, regions: _Regions, operation: Operation
) -> dict[str, Any]:
    looked = azure.clock.now()

    def look(progress: Progress) -> None:
        nonlocal looked
        if azure.scarce or azure.clock.now() - looked < LOOK_SECONDS:
            return
        looked = azure.clock.now()
        found = azure.find(id, expand="ReplicationStatus")
        if found is not None:
            regions.tell(found)

    operation.wait(stop=context.run.stop, timeout=FOLLOW_SECONDS, on_progress=look)
    body = azure.get(id, expand="ReplicationStatus")
    regions.tell(body)
    return body


def _by_state(
    azure: Azure, id: ResourceId, context: StepContext, regions: _Regions, body: dict[str, Any]
) -> dict[str, Any]:
    patience = Patience(azure, "/".join(id.names), context)
    found: dict[str, Any] | None = body
    while found is not None and versions.provisioning(found) in versions.MOVING:
        regions.tell(found)
        patience.wait(min(LONGEST_PAUSE, max(5.0, 0.1 * patience.passed)))
        found = azure.find(id, expand="ReplicationStatus")
    if found is None:
        return {}
    regions.tell(found)
    return found
