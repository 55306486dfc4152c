"""What goes in and out of the simulator: calls, answers, and errors in the form that Azure gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.azure.cloud import Cloud
    from tests.azure.faults import Fault

Json = dict[str, Any]


@dataclass
class Answer:
    """A response. `body` None is an empty body, which is what Azure sends with most 202s."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class ArmError(Exception):
    """A refusal: `{"error": {"code", "message", ...}}` with an HTTP status."""

    def __init__(
        self, status: int, code: str, message: str, *, target: str | None = None, details: list[Json] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details
        self.headers: dict[str, str] = {}

    def body(self) -> Json:
        error: Json = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        if self.details is not None:
            error["details"] = self.details
        return error

    def answer(self) -> Answer:
        return Answer(self.status, {"error": self.body()}, dict(self.headers))


def bad_request(message: str, *, code: str = "InvalidParameter", target: str | None = None) -> ArmError:
    return ArmError(400, code, message, target=target)


def conflict(message: str, *, code: str = "OperationNotAllowed", target: str | None = None) -> ArmError:
    return ArmError(409, code, message, target=target)


def not_found(resource_type: str, name: str, group: str) -> ArmError:
    """What the gateway answers for a resource that it doesn't know."""
    error = ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{resource_type}/{name}' under resource group '{group}' was not found."
        " For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )
    error.headers["x-ms-failure-cause"] = "gateway"
    return error


@dataclass
class Call:
    """One request, taken apart. `path` keeps the caller's letter case, as Azure does in ids."""

    cloud: Cloud
    method: str
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    base_url: str
    operation: str = ""
    fault: Fault | None = None

    @property
    def api_version(self) -> str:
        return self.query.get("api-version", "")

    @property
    def subscription(self) -> str:
        return self.parameters["subscription"]

    @property
    def group(self) -> str:
        return self.parameters["group"]

    @property
    def name(self) -> str:
        return self.parameters["name"]

    @property
    def owner(self) -> str:
        """The id of the resource that an action is done to: the path without its last word."""
        return self.path.rpartition("/")[0]

    @property
    def document(self) -> Json:
        """The body, which must be a JSON object."""
        if not isinstance(self.body, dict):
            raise ArmError(
                400, "InvalidRequestContent", "The request content was invalid and could not be deserialized."
            )
        return self.body

    @property
    def properties(self) -> Json:
        found = self.document.get("properties")
        return found if isinstance(found, dict) else {}


def copy(value: Any) -> Any:
    """A deep copy of JSON: what a client holds must never change under it."""
    return json.loads(json.dumps(value))


def without_nulls(value: Any) -> Any:
    """Azure treats `null` as not given."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
