"""Template deployments: each resource is put once those it depends on are done, as `az vm create` relies on."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, copy
from tests.azure.operations import Operation, stamp
from tests.azure.resources import lister, reader
from tests.azure.router import Route, resource_path, resource_routes
from tests.azure.state import Resource
from tests.azure.templates import Scope

TYPE = "Microsoft.Resources/deployments"


@dataclass
class Item:
    """One resource of a template: where it goes, what it is, and what it waits for."""

    id: str
    type: str
    api_version: str
    body: Json
    depends_on: list[str]
    state: str = "waiting"


@dataclass
class Progress:
    status: str = "Accepted"
    error: Json | None = None
    items: list[Item] = field(default_factory=list)
    operation: str = field(default_factory=lambda: str(uuid.uuid4().int)[:20])


def _scope(call: Call, template: Json) -> Scope:
    group = call.cloud.state.get(f"/subscriptions/{call.subscription}/resourceGroups/{call.group}")
    given = call.properties.get("parameters", {})
    scope = Scope({}, template.get("variables", {}), copy(group.body), call.subscription, call.name)
    for name, declared in template.get("parameters", {}).items():
        if name in given:
            scope.parameters[name] = given[name].get("value")
        elif "defaultValue" in declared:
            scope.parameters[name] = scope.evaluate(declared["defaultValue"])
        else:
            raise bad_request(
                f"Deployment template validation failed: 'The value for the template parameter '{name}' is not"
                " provided.'",
                code="InvalidTemplate",
            )
    return scope


def _items(call: Call) -> tuple[list[Item], Scope, Json]:
    template = call.properties.get("template")
    if not isinstance(template, dict):
        raise bad_request("The request to create a deployment needs a template.", code="InvalidDeployment")
    scope = _scope(call, template)
    items = []
    listed = template.get("resources", [])
    for resource in listed.values() if isinstance(listed, dict) else listed:
        given = scope.evaluate(resource)
        if given.get("condition") is False:
            continue
        provider, *types = given["type"].split("/")
        names = given["name"].split("/")
        path = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
        resource_id = f"/subscriptions/{call.subscription}/resourceGroups/{call.group}/providers/{provider}/{path}"
        body = {
            key: value
            for key, value in given.items()
            if key not in ("name", "type", "apiVersion", "dependsOn", "condition")
        }
        items.append(Item(resource_id, given["type"], given["apiVersion"], body, given.get("dependsOn", [])))
    for item in items:
        item.depends_on = [other.id for other in items for wanted in item.depends_on if _means(wanted, other.id)]
    return items, scope, template


def _means(wanted: str, resource_id: str) -> bool:
    """`dependsOn` names a resource by its id, by type and name, or by its name alone."""
    return resource_id.lower().endswith("/" + wanted.lower().lstrip("/")) or resource_id.lower() == wanted.lower()


def put(call: Call) -> Answer:
    items, scope, template = _items(call)
    properties = call.properties
    progress = Progress(items=items)
    body: Json = {"id": call.path, "name": call.name, "type": TYPE}
    if "tags" in call.document:
        body["tags"] = copy(call.document["tags"])
    secret = ("securestring", "secureobject")
    declared = template.get("parameters", {})
    body["properties"] = {
        "templateHash": str(int(hashlib.sha256(json.dumps(template).encode()).hexdigest()[:15], 16)),
        "parameters": {
            name: {"type": _kind(declared[name]["type"])}
            | ({} if declared[name]["type"].lower() in secret else {"value": value})
            for name, value in scope.parameters.items()
        },
        "mode": str(properties.get("mode", "Incremental")).capitalize(),
        "provisioningState": "Accepted",
        "timestamp": stamp(call.cloud.clock.now()),
        "duration": "PT0.0006659S",
        "correlationId": str(uuid.uuid4()),
        "providers": _providers(items),
        "dependencies": [_dependency(item) for item in items if item.depends_on],
    }
    first = copy(body)
    deployment = call.cloud.state.find(call.path)
    new = deployment is None
    deployment = call.cloud.state.put(Resource(call.path, TYPE, body))
    deployment.hidden["progress"] = progress
    began = call.cloud.clock.elapsed

    def run() -> None:
        with call.cloud.lock:
            _step(call, deployment, progress, template, scope, began)

    call.cloud.clock.after(call.cloud.seconds("deployments.put"), run)
    query = f"api-version={call.api_version}"
    url = f"{call.base_url}{call.path}/operationStatuses/{progress.operation}?{query}"
    return Answer(201 if new else 200, first, {"Azure-AsyncOperation": url})


def _kind(given: str) -> str:
    return {"securestring": "SecureString", "secureobject": "SecureObject"}.get(given.lower(), given.capitalize())


def _providers(items: list[Item]) -> list[Json]:
    found: dict[str, list[Json]] = {}
    for item in items:
        namespace, _, name = item.type.partition("/")
        entry = {"resourceType": name, "locations": [item.body.get("location")]}
        if entry not in found.setdefault(namespace, []):
            found[namespace].append(entry)
    return [{"namespace": namespace, "resourceTypes": types} for namespace, types in found.items()]


def _reference(resource_id: str, items_type: str) -> Json:
    return {"id": resource_id, "resourceType": items_type, "resourceName": resource_id.rpartition("/")[2]}


def _dependency(item: Item) -> Json:
    from tests.azure.state import type_of

    return {
        "dependsOn": [_reference(wanted, type_of(wanted)) for wanted in item.depends_on],
        **_reference(item.id, item.type),
    }


def _step(call: Call, deployment: Resource, progress: Progress, template: Json, scope: Scope, began: float) -> None:
    """Puts whatever can be put now; called again whenever one of them has ended."""
    if progress.status in ("Succeeded", "Failed"):
        return
    progress.status = "Running"
    deployment.properties["provisioningState"] = "Running"
    for item in progress.items:
        resource = call.cloud.state.find(item.id)
        if item.state == "running" and resource is not None:
            operation = resource.hidden.get("operation")
            if not isinstance(operation, Operation) or not operation.running:
                item.state = "failed" if resource.provisioning == "Failed" else "done"
            if item.state == "failed" and isinstance(operation, Operation):
                _fail(deployment, progress, item, operation.error or {"code": "Failed", "message": "Failed"})
                return
    done = {item.id for item in progress.items if item.state == "done"}
    for item in progress.items:
        if item.state != "waiting" or not set(item.depends_on) <= done:
            continue
        try:
            call.cloud.inner(call, "PUT", item.id, item.api_version, item.body)
        except ArmError as error:
            _fail(deployment, progress, item, error.body())
            return
        item.state = "running"
        operation = call.cloud.state.get(item.id).hidden.get("operation")

        def again() -> None:
            _step(call, deployment, progress, template, scope, began)

        if isinstance(operation, Operation) and operation.running:
            operation.ends.append(again)
        else:
            item.state = "done"
    if all(item.state == "done" for item in progress.items):
        _finish(call, deployment, progress, template, scope, began)
    elif not any(item.state == "running" for item in progress.items):
        _step(call, deployment, progress, template, scope, began)


def _fail(deployment: Resource, progress: Progress, item: Item, error: Json) -> None:
    progress.status = "Failed"
    progress.error = {
        "code": "DeploymentFailed",
        "target": deployment.id,
        "message": "At least one resource deployment operation failed. Please list deployment operations for details."
        " Please see https://aka.ms/arm-deployment-operations for usage details.",
        "details": [{**error, "target": error.get("target", item.id)}],
    }
    deployment.properties["provisioningState"] = "Failed"
    deployment.properties["error"] = progress.error


def _finish(call: Call, deployment: Resource, progress: Progress, template: Json, scope: Scope, began: float) -> None:
    progress.status = "Succeeded"
    outputs: dict[str, Any] = {
        name: {"type": declared["type"].capitalize(), "value": scope.evaluate(declared["value"])}
        for name, declared in template.get("outputs", {}).items()
    }
    deployment.properties.update(
        {
            "provisioningState": "Succeeded",
            "timestamp": stamp(call.cloud.clock.now()),
            "duration": f"PT{call.cloud.clock.elapsed - began:.3f}S",
            "outputs": outputs,
            "outputResources": [{"id": item.id} for item in sorted(progress.items, key=lambda item: item.id)],
        }
    )


def poll(call: Call) -> Answer:
    deployment = call.cloud.state.get(call.path.partition("/operationStatuses/")[0])
    progress: Progress = deployment.hidden["progress"]
    body: Json = {"status": progress.status}
    if progress.error is not None:
        body["error"] = progress.error
    return Answer(200, body)


def validate(call: Call) -> Answer:
    items, _, _ = _items(call)
    body: Json = {
        "id": call.path.removesuffix("/validate"),
        "name": call.name,
        "type": TYPE,
        "properties": {
            "mode": str(call.properties.get("mode", "Incremental")).capitalize(),
            "provisioningState": "Succeeded",
            "timestamp": stamp(call.cloud.clock.now()),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "providers": _providers(items),
            "dependencies": [_dependency(item) for item in items if item.depends_on],
            "validatedResources": [{"id": item.id} for item in items],
        },
    }
    return Answer(200, body)


def delete(call: Call) -> Answer:
    """Removes the deployment's record, not what it deployed."""
    if call.cloud.state.find(call.path) is None:
        return Answer(204)
    call.cloud.state.delete(call.path)
    return Answer(204)


ROUTES = (
    *resource_routes(
        TYPE,
        {"PUT": put, "GET": reader(), "DELETE": delete},
        list_group=lister(TYPE),
        actions={"validate": validate},
    ),
    Route("GET", f"{resource_path(TYPE)}/operationStatuses/{{operation}}", f"GET {TYPE}/operationStatuses", poll),
)
