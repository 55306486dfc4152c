"""Managed images, VMs, disks and snapshots: what stands in one region, with its disks one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.machines.azure.reading import at_once
from builder.machines.azure.resolved import CONFIDENTIAL, STANDARD, TRUSTED_LAUNCH, Origin, ResolvedSource, SourceDisk
from builder.machines.azure.sources.base import (
    Allowances,
    Json,
    Search,
    architecture,
    controllers,
    family,
    generation,
    gib,
    purchase_plan,
)

COLLECTIONS: Mapping[str, Origin] = {"disks": "disk", "snapshots": "snapshot"}
NOT_IN_IMAGES = ("UltraSSD_LRS",)
UPLOADING = ("ReadyToUpload", "ActiveUpload")


def resolve_managed_image(search: Search) -> ResolvedSource:
    """A managed image: generalized, for x64. Raises BuildError."""
    id = search.compute("images", search.values["name"])
    found = search.get(id, "name")
    properties = found["properties"]
    _check_state(search, id, properties, "name")
    storage = properties["storageProfile"]
    os_disk = storage["osDisk"]
    data = sorted(storage.get("dataDisks") or [], key=lambda disk: int(disk["lun"]))
    made_of = os_disk.get("snapshot") or os_disk.get("managedDisk") or {"id": os_disk.get("blobUri", "")}
    vm = properties.get("sourceVirtualMachine", {}).get("id", "")
    return ResolvedSource(
        kind="managedImage",
        name=id.short,
        family=family(os_disk["osType"]),
        generation=generation(properties.get("hyperVGeneration")),
        architecture="x64",
        generalized=True,
        disks=(
            SourceDisk(None, gib(os_disk.get("diskSizeGB"))),
            *(SourceDisk(int(disk["lun"]), gib(disk.get("diskSizeGB"))) for disk in data),
        ),
        reference={"id": str(id)},
        location=region_name(found["location"]),
        # A managed image can't be changed, but deleted and made anew of something else
        pin={key: str(value) for key, value in (("madeOf", made_of.get("id")), ("vm", vm)) if value},
    )


def resolve_vm(search: Search) -> ResolvedSource:
    """A VM with its disks. They are copied through snapshots: the VM itself is left as it is. Raises BuildError."""
    id = search.compute("virtualMachines", search.values["name"])
    found = search.get(id, "name", expand="instanceView")
    properties = found["properties"]
    storage = properties["storageProfile"]
    generalized = search.values["osState"] == "generalized"
    _check_vm(search, found, generalized)
    given: list[tuple[int | None, Json]] = [(None, storage["osDisk"])]
    given += [(int(disk["lun"]), disk) for disk in sorted(storage.get("dataDisks") or [], key=lambda each: each["lun"])]
    ids = [(lun, ResourceId.parse(disk["managedDisk"]["id"])) for lun, disk in given]
    source = _of_disks(search, ids, generalized, "disk", "name")
    security = properties.get("securityProfile", {}).get("securityType") or STANDARD
    return replace(
        source,
        name=id.short,
        family=family(storage["osDisk"]["osType"]),
        plan=purchase_plan(found.get("plan")) or source.plan,
        security=source.security if security == STANDARD else (security,),
        pin={"vmId": str(properties.get("vmId", ""))},
    )


def _check_vm(search: Search, vm: Json, generalized: bool) -> None:
    storage = vm["properties"]["storageProfile"]
    for disk in (storage["osDisk"], *(storage.get("dataDisks") or ())):
        name = disk.get("name", "?")
        if "managedDisk" not in disk:
            raise search.refuse("source-disk", f"its disk {name} is no managed disk", "name")
        if disk.get("diffDiskSettings"):
            raise search.refuse("source-disk", f"its OS disk {name} is ephemeral", "name")
        if disk.get("encryptionSettings", {}).get("enabled"):
            message = f"its disk {name} has Azure Disk Encryption"
            raise search.refuse("source-disk", message, "name", hint="decrypt it first")
    statuses = vm["properties"].get("instanceView", {}).get("statuses") or []
    marked = any(str(status.get("code", "")).lower() == "osstate/generalized" for status in statuses)
    if marked != generalized:
        is_, says = ("generalized", "specialized") if marked else ("not generalized", "generalized")
        hint = f"write `osState: {'generalized' if marked else 'specialized'}`"
        raise search.refuse("source-state", f"the VM is {is_}, and the spec says {says}", "osState", hint=hint)


def resolve_disk(search: Search) -> ResolvedSource:
    """A managed disk, and those that belong to it. Raises BuildError."""
    return _resolve_loose(search, "disks")


def resolve_snapshot(search: Search) -> ResolvedSource:
    """A snapshot, and those that belong to it. Raises BuildError."""
    return _resolve_loose(search, "snapshots")


def _resolve_loose(search: Search, collection: str) -> ResolvedSource:
    values = search.values
    ids: list[tuple[int | None, ResourceId]] = [(None, search.compute(collection, values["name"]))]
    for disk in sorted(values["data"], key=lambda each: int(each["lun"])):
        ids.append((int(disk["lun"]), search.compute(collection, disk["name"], values=disk)))
    return _of_disks(search, ids, values["osState"] == "generalized", COLLECTIONS[collection], "name")


def _of_disks(
    search: Search, ids: Sequence[tuple[int | None, ResourceId]], generalized: bool, origin: Origin, key: str
) -> ResolvedSource:
    reads: list[Callable[[], Json]] = [partial(search.get, id, *_key(search, lun, key)) for lun, id in ids]
    bodies = at_once(reads)
    for (lun, id), body in zip(ids, bodies, strict=True):
        _check_disk(search, id, body, region_name(bodies[0]["location"]), *_key(search, lun, key))
    properties = bodies[0]["properties"]
    capabilities = properties.get("supportedCapabilities") or {}
    return ResolvedSource(
        kind=search.image.source.kind,
        name=ids[0][1].short,
        # An uploaded disk may not say: then it is what the spec says
        family=family(properties.get("osType")) or search.image.os.family,
        generation=generation(properties.get("hyperVGeneration")),
        architecture=architecture(capabilities.get("architecture")),
        generalized=generalized,
        disks=tuple(
            SourceDisk(lun, _size(body["properties"]), origin, str(id), unique=_unique(body["properties"]))
            for (lun, id), body in zip(ids, bodies, strict=True)
        ),
        plan=purchase_plan(properties.get("purchasePlan")),
        location=region_name(bodies[0]["location"]),
        **_allowances(properties, capabilities),
    )


def _key(search: Search, lun: int | None, key: str) -> tuple[str | int, ...]:
    """Where a disk is named in the YAML."""
    written = search.values.get("data") or []
    index = next((place for place, disk in enumerate(written) if disk["lun"] == lun), None)
    return (key,) if lun is None or index is None else ("data", index, key)


def _allowances(properties: Json, capabilities: Mapping[str, Any]) -> Allowances:
    """What a disk allows: one with a security type keeps it, a plain one of generation 2 may get Trusted Launch."""
    kind = str((properties.get("securityProfile") or {}).get("securityType", ""))
    if kind.startswith(TRUSTED_LAUNCH):
        security: tuple[str, ...] = (TRUSTED_LAUNCH,)
    elif kind.startswith("ConfidentialVM"):
        security = (CONFIDENTIAL,)
    else:
        security = (STANDARD, TRUSTED_LAUNCH) if generation(properties.get("hyperVGeneration")) == 2 else (STANDARD,)
    return {
        "security": security,
        "controllers": controllers(capabilities.get("diskControllerTypes")),
        "accelerated_networking": bool(capabilities.get("acceleratedNetwork")),
    }


def _check_disk(search: Search, id: ResourceId, body: Json, location: str, *keys: str | int) -> None:
    properties = body["properties"]
    _check_state(search, id, properties, *keys)
    state = properties.get("diskState")
    if state in UPLOADING:
        raise search.refuse("source-unfinished", f"the upload of {id.short} has not been ended", *keys)
    percent = properties.get("completionPercent")
    if percent is not None and percent < 100:
        raise search.refuse(
            "source-unfinished", f"{id.short} is copied to {percent:g}% only", *keys, hint="wait for it"
        )
    if body.get("sku", {}).get("name") in NOT_IN_IMAGES:
        raise search.refuse("source-disk", f"{id.short} is an Ultra disk", *keys)
    if region_name(body["location"]) != location:
        message = f"{id.short} is in {region_name(body['location'])}, the OS disk in {location}"
        raise search.refuse("source-region", message, *keys)


def _check_state(search: Search, id: ResourceId, properties: Json, *keys: str | int) -> None:
    state = properties.get("provisioningState", "Succeeded")
    if state not in ("Succeeded", "Updating"):
        raise search.refuse("source-unfinished", f"{id.short} is {state}", *keys)


def _size(properties: Json) -> int:
    return int(properties.get("diskSizeBytes") or 0) or gib(properties.get("diskSizeGB"))


def _unique(properties: Json) -> str:
    """What a disk of the same name, made anew, has otherwise."""
    return " ".join(str(properties[key]) for key in ("uniqueId", "timeCreated") if properties.get(key))
