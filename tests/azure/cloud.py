"""The cloud behind the server: takes a request, gives an answer, keeps the traffic. Knows nothing of sockets."""

from __future__ import annotations

import re
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.azure.answers import Answer, ArmError, Call, Json
from tests.azure.api_versions import check_api_version
from tests.azure.catalogue import Catalogue
from tests.azure.clock import Clock
from tests.azure.faults import Fault, Faults
from tests.azure.guests import Guests
from tests.azure.latencies import LATENCIES
from tests.azure.operations import Operations
from tests.azure.router import Route, Router
from tests.azure.state import State
from tests.azure.throttle import Throttle, too_many
from tests.azure.traffic import Pair, Traffic

if TYPE_CHECKING:
    from tests.azure.blobs import Blobs

SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
TENANT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


class Dropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Request:
    """What came over the wire. `url` is the path with its query; `base_url` what the client calls us."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    base_url: str


class Cloud:
    def __init__(
        self,
        clock: Clock,
        guests: Guests,
        *,
        blobs: Blobs | None = None,
        retry_after: int | None = None,
        throttle: bool = True,
        latencies: Mapping[str, float] | None = None,
    ) -> None:
        from tests.azure.kinds.vaults import Vaults
        from tests.azure.routes import ROUTES

        self.clock = clock
        self.guests = guests
        self.blobs = blobs
        self.retry_after = retry_after
        self.latencies = {**LATENCIES, **(latencies or {})}
        self.lock = threading.RLock()
        self.state = State()
        self.catalogue = Catalogue()
        self.operations = Operations(self)
        self.throttle = Throttle(clock, enforced=throttle)
        self.faults = Faults()
        self.traffic = Traffic()
        self.vaults = Vaults()
        self.subscriptions: dict[str, str] = {SUBSCRIPTION: "Simulated"}
        self.mistakes: list[str] = []
        # What callers proved themselves with, and (if set) why they are refused a token
        self.token_requests: list[Json] = []
        self.refuse_tokens: str | None = None
        self._router = Router(ROUTES)

    @staticmethod
    def token_time() -> float:
        """Clients compare a token's times with their own clock, which is the real one."""
        return time.time()

    def seconds(self, name: str) -> float:
        """The latency of that name."""
        return self.latencies[name]

    def answer(self, request: Request) -> Answer:
        """Answers a request and logs the pair. Raises Dropped when a fault says that the connection closes."""
        moment = self.clock.elapsed
        struck = len(self.faults.fired)
        try:
            answer, operation, dropped = self._answer(request)
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
            # Azure would have an answer; that this has none is a mistake here, and ends the test that met it
            self.mistakes.append(f"{request.method} {request.url}: {traceback.format_exc()}")
            answer, operation, dropped = ArmError(500, "InternalServerError", repr(error)).answer(), "?", False
        if self.retry_after is not None and _is_operation(answer):
            answer.headers["Retry-After"] = str(self.retry_after)
        if operation:
            answer.headers.update(_identity(request))
            if answer.body is not None:
                answer.headers["Content-Type"] = "application/json; charset=utf-8"
            # A client that saw no answer has none; a validator would rightly complain about a made-up one
            if not dropped:
                self._log(request, answer, operation, moment, injected=len(self.faults.fired) > struck)
        if dropped:
            raise Dropped
        return answer

    def inner(self, call: Call, method: str, path: str, api_version: str, body: Any) -> Answer:
        """A call that Azure makes to itself, as a template deployment does: not throttled, not logged."""
        found = self._router.find(method, path)
        if found is None:
            raise ArmError(404, "InvalidResourceType", f"The resource type of '{path}' could not be found.")
        route, parameters = found
        fault = self.faults.strike(route.operation, path)
        inner = self._call(
            Request(method, path, {}, body, call.base_url), route, parameters, {"api-version": api_version}, fault
        )
        if fault is not None and fault.kind == "refuse":
            raise ArmError(fault.status, fault.code, fault.message)
        return route.handler(inner)

    def _answer(self, request: Request) -> tuple[Answer, str, bool]:
        parts = urlsplit(request.url)
        path = re.sub(r"//+", "/", parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        found = self._router.find(request.method, path)
        if found is None:
            return self._unknown(request.method, path).answer(), f"{request.method} ?", False
        route, parameters = found
        if route.open:
            return route.handler(self._call(request, route, parameters, query, None)), "", False
        with self.lock:
            fault = self.faults.strike(route.operation, path)
            if fault is not None and fault.kind == "drop":
                return Answer(0), route.operation, True
            answer = self._guarded(request, route, parameters, query, fault)
            return answer, route.operation, fault is not None and fault.kind == "lose"

    def _guarded(
        self, request: Request, route: Route, parameters: dict[str, str], query: dict[str, str], fault: Fault | None
    ) -> Answer:
        headers: dict[str, str] = {}
        try:
            self._admit(request, parameters)
            check_api_version(route.operation, query.get("api-version"))
            refused, headers = self.throttle.draw(
                parameters.get("subscription", ""), request.method, route.operation, urlsplit(request.url).path
            )
            if fault is not None and fault.kind == "throttle":
                refused = too_many(fault.retry_after, "TooManyRequests")
                self.throttle.told(parameters.get("subscription", ""), route.operation, fault.retry_after)
            if fault is not None and fault.kind == "refuse":
                refused = ArmError(fault.status, fault.code, fault.message).answer()
            if refused is None:
                refused = route.handler(self._call(request, route, parameters, query, fault))
            answer = refused
        except ArmError as error:
            answer = error.answer()
        answer.headers = {**headers, **answer.headers}
        return answer

    def _call(
        self, request: Request, route: Route, parameters: dict[str, str], query: dict[str, str], fault: Fault | None
    ) -> Call:
        group = self.state.find(
            f"/subscriptions/{parameters.get('subscription')}/resourceGroups/{parameters.get('group')}"
        )
        if group is not None:
            parameters = {**parameters, "group": group.name}
        path = route.path(parameters)
        if "group" in parameters and "/providers/" in path:
            self._check_group(request.method, parameters)
        return Call(
            self, request.method, path, parameters, query, request.headers, request.body, request.base_url,
            route.operation, fault,
        )  # fmt: skip

    def _admit(self, request: Request, parameters: Mapping[str, str]) -> None:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            error = ArmError(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
            error.headers["WWW-Authenticate"] = (
                f'Bearer authorization_uri="{request.base_url}/{TENANT}", error="invalid_token"'
            )
            raise error
        subscription = parameters.get("subscription")
        if subscription is not None and subscription.lower() not in self.subscriptions:
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")

    def _check_group(self, method: str, parameters: Mapping[str, str]) -> None:
        group = self.state.find(f"/subscriptions/{parameters['subscription']}/resourceGroups/{parameters['group']}")
        if group is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{parameters['group']}' could not be found.")
        if group.provisioning == "Deleting" and method in ("PUT", "PATCH"):
            raise ArmError(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{group.name}' is in deprovisioning state and cannot perform this operation.",
            )

    def _unknown(self, method: str, path: str) -> ArmError:
        methods = self._router.methods(path)
        if methods:
            return ArmError(405, "MethodNotAllowed", f"{method} is not known here; known are {', '.join(methods)}.")
        return ArmError(404, "InvalidResourceType", f"No simulated resource type answers '{path}'.")

    def _log(self, request: Request, answer: Answer, operation: str, moment: float, *, injected: bool) -> None:
        self.traffic.add(
            Pair(
                moment,
                operation,
                request.method,
                request.base_url + request.url,
                {name: value for name, value in request.headers.items() if name != "authorization"},
                request.body,
                answer.status,
                dict(answer.headers),
                answer.body,
                injected,
            )
        )


def _is_operation(answer: Answer) -> bool:
    """Whether a client will look at Retry-After: an accepted operation, or a poll of a running one."""
    if answer.status == 429:
        return False
    body: Json = answer.body if isinstance(answer.body, dict) else {}
    waiting = body.get("status") in ("InProgress", "Accepted", "Running") and "id" not in body
    return waiting or any(name in answer.headers for name in ("Azure-AsyncOperation", "Location"))


def _identity(request: Request) -> dict[str, str]:
    """The headers that every answer of ARM has."""
    unique = str(uuid.uuid4())
    return {
        "x-ms-request-id": unique,
        "x-ms-correlation-request-id": request.headers.get("x-ms-correlation-request-id", unique),
        "x-ms-routing-request-id": f"WESTEUROPE:{unique}",
    }
