"""Removes what runs leave in a subscription: only what carries our tags, and nothing that stands beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from builder.azure import tags as tag
from builder.azure.connection import Azure
from builder.azure.disk_access import end_open
from builder.azure.errors import AzureError, NotFound
from builder.azure.ids import GROUP_KIND, ResourceId
from builder.azure.operations import Operation, wait_all
from builder.model.cleaning import DAY_SECONDS, Cleaned, IsAlive, Keep

Json = dict[str, Any]
RESOURCES = "Microsoft.Resources/resources"
SNAPSHOT = "Microsoft.Compute/snapshots"
# What uses something goes before it; each row is removed side by side
ORDER = (
    ("Microsoft.Compute/virtualMachines",),
    ("Microsoft.Network/networkInterfaces", "Microsoft.Compute/images"),
    ("Microsoft.Network/virtualNetworks", "Microsoft.Network/networkSecurityGroups", "Microsoft.Compute/disks"),
    (SNAPSHOT,),
)
# What gives access to its bytes; while it does, Azure doesn't delete it
OPENED = ("Microsoft.Compute/disks", SNAPSHOT)
# Tags that only what outlives its run carries
OUTLIVING = (tag.STEP, tag.DIGEST)


@dataclass(frozen=True)
class LeftOver:
    """Something of a run that is over: a whole resource group, or a resource in somebody else's."""

    id: ResourceId
    run: str
    image: str
    why: str


@dataclass(frozen=True)
class _Look:
    """What decides whether something is a left-over."""

    now: float
    is_alive: IsAlive
    keep: Keep | None
    images: Collection[str]


class Subscription:
    """A subscription as a place where runs leave things: that of a machine, or of a destination."""

    def __init__(self, azure: Azure) -> None:
        self.name = f"subscription {azure.subscription.lower()}"
        self._azure = azure

    def clean(self, images: Collection[str], keep: Keep, is_alive: IsAlive, *, dry_run: bool) -> list[Cleaned]:
        """Resource groups and resources of dead runs, uploads and snapshots that have expired, and snapshots that
        nobody is to publish or to start from.
        """
        found = left_overs(self._azure, is_alive, keep, images)
        errors = {} if dry_run else {left.id: error for left, error in remove(self._azure, found)}
        return [Cleaned(f"{left.id.short} of run {left.run} ({left.why})", errors.get(left.id)) for left in found]


def left_overs(
    azure: Azure,
    is_alive: IsAlive,
    keep: Keep | None = None,
    images: Collection[str] = (),
) -> list[LeftOver]:
    """What dead runs left, and snapshots whose time is over. Reads only; two calls. Raises AzureError.

    `is_alive` says whether a run lives: True, False, or None for a run of another host; of those only what has expired
    is taken. Without `keep` nobody knows what is needed, and what outlives runs goes when it expires; with it, captured
    disks go that nobody is to publish, and older checkpoints of these `images`.
    """
    look = _Look(azure.clock.now(), is_alive, keep, images)
    subscription = ResourceId(azure.subscription)
    groups = azure.list(subscription, GROUP_KIND)
    found = [_left(group, look) for group in groups]
    whole = {left.id.group.lower() for left in found if left is not None}
    loose = azure.list(subscription, RESOURCES, query={"$filter": f"tagName eq '{tag.RUN}'"})
    for resource in loose:
        left = _left(resource, look)
        if left is not None and left.id.group.lower() not in whole:
            found.append(left)
    return [left for left in found if left is not None]


def _left(body: Json, look: _Look) -> LeftOver | None:
    tags = body.get("tags") or {}
    id = ResourceId.parse(str(body["id"]))
    ours = tag.is_ours(tags) and not id.name.lower().startswith(tag.CHECKPOINTS)
    # A gallery's version is no left-over, however old its run
    if not ours or (id.provider and not any(_is(id, kind) for row in ORDER for kind in row)):
        return None
    run, image = str(tags[tag.RUN]), str(tags.get(tag.IMAGE, ""))
    expires = tag.moment(str(tags.get(tag.EXPIRES, "")))
    expired = expires is not None and expires <= look.now
    alive = look.is_alive(run)
    if expired and not alive:
        return LeftOver(id, run, image, "its time is over")
    if alive is False and not any(name in tags for name in OUTLIVING):
        return LeftOver(id, run, image, "its run is dead")
    if look.keep is None or alive or not _is(id, SNAPSHOT):
        return None
    if alive is False and _unwanted(tags, image, look.keep):
        return LeftOver(id, run, image, "nobody is to publish it")
    if image in look.images and _old(tags, look.now, look.keep, elsewhere=alive is None):
        return LeftOver(id, run, image, "it is old, and no build starts from it")
    return None


def _unwanted(tags: Json, image: str, keep: Keep) -> bool:
    """Whether a snapshot is a captured disk that no store remembers: nothing can publish it any more."""
    captured = tag.DIGEST in tags and tag.DISKS in tags and tag.VERSION not in tags
    return captured and (str(tags[tag.DIGEST]), image) not in keep.artifacts


def _old(tags: Json, now: float, keep: Keep, *, elsewhere: bool) -> bool:
    """Whether a snapshot is a checkpoint that is older than asked for. A run `elsewhere` may still need its own."""
    created = tag.moment(str(tags.get(tag.CREATED, "")))
    if keep.days is None or created is None or tag.STEP not in tags or tags[tag.STEP] in keep.checkpoints:
        return False
    return created + max(keep.days * DAY_SECONDS, tag.EXPIRES_SECONDS if elsewhere else 0.0) <= now


def _is(id: ResourceId, kind: str) -> bool:
    return id.kind.lower() == kind.lower()


def remove(azure: Azure, left: Iterable[LeftOver]) -> list[tuple[LeftOver, AzureError]]:
    """Remove left-overs, and return those that Azure refused to remove, each with its error.

    Groups go side by side, loose resources in the order that Azure wants. A disk or snapshot that a killed transfer
    left open is closed first.
    """
    items = list(left)
    refused: list[tuple[LeftOver, AzureError]] = []
    groups = _begun(azure, [item for item in items if not item.id.provider], refused)
    for row in ORDER:
        alike = [item for item in items if any(_is(item.id, kind) for kind in row)]
        _await(_begun(azure, alike, refused), refused)
    _await(groups, refused)
    return refused


def _begun(
    azure: Azure, items: Iterable[LeftOver], refused: list[tuple[LeftOver, AzureError]]
) -> list[tuple[LeftOver, Operation]]:
    """The deletions that Azure has accepted."""
    begun = []
    for item in items:
        try:
            end_open(azure, _may_be_open(azure, item.id))
            begun.append((item, azure.delete(item.id)))
        except NotFound:
            # Somebody else has removed it
            continue
        except AzureError as error:
            refused.append((item, error))
    return begun


def _await(begun: Iterable[tuple[LeftOver, Operation]], refused: list[tuple[LeftOver, AzureError]]) -> None:
    for item, operation in begun:
        try:
            operation.wait()
        except AzureError as error:
            refused.append((item, error))


def _may_be_open(azure: Azure, id: ResourceId) -> list[Json]:
    """The disks and snapshots that are, or are in, a left-over."""
    if not id.provider:
        return [body for kind in OPENED for body in azure.list(id, kind)]
    body = azure.find(id) if any(_is(id, kind) for kind in OPENED) else None
    return [] if body is None else [body]


def remove_from_group(azure: Azure, group: ResourceId, run: str, image: str) -> None:
    """Remove what a run made for an image in a group that isn't its own; what outlives runs stays."""
    found = azure.list(group, RESOURCES, query={"$filter": f"tagName eq '{tag.RUN}' and tagValue eq '{run}'"})
    _in_order(azure, [ResourceId.parse(body["id"]) for body in found if _of(body.get("tags") or {}, run, image)])


def _of(tags: Mapping[str, str], run: str, image: str) -> bool:
    mine = tags.get(tag.RUN) == run and tags.get(tag.IMAGE) == image
    return mine and not any(name in tags for name in OUTLIVING)


def _in_order(azure: Azure, ids: list[ResourceId]) -> None:
    """The last rows need not be waited for: nothing stands on them. What can't be removed is in no other's way.

    Raises AzureError in the end, with all that Azure refused.
    """
    refused: list[AzureError] = []
    for number, row in enumerate(ORDER, 1):
        operations = []
        for id in ids:
            if any(_is(id, kind) for kind in row):
                with _collected(refused):
                    operations.append(azure.delete(id))
        if number < len(ORDER) - 1:
            with _collected(refused):
                wait_all(operations)
    if refused:
        raise AzureError("; ".join(error.message for error in refused), azure_code=refused[0].azure_code,
                         status=refused[0].status, remedy=refused[0].remedy, hint=refused[0].hint)  # fmt: skip


@contextmanager
def _collected(refused: list[AzureError]) -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        refused.append(error)
