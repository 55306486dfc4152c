"""Snapshots: full ones are whole at once, incremental ones copy in the background after their operation has ended."""

from __future__ import annotations

from tests.azure.answers import Answer, Call, Json, bad_request, copy, without_nulls
from tests.azure.kinds.disks import check_closed, grant, revoke
from tests.azure.operations import DISK, stamp
from tests.azure.resources import Manner, accept, lister, merge, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.sources import GIB, source_of
from tests.azure.state import Resource

TYPE = "Microsoft.Compute/snapshots"
MANNER = Manner(DISK, 202, 202, "Updating", "Updating", location=True, output=True, retry_after=2, update_retry_after=2)
GIVEN = ("osType", "hyperVGeneration", "purchasePlan", "supportedCapabilities", "securityProfile", "encryption",
         "networkAccessPolicy", "publicNetworkAccess", "diskAccessId", "dataAccessAuthMode", "incremental",
         "diskSizeGB", "supportsHibernation")  # fmt: skip


def put(call: Call) -> Answer:
    given = without_nulls(call.properties)
    old = call.cloud.state.find(call.path)
    if old is not None and old.provisioning != "Failed":
        return _update(call, old)
    # One that failed holds nothing: it is made as if it were new
    creation = given.get("creationData")
    if not isinstance(creation, dict):
        raise bad_request("Required parameter 'creationData' is missing (null).", target="creationData")
    body = new_body(call, TYPE, call.path, keys=("sku", "extendedLocation"))
    body["properties"] = {"creationData": creation, **{key: given[key] for key in GIVEN if key in given}}
    snapshot = Resource(call.path, TYPE, body)
    source = source_of(call, creation, snapshot.location)
    first = copy(body)
    if creation["createOption"] == "Empty" and "diskSizeGB" not in given:
        raise bad_request("Required parameter 'snapshot.diskSizeGB' is missing (null).", target="snapshot.diskSizeGB")
    # A snapshot holds what the disk held when it was asked for, not when its operation ends
    held = source.facts.copied() if source.facts is not None else None

    def finish() -> None:
        for key, value in source.shown.items():
            body["properties"].setdefault(key, value)
        _complete(call, snapshot, source.size_bytes)
        source.settle(snapshot)
        snapshot.hidden["facts"] = held

    return accept(call, snapshot, MANNER, call.cloud.seconds("snapshots.put"), finish, new=True, first=first)


def _complete(call: Call, snapshot: Resource, size_bytes: int) -> None:
    properties = snapshot.properties
    sku = snapshot.body.setdefault("sku", {"name": "Standard_LRS"})
    sku["tier"] = sku["name"].split("_")[0]
    properties.setdefault("diskSizeGB", -(-size_bytes // GIB))
    properties["diskSizeBytes"] = properties["diskSizeGB"] * GIB
    properties.setdefault("encryption", {"type": "EncryptionAtRestWithPlatformKey"})
    properties.setdefault("incremental", False)
    properties.setdefault("networkAccessPolicy", "AllowAll")
    properties.setdefault("publicNetworkAccess", "Enabled")
    properties.setdefault("timeCreated", stamp(call.cloud.clock.now()))
    properties.setdefault("diskState", "Unattached")
    properties.setdefault("uniqueId", new_uuid())
    if properties["incremental"] and "completionPercent" not in properties:
        properties.setdefault("incrementalSnapshotFamilyId", new_uuid())
        _copy_in_background(call, snapshot)


def _copy_in_background(call: Call, snapshot: Resource) -> None:
    properties = snapshot.properties
    properties["completionPercent"] = 0

    def progress(percent: int) -> None:
        with call.cloud.lock:
            properties["completionPercent"] = percent

    seconds = call.cloud.seconds("snapshots.copy")
    for part in (0.5, 1.0):
        call.cloud.clock.after(seconds * part, lambda part=part: progress(int(100 * part)))  # type: ignore[misc]


def _update(call: Call, snapshot: Resource) -> Answer:
    given = without_nulls(call.document)
    properties = given.get("properties", {})
    snapshot.body = merge(snapshot.body, {key: given[key] for key in ("tags", "sku") if key in given})
    wanted: Json = {key: properties[key] for key in GIVEN if key in properties and key != "diskSizeGB"}
    snapshot.body["properties"] = merge(snapshot.properties, wanted)
    first = copy(snapshot.body)
    keep = ("creationData", "provisioningState", "diskSizeGB", *wanted)
    first["properties"] = {key: value for key, value in first["properties"].items() if key in keep}
    first.get("sku", {}).pop("tier", None)

    def finish() -> None:
        snapshot.body["sku"] = {"name": snapshot.body["sku"]["name"]}
        _complete(call, snapshot, 0)

    return accept(call, snapshot, MANNER, call.cloud.seconds("snapshots.put"), finish, new=False, first=first)


def patch(call: Call) -> Answer:
    return _update(call, call.cloud.state.get(call.path))


def delete(call: Call) -> Answer:
    return remove(call, MANNER, call.cloud.seconds("snapshots.delete"), check=check_closed)


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "PATCH": patch, "GET": reader(), "DELETE": delete},
    list_group=lister(TYPE),
    list_subscription=lister(TYPE),
    actions={
        "beginGetAccess": lambda call: grant(call, "snapshots.access"),
        "endGetAccess": lambda call: revoke(call, "snapshots.access"),
    },
)
