"""What all kinds of resources share: how a write is accepted, a resource is read, listed and removed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.azure.answers import Answer, ArmError, Call, Json, conflict, copy, without_nulls
from tests.azure.operations import Operation, Poll
from tests.azure.router import Handler
from tests.azure.state import Resource


@dataclass(frozen=True)
class Manner:
    """How a kind answers writes: statuses, words and headers, as recorded.

    `location`: PUT and PATCH carry a Location too. `output`: the status document carries the whole resource.
    """

    poll: Poll
    created: int = 201
    updated: int = 200
    creating: str = "Creating"
    updating: str = "Updating"
    location: bool = False
    output: bool = False
    retry_after: int | None = None
    update_retry_after: int | None = None
    delete_retry_after: int | None = None


View = Callable[[Call, Resource], Json]


def shown(_call: Call, resource: Resource) -> Json:
    """The usual view of a resource: all of its body."""
    found: Json = copy(resource.body)
    return found


def new_body(call: Call, resource_type: str, resource_id: str, *, keys: tuple[str, ...] = ()) -> Json:
    """The frame of a resource as its provider shows it, with what the caller gave for the common members."""
    given = call.document
    if not isinstance(given.get("location"), str):
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    body: Json = {"name": resource_id.rsplit("/", 1)[-1], "id": resource_id, "type": resource_type}
    body["location"] = normal_location(given["location"])
    for key in ("tags", *keys):
        if given.get(key) is not None:
            body[key] = without_nulls(given[key])
    return body


def normal_location(location: str) -> str:
    return location.replace(" ", "").lower()


def check_free(resource: Resource) -> None:
    """Raises ArmError 409 while an earlier write to this resource runs."""
    operation = resource.hidden.get("operation")
    if isinstance(operation, Operation) and operation.running:
        raise conflict(
            f"Another operation is in progress on the resource '{resource.id}'. Please retry later.",
            code="AnotherOperationInProgress",
        )


def accept(
    call: Call,
    resource: Resource,
    manner: Manner,
    seconds: float,
    finish: Callable[[], None],
    *,
    new: bool,
    wait: Callable[[], None] | None = None,
    first: Json | None = None,
    failed: Callable[[ArmError], None] | None = None,
) -> Answer:
    """Stores a PUT's or PATCH's resource and begins its operation. `first` is the answer's body where it differs."""
    cloud = call.cloud
    resource.properties["provisioningState"] = manner.creating if new else manner.updating
    cloud.state.put(resource)

    def end() -> Any:
        finish()
        resource.properties["provisioningState"] = "Succeeded"
        return copy(resource.body) if manner.output else None

    def mark(error: ArmError) -> None:
        resource.properties["provisioningState"] = "Failed"
        if failed is not None:
            failed(error)

    operation = cloud.operations.start(
        call, manner.poll, resource.location, seconds, end, failed=mark, wait=wait, output=manner.output
    )
    resource.hidden["operation"] = operation
    headers = cloud.operations.headers(call, operation, location=manner.location)
    retry_after = manner.retry_after if new else manner.update_retry_after
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    body = copy(resource.body if first is None else first)
    body.setdefault("properties", {})["provisioningState"] = resource.provisioning
    return Answer(manner.created if new else manner.updated, body, headers)


def act(
    call: Call,
    resource: Resource,
    poll: Poll,
    seconds: float,
    finish: Callable[[], Any],
    *,
    retry_after: int | None = None,
    output: bool = False,
    wait: Callable[[], None] | None = None,
    exclusive: bool = True,
) -> Answer:
    """Accepts a POST action: 202, empty, with both headers. `finish` returns what the Location URL answers."""
    operation = call.cloud.operations.start(call, poll, resource.location, seconds, finish, output=output, wait=wait)
    if exclusive:
        resource.hidden["operation"] = operation
    headers = call.cloud.operations.headers(call, operation, location=True)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Answer(202, None, headers)


def remove(
    call: Call,
    manner: Manner,
    seconds: float,
    *,
    check: Callable[[Resource], None] = lambda _resource: None,
    finish: Callable[[Resource], None] = lambda _resource: None,
) -> Answer:
    """Accepts a DELETE; 204 when there is nothing. `check` may refuse, `finish` undoes what refers to it."""
    state = call.cloud.state
    resource = state.find(call.path)
    if resource is None:
        return Answer(204)
    check(resource)
    # A delete may come in the middle of a create; the create then ends without effect
    running = resource.hidden.get("operation")
    if isinstance(running, Operation) and running.running:
        call.cloud.operations.cancel(running, "OperationPreempted", "The operation was preempted by a delete.")
    resource.properties["provisioningState"] = "Deleting"

    def end() -> None:
        finish(resource)
        state.delete(resource.id)
        for nested in state.under(resource.id):
            state.delete(nested.id)

    def stays(_error: ArmError) -> None:
        resource.properties["provisioningState"] = "Failed"

    operation = call.cloud.operations.start(call, manner.poll, resource.location, seconds, end, failed=stays)
    resource.hidden["operation"] = operation
    headers = call.cloud.operations.headers(call, operation, location=True)
    if manner.delete_retry_after is not None:
        headers["Retry-After"] = str(manner.delete_retry_after)
    return Answer(202, None, headers)


def reader(view: View = shown) -> Handler:
    """GET of one resource."""

    def read(call: Call) -> Answer:
        return Answer(200, view(call, call.cloud.state.get(call.path)))

    return read


def lister(resource_type: str, view: View = shown) -> Handler:
    """GET of a collection: in a group, below a parent, or in the whole subscription, by what the path says."""

    def read(call: Call) -> Answer:
        parent = call.path.rpartition("/")[0]
        parents = [name for name in call.parameters if name not in ("subscription", "group")]
        if parents:
            call.cloud.state.get(parent)
        below = parent if parents else call.path.partition("/providers/")[0]
        found = call.cloud.state.of_type(resource_type, below=below)
        return Answer(200, {"value": [view(call, resource) for resource in found]})

    return read


def merge(old: Json, changes: Json) -> Json:
    """JSON merge of a PATCH's body: objects are merged, everything else is replaced. Tags are replaced as a whole."""
    merged = dict(old)
    for key, value in changes.items():
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "tags":
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def new_uuid() -> str:
    return str(uuid.uuid4())
