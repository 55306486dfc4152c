"""Managed disks and their SAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.facts import Facts
from tests.azure.operations import DISK, stamp
from tests.azure.resources import Manner, accept, act, check_free, lister, merge, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.sources import source_of
from tests.azure.state import Resource

if TYPE_CHECKING:
    from tests.azure.cloud import Cloud

TYPE = "Microsoft.Compute/disks"
MANNER = Manner(DISK, 202, 202, "Updating", "Updating", location=True, output=True, retry_after=2, update_retry_after=2)
GIB = 1 << 30
FOOTER = 512
# Performance of a Premium disk by size in GiB, the rest of the table has no use here: (up to GiB, tier, IOPS, MB/s)
PREMIUM = ((4, "P1", 120, 25), (8, "P2", 120, 25), (16, "P3", 120, 25), (32, "P4", 120, 25), (64, "P6", 240, 50),
           (128, "P10", 500, 100), (256, "P15", 1100, 125), (512, "P20", 2300, 150), (1024, "P30", 5000, 200),
           (2048, "P40", 7500, 250), (4096, "P50", 7500, 250), (32767, "P80", 20000, 900))  # fmt: skip
COPIED = ("osType", "hyperVGeneration", "purchasePlan", "supportedCapabilities", "securityProfile")
GIVEN = ("osType", "hyperVGeneration", "purchasePlan", "supportedCapabilities", "securityProfile", "encryption",
         "networkAccessPolicy", "publicNetworkAccess", "diskAccessId", "burstingEnabled", "dataAccessAuthMode", "tier",
         "diskIOPSReadWrite", "diskMBpsReadWrite", "maxShares", "diskSizeGB")  # fmt: skip


def put(call: Call) -> Answer:
    given = without_nulls(call.properties)
    creation = given.get("creationData")
    if not isinstance(creation, dict):
        raise bad_request("Required parameter 'creationData' is missing (null).", target="creationData")
    old = call.cloud.state.find(call.path)
    if old is not None:
        return _update(call, old, call.document)
    body = new_body(call, TYPE, call.path, keys=("sku", "zones", "extendedLocation"))
    body["properties"] = {"creationData": creation, **{key: given[key] for key in GIVEN if key in given}}
    disk = Resource(call.path, TYPE, body)
    source = source_of(call, creation, disk.location)
    first = copy(body)
    _check_size(creation, given, source)
    disk.hidden["facts"] = source.facts

    def finish() -> None:
        complete(call.cloud, disk, source.size_bytes, source.shown)
        source.settle(disk)

    name = "disks.put" if creation["createOption"] in ("Empty", "Upload") else "disks.copy"
    return accept(call, disk, MANNER, call.cloud.seconds(name), finish, new=True, first=first)


def _check_size(creation: Json, given: Json, source: object) -> None:
    if creation["createOption"] == "Empty" and "diskSizeGB" not in given:
        raise bad_request("Required parameter 'disk.diskSizeGB' is missing (null).", target="disk.diskSizeGB")
    if creation["createOption"].startswith("Upload"):
        size = creation.get("uploadSizeBytes")
        if not isinstance(size, int) or size < (20 << 20) + FOOTER or (size - FOOTER) % (1 << 20):
            raise bad_request(
                f"The value '{size}' of parameter 'disk.creationData.uploadSizeBytes' is out of range or not a whole"
                " number of MiB plus the 512 bytes of a VHD's footer.",
                target="disk.creationData.uploadSizeBytes",
            )
    size_bytes = getattr(source, "size_bytes", 0)
    if "diskSizeGB" in given and size_bytes and given["diskSizeGB"] * GIB < size_bytes:
        raise bad_request(
            f"The specified disk size {given['diskSizeGB']} GB is smaller than the size of its source"
            f" ({-(-size_bytes // GIB)} GB).",
            code="ResizeDiskError",
            target="disk.diskSizeGB",
        )


def complete(cloud: Cloud, disk: Resource, size_bytes: int, from_source: Json) -> None:
    """Fills in what Azure knows of a finished disk."""
    properties = disk.properties
    for key in COPIED:
        if key in from_source:
            properties.setdefault(key, from_source[key])
    upload = properties["creationData"]["createOption"].startswith("Upload")
    if not upload:
        properties.setdefault("diskSizeGB", -(-size_bytes // GIB))
        properties["diskSizeBytes"] = properties["diskSizeGB"] * GIB
    sku = disk.body.setdefault("sku", {"name": "Standard_LRS"})
    sku["tier"] = sku["name"].split("_")[0]
    gib = properties.get("diskSizeGB", 32)
    tier, iops, throughput = next((row[1:] for row in PREMIUM if gib <= row[0]), PREMIUM[-1][1:])
    premium = sku["tier"] == "Premium"
    properties["diskIOPSReadWrite"] = iops if premium else 500
    properties["diskMBpsReadWrite"] = throughput if premium else 60
    if premium:
        properties["tier"] = tier
    else:
        properties.pop("tier", None)
    properties.setdefault("encryption", {"type": "EncryptionAtRestWithPlatformKey"})
    properties.setdefault("networkAccessPolicy", "AllowAll")
    properties.setdefault("publicNetworkAccess", "Enabled")
    properties.setdefault("timeCreated", stamp(cloud.clock.now()))
    properties.setdefault("diskState", "ReadyToUpload" if upload else "Unattached")
    properties.setdefault("uniqueId", new_uuid())


def make(cloud: Cloud, resource_id: str, *, location: str, sku: str, creation: Json, facts: Facts | None,
         size_gib: int, extra: Json | None = None, tags: Json | None = None) -> Resource:  # fmt: skip
    """A finished disk, as VMs make them."""
    body: Json = {"name": resource_id.rsplit("/", 1)[-1], "id": resource_id, "type": TYPE, "location": location}
    if tags:
        body["tags"] = copy(tags)
    body["sku"] = {"name": sku}
    body["properties"] = {"creationData": creation, "diskSizeGB": size_gib, **(extra or {})}
    disk = Resource(resource_id, TYPE, body)
    if facts is not None:
        body["properties"].update({"osType": facts.system, "hyperVGeneration": facts.generation})
        body["properties"]["supportedCapabilities"] = {
            "diskControllerTypes": facts.controllers,
            "acceleratedNetwork": True,
            "architecture": facts.architecture,
        }
        if facts.plan is not None:
            body["properties"]["purchasePlan"] = copy(facts.plan)
    disk.hidden["facts"] = facts
    complete(cloud, disk, size_gib * GIB, {})
    body["properties"]["provisioningState"] = "Succeeded"
    return cloud.state.put(disk)


def _update(call: Call, disk: Resource, changes: Json) -> Answer:
    check_free(disk)
    given = without_nulls(changes)
    properties = given.get("properties", {})
    old, new = disk.properties.get("diskSizeGB", 0), properties.get("diskSizeGB")
    if new is not None and new < old:
        raise bad_request(
            f"Disk {disk.name} cannot be resized to {new} GB: a disk can only grow.", code="OperationNotAllowed"
        )
    creation = properties.get("creationData")
    if creation is not None and creation.get("createOption") != disk.properties["creationData"]["createOption"]:
        raise conflict(
            "Changing property 'disk.creationData.createOption' is not allowed for existing disk.",
            code="PropertyChangeNotAllowed",
            target="disk.creationData.createOption",
        )
    before = disk.body
    disk.body = merge(before, {key: given[key] for key in ("tags", "sku", "zones") if key in given})
    wanted = {
        key: properties[key] for key in GIVEN if key in properties and not key.startswith(("diskIOPS", "diskMBps"))
    }
    disk.body["properties"] = merge(before["properties"], wanted)
    first = copy(disk.body)
    keep = ("creationData", "provisioningState", *wanted)
    first["properties"] = {key: value for key, value in first["properties"].items() if key in keep}
    first.get("sku", {}).pop("tier", None)

    def finish() -> None:
        # A disk whose making failed has none yet
        disk.body["sku"] = {"name": disk.body.get("sku", {}).get("name", "Standard_LRS")}
        complete(call.cloud, disk, disk.properties.get("diskSizeGB", 0) * GIB, {})

    return accept(call, disk, MANNER, call.cloud.seconds("disks.patch"), finish, new=False, first=first)


def patch(call: Call) -> Answer:
    return _update(call, call.cloud.state.get(call.path), call.document)


def delete(call: Call) -> Answer:
    def check(disk: Resource) -> None:
        owner = disk.body.get("managedBy")
        if owner:
            raise conflict(f"Disk {disk.name} is attached to VM {owner}.", code="OperationNotAllowed", target="disk")
        check_closed(disk)

    return remove(call, MANNER, call.cloud.seconds("disks.delete"), check=check)


def check_closed(disk: Resource) -> None:
    """Raises ArmError 409 for a disk or snapshot whose bytes somebody can get at."""
    if disk.properties.get("diskState") in ("ActiveSAS", "ActiveUpload"):
        raise conflict(f"There is an active shared access signature outstanding for disk {disk.name}."
                       " Call EndGetAccess before attaching or deleting the disk.")  # fmt: skip


def begin_access(call: Call) -> Answer:
    """A SAS for reading, or for writing a disk made for upload. Its blob is there from then on."""
    return grant(call, "disks.access")


def grant(call: Call, latency: str) -> Answer:
    resource = call.cloud.state.get(call.owner)
    given = without_nulls(call.document)
    access, duration = given.get("access"), given.get("durationInSeconds")
    if access not in ("Read", "Write") or not isinstance(duration, int):
        raise bad_request("Required parameter 'accessData.access' or 'accessData.durationInSeconds' is missing.")
    state = resource.properties.get("diskState", "Unattached")
    if access == "Write" and state not in ("ReadyToUpload", "ActiveUpload"):
        raise conflict(f"Write access is only allowed for a disk in state ReadyToUpload; '{resource.name}' is {state}.")
    if access == "Read" and state in ("ReadyToUpload", "ActiveUpload"):
        raise conflict(f"Disk '{resource.name}' is waiting for its upload (state {state}); it can't be read.")
    if access == "Read" and resource.body.get("managedBy") and state != "Reserved":
        raise conflict(
            f"Cannot read disk {resource.name} while it is attached to running VM '{resource.body['managedBy']}'."
        )
    blobs = call.cloud.blobs

    def finish() -> Json:
        resource.properties["diskState"] = "ActiveUpload" if access == "Write" else "ActiveSAS"
        if blobs is None:
            raise ArmError(500, "InternalServerError", "This simulator was started without blobs (Azurite).")
        found: Json = {"accessSAS": blobs.grant(resource, write=access == "Write", seconds=duration)}
        if resource.properties["creationData"]["createOption"] == "UploadPreparedSecure":
            found["securityDataAccessSAS"] = blobs.grant(resource, write=True, seconds=duration, part="vmgs")
        return found

    return act(call, resource, DISK, call.cloud.seconds(latency), finish, output=True)


def end_access(call: Call) -> Answer:
    return revoke(call, "disks.access")


def revoke(call: Call, latency: str) -> Answer:
    resource = call.cloud.state.get(call.owner)

    def finish() -> None:
        state = resource.properties.get("diskState")
        if call.cloud.blobs is not None:
            call.cloud.blobs.revoke(resource)
        if state == "ActiveUpload":
            size = resource.properties["creationData"]["uploadSizeBytes"] - FOOTER
            resource.properties["diskSizeGB"] = -(-size // GIB)
            resource.properties["diskSizeBytes"] = size
        if state in ("ActiveUpload", "ActiveSAS", "ReadyToUpload"):
            resource.properties["diskState"] = "Reserved" if resource.body.get("managedBy") else "Unattached"

    return act(call, resource, DISK, call.cloud.seconds(latency), finish)


Attach = Callable[[Resource], None]


def check_attachable(disk: Resource, machine: str) -> None:
    """Raises ArmError 409 when a VM can't have this disk."""
    owner = disk.body.get("managedBy")
    if owner and owner.lower() != machine.lower():
        raise conflict(
            f"Disk '{disk.name}' cannot be attached as the disk is already owned by VM '{owner}'.",
            code="AttachDiskWhileBeingDetached" if disk.provisioning == "Updating" else "ConflictingUserInput",
        )
    if disk.properties.get("diskState") in ("ReadyToUpload", "ActiveUpload", "ActiveSAS"):
        raise conflict(
            f"Disk '{disk.name}' is in state {disk.properties['diskState']}; it can't be attached before its access"
            " is ended."
        )


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "PATCH": patch, "GET": reader(), "DELETE": delete},
    list_group=lister(TYPE),
    list_subscription=lister(TYPE),
    actions={"beginGetAccess": begin_access, "endGetAccess": end_access},
)
