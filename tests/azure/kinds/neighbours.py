"""What builds refer to and don't make: disk encryption sets, managed identities, storage accounts. Stored and shown."""

from __future__ import annotations

from tests.azure.answers import Answer, Call, Json, copy, without_nulls
from tests.azure.blobs import KEY
from tests.azure.operations import DISK
from tests.azure.resources import Manner, accept, lister, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource

ENCRYPTION_SETS = "Microsoft.Compute/diskEncryptionSets"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
ACCOUNTS = "Microsoft.Storage/storageAccounts"
MANNER = Manner(DISK, 202, 202, "Updating", "Updating", location=True, output=True, retry_after=2)


def put_encryption_set(call: Call) -> Answer:
    body = new_body(call, ENCRYPTION_SETS, call.path, keys=("identity",))
    given = without_nulls(call.properties)
    body["properties"] = {key: copy(given[key]) for key in ("activeKey", "encryptionType") if key in given}
    body["properties"].setdefault("encryptionType", "EncryptionAtRestWithCustomerKey")
    old = call.cloud.state.find(call.path)
    resource = old or Resource(call.path, ENCRYPTION_SETS, body)
    resource.body = body
    return accept(call, resource, MANNER, call.cloud.seconds("disks.put"), lambda: None, new=old is None)


def put_identity(call: Call) -> Answer:
    old = call.cloud.state.find(call.path)
    body = new_body(call, IDENTITIES, call.path)
    ids = {"tenantId": new_uuid(), "principalId": new_uuid(), "clientId": new_uuid()}
    body["properties"] = copy(old.properties) if old is not None else ids
    call.cloud.state.put(Resource(call.path, IDENTITIES, body))
    return Answer(200 if old is not None else 201, copy(body))


def put_account(call: Call) -> Answer:
    """An account whose blobs are those of the simulator's Azurite. Made at once."""
    body = new_body(call, ACCOUNTS, call.path, keys=("sku", "kind"))
    blobs = call.cloud.blobs
    endpoint = f"{blobs.endpoint}/" if blobs is not None else f"https://{call.name}.blob.core.windows.net/"
    body["properties"] = {
        "provisioningState": "Succeeded",
        "primaryEndpoints": {"blob": endpoint},
        "primaryLocation": body["location"],
        "statusOfPrimary": "available",
    }
    call.cloud.state.put(Resource(call.path, ACCOUNTS, body))
    return Answer(200, copy(body))


def list_keys(call: Call) -> Answer:
    call.cloud.state.get(call.owner)
    keys: list[Json] = [{"keyName": name, "value": KEY, "permissions": "FULL"} for name in ("key1", "key2")]
    return Answer(200, {"keys": keys})


def delete_at_once(call: Call) -> Answer:
    there = call.cloud.state.find(call.path) is not None
    call.cloud.state.delete(call.path)
    return Answer(200 if there else 204)


def delete_encryption_set(call: Call) -> Answer:
    return remove(call, MANNER, call.cloud.seconds("disks.delete"))


ROUTES = (
    *resource_routes(
        ENCRYPTION_SETS,
        {"PUT": put_encryption_set, "GET": reader(), "DELETE": delete_encryption_set},
        list_group=lister(ENCRYPTION_SETS),
        list_subscription=lister(ENCRYPTION_SETS),
    ),
    *resource_routes(
        IDENTITIES,
        {"PUT": put_identity, "GET": reader(), "DELETE": delete_at_once},
        list_group=lister(IDENTITIES),
    ),
    *resource_routes(
        ACCOUNTS,
        {"PUT": put_account, "GET": reader(), "DELETE": delete_at_once},
        list_group=lister(ACCOUNTS),
        list_subscription=lister(ACCOUNTS),
        actions={"listKeys": list_keys},
    ),
)
