"""Scale sets: stored and shown, so that what they are made from can be asked for. They have no instances."""

from __future__ import annotations

from tests.azure.answers import Answer, Call, bad_request, copy, without_nulls
from tests.azure.kinds.image_references import resolve
from tests.azure.operations import COMPUTE
from tests.azure.resources import Manner, accept, lister, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource

TYPE = "Microsoft.Compute/virtualMachineScaleSets"
MANNER = Manner(COMPUTE)


def put(call: Call) -> Answer:
    given = without_nulls(call.properties)
    body = new_body(call, TYPE, call.path, keys=("sku", "zones"))
    profile = given.get("virtualMachineProfile", {}).get("storageProfile", {})
    if "imageReference" not in profile:
        raise bad_request("Required parameter 'imageReference' is missing (null).", target="imageReference")
    # An image that isn't there, or not in this region, is refused
    resolve(call, profile["imageReference"], body["location"])
    body["properties"] = {**copy(given), "uniqueId": new_uuid()}
    old = call.cloud.state.find(call.path)
    resource = old or Resource(call.path, TYPE, body)
    resource.body = body
    seconds = call.cloud.seconds("virtualMachines.put")
    return accept(call, resource, MANNER, seconds, lambda: None, new=old is None)


def delete(call: Call) -> Answer:
    return remove(call, MANNER, call.cloud.seconds("virtualMachines.delete"))


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "GET": reader(), "DELETE": delete},
    list_group=lister(TYPE),
    list_subscription=lister(TYPE),
)
