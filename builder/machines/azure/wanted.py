"""The build VM that a spec asks for, before Azure was asked anything; and the region that it will be in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from builder.azure.errors import NotFound
from builder.azure.ids import ResourceId, compute, group_id
from builder.azure.names import region_name
from builder.machines.azure.reading import Reader
from builder.machines.azure.resolved import CONFIDENTIAL, STANDARD, ResolvedMachine, Security, Spot
from builder.machines.azure.rules import refusal
from builder.machines.azure.sources.base import Search
from builder.model.spec import ImageSpec

# What a confidential VM encrypts where the spec doesn't say
ENCRYPTION = "VMGuestStateOnly"
# Sources that stand in one region, and the collection that they stand in
COLLECTIONS = {"managedImage": "images", "vm": "virtualMachines", "disk": "disks", "snapshot": "snapshots"}


def wanted_machine(
    image: ImageSpec, *, subscription: str = "", location: str = "", sizes: tuple[str, ...] | None = None
) -> ResolvedMachine:
    """The VM of the spec. What the result depends on is known without Azure: `as_inputs` of it is exact."""
    values = image.machine.values
    spot, disk = values.get("spot"), values.get("osDisk") or {}
    return ResolvedMachine(
        subscription=subscription,
        location=location,
        sizes=tuple(values["size"]) if sizes is None else sizes,
        group=values.get("resourceGroup") or "",
        zone=values.get("zone") or "",
        subnet=values.get("subnet") or "",
        security=wanted_security(values.get("security") or {}),
        controller=values["diskController"],
        licence=values.get("licenseType") or "",
        os_disk_type=disk.get("type") or ResolvedMachine.os_disk_type,
        os_disk_caching=disk.get("caching") or ResolvedMachine.os_disk_caching,
        encryption_at_host=bool(values["encryptionAtHost"]),
        disk_encryption_set=values.get("diskEncryptionSet") or "",
        accelerated_networking=bool(values["acceleratedNetworking"]),
        spot=Spot(float(spot["maxPrice"]), int(spot["retries"])) if spot is not None else None,
        identities=tuple(values["identities"]),
        user_data=values.get("userData") or "",
        custom_data=values.get("customData") or "",
        verify=values["verify"],
        on_failure=values["onFailure"],
        # The image's own tags too: policies of a subscription ask for tags on everything
        tags={**image.tags, **(values.get("tags") or {})},
    )


def wanted_security(values: Mapping[str, Any]) -> Security:
    """The security type with its defaults: Secure Boot and vTPM are on where there are any."""
    kind = values.get("type") or STANDARD
    if kind == STANDARD:
        return Security()
    encryption = values.get("encryption") or ENCRYPTION if kind == CONFIDENTIAL else ""
    return Security(kind, bool(values.get("secureBoot", True)), bool(values.get("vtpm", True)), encryption)


def find_location(image: ImageSpec, reads: Reader) -> str:
    """The region to build in: as written, else that of what the build stands on or goes to.

    Raises BuildError ("location") where nothing tells.
    """
    written = region_as_written(image)
    if written:
        return written
    for ask in _WITNESSES:
        for found in ask(image, reads):
            if found:
                return region_name(found)
    message = "nothing tells in which region the build VM is to be"
    raise refusal("location", message, image.place(*image.machine.path))


def region_as_written(image: ImageSpec) -> str:
    """The region that the spec names; "" where it leaves that to be found out."""
    return region_name(image.machine.values.get("location"))


def network_of(subnet: str) -> ResourceId:
    """The virtual network of a subnet's id."""
    return ResourceId.parse(subnet).parent


def _subnet(image: ImageSpec, reads: Reader) -> Iterator[str]:
    subnet = image.machine.values.get("subnet")
    if subnet:
        yield (reads.find(network_of(subnet)) or {}).get("location", "")


def _source(image: ImageSpec, reads: Reader) -> Iterator[str]:
    values, kind = image.source.values, image.source.kind
    if kind in COLLECTIONS:
        expand = "instanceView" if kind == "vm" else None
        id = Search(image, reads, "").compute(COLLECTIONS[kind], values["name"])
        try:
            yield reads.get(id, expand=expand).get("location", "")
        except NotFound:
            return  # resolving the source says so
    elif kind == "blob" and "account" in values:
        yield (reads.find(ResourceId.parse(values["account"])) or {}).get("location", "")
    elif "location" in values:
        yield values["location"]


def _destinations(image: ImageSpec, reads: Reader) -> Iterator[str]:
    """A gallery takes versions from disks in its own region."""
    for destination in image.publish.to:
        values = destination.values
        if "location" in values:
            yield values["location"]
        elif destination.kind == "gallery":
            subscription = values.get("subscription") or reads.subscription
            gallery = compute(subscription, values["resourceGroup"], "galleries", values["gallery"])
            yield (reads.find(gallery) or {}).get("location", "")
            yield from (each["name"] for each in values.get("regions") or ())
        elif destination.kind == "managedImage":
            subscription = values.get("subscription") or reads.subscription
            yield (reads.find(group_id(subscription, values["resourceGroup"])) or {}).get("location", "")


def _group(image: ImageSpec, reads: Reader) -> Iterator[str]:
    name = image.machine.values.get("resourceGroup")
    if name:
        yield (reads.find(group_id(reads.subscription, name)) or {}).get("location", "")


def _gallery(image: ImageSpec, reads: Reader) -> Iterator[str]:
    if image.source.kind == "gallery":
        values = image.source.values
        id = Search(image, reads, "").compute("galleries", values["gallery"], "images", values["definition"])
        yield (reads.find(id) or {}).get("location", "")


_WITNESSES: tuple[Callable[[ImageSpec, Reader], Iterator[str]], ...] = (
    _subnet,
    _source,
    _destinations,
    _group,
    _gallery,
)
