"""What exists, for one image on Azure: its source pinned, its VM agreed with it, and all that stands against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from builder.azure.connection import Azure
from builder.azure.errors import NotFound
from builder.azure.ids import group_id
from builder.errors import BuildError, ExitCode, Unreachable
from builder.machines.azure import preflight
from builder.machines.azure.checked import Checked
from builder.machines.azure.checkpoints import KIND as SNAPSHOTS
from builder.machines.azure.checkpoints import Kept, sort_out
from builder.machines.azure.names import kept_group
from builder.machines.azure.preflight import CHECKS, Check
from builder.machines.azure.reading import Cache, Reader, at_once
from builder.machines.azure.resolved import ResolvedMachine, ResolvedSource
from builder.machines.azure.rules import refusal
from builder.machines.azure.sources import blob, disks, galleries, marketplace
from builder.machines.azure.sources.base import Search
from builder.machines.azure.wanted import find_location, wanted_machine
from builder.model.observed import Blocker, MachineFacts, Traits
from builder.model.spec import ImageSpec


def _blob(search: Search) -> ResolvedSource:
    return blob.resolve(search, partial(blob.look, cloud=search.reads.azure.cloud))


SOURCES: Mapping[str, Callable[[Search], ResolvedSource]] = {
    "marketplace": marketplace.resolve,
    "communityGallery": galleries.resolve_community,
    "sharedGallery": galleries.resolve_shared,
    "gallery": galleries.resolve_gallery,
    "managedImage": disks.resolve_managed_image,
    "vm": disks.resolve_vm,
    "disk": disks.resolve_disk,
    "snapshot": disks.resolve_snapshot,
    "blob": _blob,
}


def observe(image: ImageSpec, reads: Reader) -> MachineFacts:
    """The facts of an image. What can't be had blocks it, with all else that is wrong.

    The source of an image that stands on another of this project is empty: the planner knows it.
    """
    try:
        location = find_location(image, reads)
    except BuildError as error:
        return MachineFacts(blockers=(_as_blocker(error, image),))
    machine = wanted_machine(image, subscription=reads.subscription, location=location)
    blockers: list[Blocker] = []
    # Sizes are the longest answer, and wait for nothing
    tasks: list[Callable[[], Any]] = [
        partial(_source, image, reads, location, blockers),
        partial(_warm, preflight.offered_sizes, reads, location),
        partial(_warm, preflight.quotas, reads, location),
        *(partial(_warm, check, Checked(image, machine, None, reads)) for check in _SURROUNDINGS),
    ]
    source: ResolvedSource | None = at_once(tasks)[0]
    checked = Checked(image, machine, source, reads)
    for found in at_once([partial(preflight.run, check, checked) for check in CHECKS]):
        blockers += found
    # In a region that is none there is nothing of anything: one reason says it all
    blockers = [found for found in blockers if found.code == "location"] or blockers
    facts = source.as_inputs() if source is not None else {}
    return MachineFacts(
        source=facts,
        blockers=tuple(dict.fromkeys(blockers)),
        traits=traits(machine, source),
        demands=() if blockers else preflight.demands(checked),
    )


_SURROUNDINGS: tuple[Check, ...] = (
    preflight.check_group,
    preflight.check_subnet,
    preflight.check_encryption_set,
    preflight.check_identities,
)


def _warm(ask: Callable[..., Any], *arguments: object) -> None:
    """Ask early, beside other questions; the check that needs the answer says what is wrong with it."""
    try:
        found = ask(*arguments)
        if not isinstance(found, dict):
            list(found)
    except BuildError:
        return


def _source(image: ImageSpec, reads: Reader, location: str, blockers: list[Blocker]) -> ResolvedSource | None:
    if image.source.kind not in SOURCES:
        return None
    try:
        return resolve_source(image, reads, location)
    except BuildError as error:
        blockers.append(_as_blocker(error, image))
        return None


def kept_in_azure(image: ImageSpec, reads: Reader, location: str) -> Kept:
    """The checkpoints and captured disks that stand in the region. Raises AzureError."""
    group = kept_group(location, image.machine.values.get("resourceGroup") or "")
    try:
        found = reads.list(group_id(reads.subscription, group), SNAPSHOTS)
    except NotFound:
        found = []
    return sort_out(found, location, reads.azure.clock.now())


def resolve_source(image: ImageSpec, reads: Reader, location: str) -> ResolvedSource:
    """The source of the spec, exactly. Raises BuildError when it can't be had in the region."""
    source = SOURCES[image.source.kind](Search(image, reads, location))
    if source.location and source.location != location:
        raise refusal(
            "source-region",
            f"{source.name} is in {source.location}, the build VM in {location}",
            image.place(*image.source.path),
            f"write `location: {source.location}` in `machine.azure`",
        )
    return source


def resolve_machine(
    image: ImageSpec, source: ResolvedSource | None, azure: Azure, shared: Cache | None = None
) -> ResolvedMachine:
    """The build VM as it can be had now: for run time, which makes it. Raises BuildError when no size can be had.

    `source` is what the first step was planned with; `shared` holds what other builds have asked.
    """
    reads = Reader(azure, Cache(), shared)
    location = find_location(image, reads)
    machine = wanted_machine(image, subscription=reads.subscription, location=location)
    checked = Checked(image, machine, source, reads)
    fitting = preflight.fitting_sizes(checked)
    if not fitting:
        found = next(preflight.check_sizes(checked))
        raise BuildError(found.message, code=found.code, where=found.place, hint=found.hint)
    return wanted_machine(image, subscription=reads.subscription, location=location, sizes=fitting)


def traits(machine: ResolvedMachine, source: ResolvedSource | None) -> Traits:
    """What an artifact of this VM will be, for destinations. A base of this project tells no more than the spec."""
    if source is None:
        controllers = ("SCSI",) if machine.controller == "SCSI" else ("SCSI", machine.controller)
        return Traits(machine.location, machine.security.type, controllers, machine.accelerated_networking)
    return Traits(
        where=machine.location,
        security=machine.security.type,
        controllers=source.controllers,
        accelerated_networking=source.accelerated_networking,
        plan={key: source.plan[key] for key in ("name", "product", "publisher")} if source.plan else None,
    )


def _as_blocker(error: BuildError, image: ImageSpec) -> Blocker:
    """An error as what blocks one image; what is about all of them (interruptions, nobody signed in) is raised."""
    if error.exit_code != ExitCode.ERROR or isinstance(error, Unreachable):
        raise error
    return Blocker(error.message, error.where or image.place(*image.source.path), error.hint, error.code)
