"""The gateway to Azure: reads, writes and their operations, for one subscription and whatever its identity may see.

Bodies are Resource Manager's JSON as dicts, in its own letter case. Network, resource groups and the Marketplace go the
same way as Compute: their packages would cost every start time and memory, and bring nothing but classes.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.azure.api_versions import api_version as pinned
from builder.azure.clock import Clock, RealClock
from builder.azure.clouds import Cloud, current
from builder.azure.credentials import Login, sign_in
from builder.azure.errors import AzureError, NotFound
from builder.azure.ids import GROUP_KIND, SUBSCRIPTION_KIND, ResourceId
from builder.azure.names import check_name
from builder.azure.operations import Operation
from builder.azure.pipeline import Calls, ConnectionLost, Pipeline, Request
from builder.errors import BuildError, Unreachable

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

Json = dict[str, Any]
# What must not be sent twice where an answer was lost: a script would run twice
_ONCE = ("virtualmachines/runcommands", "virtualmachines/runcommand")
# What isn't begun again after it failed: these are to be deleted first. A VM that failed stands there switched off, and
# another PUT leaves it so
_NOT_RESTARTED = (*_ONCE, "galleries/images/versions", "put microsoft.compute/virtualmachines")
# A 404 that speaks of something else than the resource
_NOT_ABSENT = ("SubscriptionNotFound", "InvalidResourceType", "InvalidResourceNamespace")
_VERBS = {"GET": "read", "PUT": "make", "PATCH": "change", "DELETE": "delete"}
_PARTS_OF_TOKEN = ("id", "method", "doing", "resource", "operation", "subscription", "status", "location")


class Azure:
    """One subscription, by one identity. Thread-safe; nothing is asked before the first call."""

    def __init__(self, subscription: str, pipeline: Pipeline) -> None:
        self.subscription = subscription
        self._pipeline = pipeline

    @property
    def cloud(self) -> Cloud:
        """The cloud it is in."""
        return self._pipeline.cloud

    @property
    def clock(self) -> Clock:
        """What waiting passes on."""
        return self._pipeline.clock

    @property
    def calls(self) -> Calls:
        """Counts of what was asked, over all subscriptions of this cloud."""
        return self._pipeline.calls

    @property
    def scarce(self) -> bool:
        """Whether reads are running short: one that only tells how far something has come is better left out."""
        return self._pipeline.scarce(self.subscription)

    def get(self, id: ResourceId, *, expand: str | None = None) -> Json:
        """A resource. `expand` asks for more of it ("instanceView"). Raises NotFound, or AzureError."""
        return self._object(self._reading(id, expand))

    def find(self, id: ResourceId, *, expand: str | None = None) -> Json | None:
        """A resource, or None where there is none (or its group, or its parent, is not there). Raises AzureError."""
        try:
            return self.get(id, expand=expand)
        except NotFound as missing:
            if missing.azure_code in _NOT_ABSENT:
                raise
            return None

    def list(self, place: ResourceId | str, kind: str, *, query: Mapping[str, str] | None = None) -> list[Json]:
        """All resources of a kind below a subscription, group or resource; or at a collection's path.

        `list(group, "Microsoft.Compute/disks")`, `list(definition, "Microsoft.Compute/galleries/images/versions")`.
        Raises AzureError.
        """
        found: list[Json] = []
        path = place if isinstance(place, str) else _collection(place, kind)
        url = self._pipeline.address(path, pinned(kind), query)
        while url:
            request = Request("GET", url, f"LIST {kind}", f"list {kind}", subscription=_subscription_of(path))
            page = self._pipeline.call(request).body
            if isinstance(page, list):
                # The Marketplace's lists have no frame
                return found + page
            if not isinstance(page, dict):
                raise _unreadable(request)
            found += page.get("value") or []
            following = page.get("nextLink")
            url = self._pipeline.check_address(following) if following else ""
        return found

    def read(
        self, path: str, *, kind: str = "", api_version: str | None = None, query: Mapping[str, str] | None = None
    ) -> Json:
        """Any other GET of a JSON object. `kind` picks the api-version where none is given. Raises AzureError."""
        version = api_version or pinned(kind)
        url = self._pipeline.address(path, version, query)
        name = kind or path.rpartition("/")[2]
        doing = f"read {path.rpartition('/providers/')[2] or path}"
        return self._object(Request("GET", url, f"GET {name}", doing, subscription=_subscription_of(path)))

    def put(self, id: ResourceId, body: Json, *, stop: threading.Event | None = None, read: bool = True) -> Operation:
        """Make a resource, or bring it to what `body` says. Without `read`, nobody asks what it became.

        Raises AzureError when that is refused, BuildError for a name that Azure doesn't allow.
        """
        check_name(id.kind, id.name)
        return self._write("PUT", id, body, stop, read=read)

    def patch(self, id: ResourceId, body: Json, *, stop: threading.Event | None = None, read: bool = True) -> Operation:
        """Change what `body` names of a resource; `read` as for `put`. Raises AzureError when that is refused."""
        return self._write("PATCH", id, body, stop, read=read)

    def delete(
        self, id: ResourceId, *, query: Mapping[str, str] | None = None, stop: threading.Event | None = None
    ) -> Operation:
        """Delete a resource; fine where there is none. Raises AzureError when that is refused."""
        return self._write("DELETE", id, None, stop, query=query)

    def post(
        self, id: ResourceId, action: str, body: Json | None = None, *, stop: threading.Event | None = None
    ) -> Operation:
        """Do something with a resource: "deallocate", "beginGetAccess". Raises AzureError when that is refused."""
        return self._write("POST", id, body, stop, action=action)

    def resume(self, token: str) -> Operation:
        """Follow an operation that another process began, by `Operation.token`. Raises BuildError for no such text."""
        try:
            kept = json.loads(token)
            parts = {name: str(kept[name]) for name in _PARTS_OF_TOKEN}
            started = float(kept["started"])
        except (ValueError, KeyError, TypeError) as error:
            raise BuildError("the kept operation can't be read", code="azure-token") from error
        url = self._pipeline.check_address(parts["resource"])
        resource = Request("GET", url, parts["operation"], parts["doing"], subscription=parts["subscription"])
        return Operation(parts["id"], started, parts["doing"], parts["method"], resource, self._pipeline,
                         parts["status"], parts["location"])  # fmt: skip

    def _reading(self, id: ResourceId, expand: str | None = None) -> Request:
        url = self._pipeline.address(str(id), pinned(id.kind), {"$expand": expand} if expand else None)
        return Request("GET", url, f"GET {id.kind}", f"read {id.short}", subscription=id.subscription)

    def _object(self, request: Request) -> Json:
        body = self._pipeline.call(request).body
        if not isinstance(body, dict):
            raise _unreadable(request)
        return body

    def _write(
        self,
        method: str,
        id: ResourceId,
        body: Json | None,
        stop: threading.Event | None,
        *,
        action: str = "",
        query: Mapping[str, str] | None = None,
        read: bool = True,
    ) -> Operation:
        doing = f"{action or _VERBS[method]} {id.short}"
        path = f"{id}/{action}" if action else str(id)
        operation = f"{method} {id.kind}/{action}" if action else f"{method} {id.kind}"
        kind = operation.partition(" ")[2].lower()
        twice = method in ("PATCH", "DELETE") or not kind.endswith(_ONCE)
        again = not operation.lower().endswith(_NOT_RESTARTED)
        url = self._pipeline.address(path, pinned(id.kind), query)
        request = Request(method, url, operation, doing, body, id.subscription, twice)
        reading = self._reading(id)
        following = Operation(
            str(id), self.clock.now(), doing, method, reading, self._pipeline,
            again=(lambda stopped: self._pipeline.call(request, stopped)) if again else None, read=read,
        )  # fmt: skip
        try:
            return following.take(self._pipeline.call(request, stop))
        except ConnectionLost as lost:
            # What must not be sent twice may have arrived all the same; then it is there, and is followed
            if not lost.sent or twice or method != "PUT" or self.find(id) is None:
                raise
            return following
        except NotFound:
            if method != "DELETE" or self.find(id) is not None:
                raise
            following._result = {}
            return following


def _collection(place: ResourceId, kind: str) -> str:
    """The path of a collection: of a kind right below a resource, or anywhere below a group or subscription."""
    if place.provider and kind.lower().startswith(place.kind.lower() + "/"):
        return f"{place}/{kind[len(place.kind) + 1 :]}"
    if kind.lower() == GROUP_KIND.lower():
        return f"/subscriptions/{place.subscription}/resourceGroups"
    if kind.lower() == "microsoft.resources/resources":
        return f"{place}/resources"
    return f"{place}/providers/{kind}"


def _unreadable(request: Request) -> AzureError:
    return AzureError(f"Azure's answer to the request to {request.doing} is no JSON object", code="azure-answer")


def _subscription_of(path: str) -> str:
    parts = path.split("/")
    return parts[2] if len(parts) > 2 and parts[1].lower() == "subscriptions" else ""


def make(subscription: str, cloud: Cloud, credential: TokenCredential, clock: Clock | None = None) -> Azure:
    """A connection of one's own: to this cloud, with any token credential of the SDK's kind."""
    return Azure(subscription, Pipeline(cloud, credential, clock or RealClock()))


_LOCK = threading.Lock()
_PIPELINES: dict[Login, Pipeline] = {}
_CONNECTIONS: dict[tuple[Login, str], Azure] = {}


def connect(
    subscription: str | None = None, *, clock: Clock | None = None, environment: Mapping[str, str] | None = None
) -> Azure:
    """The connection to a subscription: the one given, else AZURE_SUBSCRIPTION_ID, else the only one to be seen.

    Which cloud (AZURE_CLOUD) and who signs in (`builder.azure.credentials`) come from the environment. Connections of
    one cloud share identity, limits and counts, and are kept for the life of the process. Raises BuildError when the
    cloud is none, or when there is no single subscription.
    """
    given = os.environ if environment is None else environment
    cloud = current(given)
    login = sign_in(cloud, given)
    wanted = subscription or given.get("AZURE_SUBSCRIPTION_ID", "").strip()
    with _LOCK:
        pipeline = _PIPELINES.get(login)
        if pipeline is None:
            pipeline = _PIPELINES[login] = Pipeline(cloud, login, clock or RealClock())
        wanted = wanted or _only_subscription(pipeline)
        key = (login, wanted.lower())
        if key not in _CONNECTIONS:
            _CONNECTIONS[key] = Azure(wanted, pipeline)
        return _CONNECTIONS[key]


def _only_subscription(pipeline: Pipeline) -> str:
    seen = [each for each in Azure("", pipeline).list("/subscriptions", SUBSCRIPTION_KIND)
            if each.get("state") in (None, "Enabled", "Warned")]  # fmt: skip
    if len(seen) == 1:
        return str(seen[0]["subscriptionId"])
    names = sorted(f"{each['subscriptionId']} ({each.get('displayName', '')})" for each in seen)
    raise Unreachable(
        f"the signed-in identity sees {len(seen) or 'no'} subscriptions" + (": which one?" if seen else ""),
        code="azure-subscription",
        hint="set AZURE_SUBSCRIPTION_ID" if seen else "give the identity a role in a subscription",
        detail="\n".join(names) or None,
    )
