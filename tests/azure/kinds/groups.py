"""Subscriptions, tenants, locations, resource providers, and resource groups."""

from __future__ import annotations

import base64
import json
import re

from tests.azure.answers import Answer, ArmError, Call, Json, copy, without_nulls
from tests.azure.api_versions import COMPUTE, KNOWN
from tests.azure.catalogue import LOCATIONS
from tests.azure.resources import normal_location
from tests.azure.router import GROUP, SUBSCRIPTION, Route
from tests.azure.state import Resource

TYPE = "Microsoft.Resources/resourceGroups"
PROVIDER_TYPES = {
    "Microsoft.Compute": (
        "virtualMachines", "disks", "diskEncryptionSets", "snapshots", "images", "galleries", "galleries/images",
        "galleries/images/versions", "virtualMachines/runCommands", "locations", "skus",
    ),
    "Microsoft.Network": (
        "virtualNetworks", "virtualNetworks/subnets", "networkSecurityGroups", "networkInterfaces",
        "publicIPAddresses", "locations",
    ),
    "Microsoft.Resources": ("resourceGroups", "deployments"),
    "Microsoft.MarketplaceOrdering": ("offertypes",),
    "Microsoft.Storage": ("storageAccounts",),
}  # fmt: skip


def subscription_body(subscription: str, name: str, tenant: str) -> Json:
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "tenantId": tenant,
        "displayName": name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Internal_2014-09-01",
            "quotaId": "Internal_2014-09-01",
            "spendingLimit": "Off",
        },
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
    }


def list_subscriptions(call: Call) -> Answer:
    from tests.azure.cloud import TENANT

    found = [subscription_body(key, name, TENANT) for key, name in call.cloud.subscriptions.items()]
    return Answer(200, {"value": found})


def get_subscription(call: Call) -> Answer:
    from tests.azure.cloud import TENANT

    key = call.subscription.lower()
    return Answer(200, subscription_body(key, call.cloud.subscriptions[key], TENANT))


def list_tenants(_call: Call) -> Answer:
    from tests.azure.cloud import TENANT

    return Answer(200, {"value": [{"id": f"/tenants/{TENANT}", "tenantId": TENANT, "tenantCategory": "Home"}]})


def list_locations(call: Call) -> Answer:
    found = [
        {
            "id": f"/subscriptions/{call.subscription}/locations/{name}",
            "name": name,
            "type": "Region",
            "displayName": shown,
            "regionalDisplayName": shown,
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        for name, shown in LOCATIONS.items()
    ]
    return Answer(200, {"value": found})


def provider_body(call: Call, namespace: str) -> Json:
    types = [
        {
            "resourceType": name,
            "locations": list(LOCATIONS.values()),
            "apiVersions": sorted(KNOWN.get(namespace, COMPUTE), reverse=True),
            "capabilities": "CrossResourceGroupResourceMove, SupportsTags, SupportsLocation",
        }
        for name in PROVIDER_TYPES[namespace]
    ]
    return {
        "id": f"/subscriptions/{call.subscription}/providers/{namespace}",
        "namespace": namespace,
        "resourceTypes": types,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
    }


def get_provider(call: Call) -> Answer:
    wanted = call.parameters["provider"].lower()
    namespace = next((name for name in PROVIDER_TYPES if name.lower() == wanted), None)
    if namespace is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{wanted}' is invalid.")
    return Answer(200, provider_body(call, namespace))


def list_providers(call: Call) -> Answer:
    return Answer(200, {"value": [provider_body(call, namespace) for namespace in PROVIDER_TYPES]})


def put_group(call: Call) -> Answer:
    given = call.document
    name = call.group
    if not re.fullmatch(r"[-\w._()]{1,90}(?<!\.)", name):
        raise ArmError(
            400, "InvalidResourceGroup", f"The provided resource group name '{name}' has invalid characters."
        )
    if not isinstance(given.get("location"), str):
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    location = normal_location(given["location"])
    if location not in LOCATIONS:
        raise ArmError(
            400, "LocationNotAvailableForResourceGroup", f"The provided location '{location}' is not available."
        )
    found = call.cloud.state.find(call.path)
    if found is not None and found.provisioning == "Deleting":
        raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{name}' is in deprovisioning state.")
    if found is not None and found.location != location:
        raise ArmError(
            409,
            "InvalidResourceGroupLocation",
            f"Invalid resource group location '{location}'. The Resource group already exists in '{found.location}'.",
        )
    body: Json = {"id": call.path, "name": name, "type": TYPE, "location": location}
    for key in ("managedBy", "tags"):
        if given.get(key) is not None:
            body[key] = without_nulls(given[key])
    body["properties"] = {"provisioningState": "Succeeded"}
    call.cloud.state.put(Resource(call.path, TYPE, body))
    return Answer(200 if found else 201, copy(body))


def patch_group(call: Call) -> Answer:
    found = _group(call)
    if isinstance(call.document.get("tags"), dict):
        found.body["tags"] = without_nulls(call.document["tags"])
    return Answer(200, copy(found.body))


def get_group(call: Call) -> Answer:
    return Answer(200, copy(_group(call).body))


def head_group(call: Call) -> Answer:
    return Answer(204 if call.cloud.state.find(call.path) is not None else 404)


def list_groups(call: Call) -> Answer:
    found = [group for group in call.cloud.state.of_type(TYPE) if _of_subscription(group, call)]
    for name, value in re.findall(r"(tagname|tagvalue) eq '([^']*)'", call.query.get("$filter", ""), re.IGNORECASE):
        place = 0 if name.lower() == "tagname" else 1
        found = [group for group in found if any(tag[place] == value for tag in group.body.get("tags", {}).items())]
    return Answer(200, {"value": [copy(group.body) for group in found]})


def delete_group(call: Call) -> Answer:
    """202 with a Location that answers 202 until it is gone; there is no Azure-AsyncOperation here.

    What can't be deleted stays, and the group with it: its state is rolled back, and the Location answers 409.
    """
    group = _group(call)
    cloud = call.cloud
    group.properties["provisioningState"] = "Deleting"
    group.hidden.pop("kept", None)

    def gone() -> None:
        with cloud.lock:
            found = cloud.state.under(group.id)
            kept = [item.id for item in found if item.properties.get("diskState") in ("ActiveSAS", "ActiveUpload")]
            for resource in found:
                if resource.id not in kept:
                    cloud.state.delete(resource.id)
            if kept:
                group.properties["provisioningState"] = "Succeeded"
                group.hidden["kept"] = kept
            else:
                cloud.state.delete(group.id)

    if call.fault is None or call.fault.kind != "hang":
        cloud.clock.after(cloud.seconds("groups.delete"), gone)
    job = json.dumps({"jobId": f"RESOURCEGROUPDELETIONJOB-{group.name.upper()}", "jobLocation": group.location})
    token = base64.urlsafe_b64encode(job.encode()).decode().rstrip("=")
    return Answer(202, None, _job_headers(call, token))


def poll_job(call: Call) -> Answer:
    token = call.parameters["job"]
    job = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    name = job["jobId"].partition("-")[2]
    group = call.cloud.state.find(f"/subscriptions/{call.subscription}/resourceGroups/{name}")
    if group is None:
        return Answer(200)
    if group.hidden.get("kept"):
        raise ArmError(
            409,
            "ResourceGroupDeletionBlocked",
            f"Deletion of resource group '{group.name}' failed as resources with identifiers"
            f" '{','.join(group.hidden['kept'])}' could not be deleted. The provisioning state of the resource group"
            " will be rolled back.",
        )
    return Answer(202, None, _job_headers(call, token))


def _job_headers(call: Call, token: str) -> dict[str, str]:
    url = f"{call.base_url}/subscriptions/{call.subscription}/operationresults/{token}?api-version={call.api_version}"
    return {"Location": url, "Retry-After": "15"}


def list_resources(call: Call) -> Answer:
    """Every resource of a group or of the subscription, as one flat list, filtered by `$filter`."""
    below = call.path.rpartition("/resources")[0]
    if "group" in call.parameters:
        call.cloud.state.get(below)
    found = [r for r in call.cloud.state.under(below) if r.type != TYPE and r.type.count("/") == 1]
    wanted = call.query.get("$filter", "")
    by_type = re.findall(r"resourceType eq '([^']*)'", wanted, re.IGNORECASE)
    if by_type:
        found = [r for r in found if r.type.lower() in [name.lower() for name in by_type]]
    for name, value in re.findall(r"tagName eq '([^']*)'(?: and tagValue eq '([^']*)')?", wanted, re.IGNORECASE):
        found = [r for r in found if name in r.body.get("tags", {}) and value in ("", r.body["tags"][name])]
    keys = ("id", "name", "type", "location", "tags", "sku", "zones", "managedBy", "identity", "plan", "kind")
    return Answer(200, {"value": [{key: copy(r.body[key]) for key in keys if key in r.body} for r in found]})


def _group(call: Call) -> Resource:
    found = call.cloud.state.find(call.path)
    if found is None:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{call.group}' could not be found.")
    return found


def _of_subscription(resource: Resource, call: Call) -> bool:
    return resource.id.lower().startswith(f"/subscriptions/{call.subscription.lower()}/")


ROUTES = (
    Route("GET", "/subscriptions", "GET Microsoft.Resources/subscriptions", list_subscriptions),
    Route("GET", "/tenants", "GET Microsoft.Resources/tenants", list_tenants),
    Route("GET", SUBSCRIPTION, "GET Microsoft.Resources/subscriptions", get_subscription),
    Route("GET", f"{SUBSCRIPTION}/locations", "GET Microsoft.Resources/locations", list_locations),
    Route("GET", f"{SUBSCRIPTION}/providers", "GET Microsoft.Resources/providers", list_providers),
    Route("GET", f"{SUBSCRIPTION}/providers/{{provider}}", "GET Microsoft.Resources/providers", get_provider),
    Route(
        "POST", f"{SUBSCRIPTION}/providers/{{provider}}/register", "POST Microsoft.Resources/providers", get_provider
    ),
    Route("GET", f"{SUBSCRIPTION}/resourceGroups", f"LIST {TYPE}", list_groups),
    Route("PUT", GROUP, f"PUT {TYPE}", put_group),
    Route("PATCH", GROUP, f"PATCH {TYPE}", patch_group),
    Route("GET", GROUP, f"GET {TYPE}", get_group),
    Route("HEAD", GROUP, f"HEAD {TYPE}", head_group),
    Route("DELETE", GROUP, f"DELETE {TYPE}", delete_group),
    Route("GET", f"{GROUP}/resources", "LIST Microsoft.Resources/resources", list_resources),
    Route("GET", f"{SUBSCRIPTION}/resources", "LIST Microsoft.Resources/resources", list_resources),
    Route("GET", f"{SUBSCRIPTION}/operationresults/{{job}}", "GET Microsoft.Resources/operationresults", poll_job),
)
