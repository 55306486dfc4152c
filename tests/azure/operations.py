"""The one engine of long-running operations: how they are begun, polled and ended.

What differs between providers is a row of a table (`Poll`); statuses and headers are those of recorded traffic.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.azure.answers import Answer, ArmError, Call, Json

if TYPE_CHECKING:
    from tests.azure.cloud import Cloud


@dataclass(frozen=True)
class Poll:
    """How one provider's operations are polled. `retry_after` is what polls of a running operation carry."""

    provider: str
    collection: str
    retry_after: int | None = None
    principal: bool = True
    status_only: bool = False
    # Where the Location URL points, when that is another collection
    results: str = ""
    notification: bool = False


COMPUTE = Poll("Microsoft.Compute", "operations", notification=True)
COMPUTE_SLOW = Poll("Microsoft.Compute", "operations", retry_after=30, notification=True)
COMPUTE_CREATE = Poll("Microsoft.Compute", "operations", retry_after=50, notification=True)
DISK = Poll("Microsoft.Compute", "DiskOperations", retry_after=10)
GALLERY = Poll("Microsoft.Compute", "capsOperations", principal=False)
GALLERY_VERSION = Poll("Microsoft.Compute", "capsOperations", retry_after=60, principal=False)
NETWORK = Poll("Microsoft.Network", "operations", retry_after=10, principal=False, status_only=True, notification=True,
               results="operationResults")  # fmt: skip


@dataclass
class Operation:
    id: str
    poll: Poll
    subscription: str
    location: str
    started: datetime
    status: str = "InProgress"
    ended: datetime | None = None
    error: Json | None = None
    # The status document's `properties`, and what the Location URL answers at the end
    properties: Json | None = None
    result: Any = None
    ends: list[Callable[[], None]] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.status == "InProgress"


# Says what an operation yields: what goes into `properties.output` and what the Location URL answers. Raises ArmError.
Finish = Callable[[], Any]


class Operations:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._known: dict[str, Operation] = {}
        self._lock = threading.Lock()

    def start(
        self,
        call: Call,
        poll: Poll,
        location: str,
        seconds: float,
        finish: Finish,
        *,
        failed: Callable[[ArmError], None] | None = None,
        wait: Callable[[], None] | None = None,
        output: bool = False,
    ) -> Operation:
        """Begins an operation that ends after `seconds` on the clock.

        `wait` blocks for what is done in real time (a script) and runs without the cloud's lock. `failed` marks the
        resource when `finish` raises. `output`: the status document carries what `finish` returns.
        """
        operation = Operation(str(uuid.uuid4()), poll, call.subscription, location, self._cloud.clock.now())
        with self._lock:
            self._known[operation.id] = operation
        fault = call.fault
        if fault is not None and fault.kind == "hang":
            return operation
        if fault is not None and fault.kind == "slow":
            seconds *= fault.factor

        def end() -> None:
            if wait is not None:
                wait()
            with self._cloud.lock:
                if operation.running:
                    self._end(operation, finish, failed, output, fault is not None and fault.kind == "fail", call)

        self._cloud.clock.after(seconds, end)
        return operation

    def _end(
        self,
        operation: Operation,
        finish: Finish,
        failed: Callable[[ArmError], None] | None,
        output: bool,
        asked_to_fail: bool,
        call: Call,
    ) -> None:
        try:
            if asked_to_fail and call.fault is not None:
                raise ArmError(call.fault.status, call.fault.code, call.fault.message)
            operation.result = finish()
            operation.status = "Succeeded"
            if output and operation.result is not None:
                operation.properties = {"output": operation.result}
        except ArmError as error:
            operation.status = "Failed"
            operation.error = error.body()
            if failed is not None:
                failed(error)
        operation.ended = self._cloud.clock.now()
        for action in operation.ends:
            action()

    def cancel(self, operation: Operation, code: str, message: str) -> None:
        """Another operation took this one's place."""
        operation.status = "Canceled"
        operation.error = {"code": code, "message": message}
        operation.ended = self._cloud.clock.now()

    def find(self, operation_id: str, poll: Poll) -> Operation:
        found = self._known.get(operation_id)
        if found is None or (found.poll.provider, found.poll.collection) != (poll.provider, poll.collection):
            raise ArmError(404, "NotFound", f"The entity was not found. OperationId: {operation_id}")
        return found

    def headers(self, call: Call, operation: Operation, *, location: bool) -> dict[str, str]:
        """The headers of an accepted call. Both URLs are over 3,000 characters long, as since the end of 2023."""
        found = {"Azure-AsyncOperation": self._url(call, operation, monitor=False)}
        if location:
            found["Location"] = self._url(call, operation, monitor=True)
        if operation.poll.notification:
            found["Azure-AsyncNotification"] = "Enabled"
        return found

    def _url(self, call: Call, operation: Operation, *, monitor: bool) -> str:
        poll = operation.poll
        query = [f"p={_fixed_uuid(operation.subscription)}"] if poll.principal else []
        query += ["monitor=true"] if monitor and not poll.results else []
        query += [f"api-version={call.api_version}", signature(operation.id, operation.started)]
        collection = poll.results if monitor and poll.results else poll.collection
        place = f"providers/{poll.provider}/locations/{operation.location}/{collection}/{operation.id}"
        return f"{call.base_url}/subscriptions/{operation.subscription}/{place}?{'&'.join(query)}"

    def answer(self, call: Call, poll: Poll, *, monitor: bool = False) -> Answer:
        """A poll, of either URL."""
        operation = self.find(call.parameters["operation"], poll)
        headers: dict[str, str] = {}
        if operation.running and operation.poll.retry_after is not None:
            headers["Retry-After"] = str(operation.poll.retry_after)
        if monitor or call.query.get("monitor") == "true":
            return self._monitor(call, operation, headers)
        if operation.poll.status_only:
            body: Json = {"status": operation.status}
        else:
            body = {"startTime": stamp(operation.started)}
            if operation.ended is not None:
                body["endTime"] = stamp(operation.ended)
            body["status"] = operation.status
            if operation.properties is not None:
                body["properties"] = operation.properties
            body["name"] = operation.id
        if operation.error is not None:
            body["error"] = operation.error
        return Answer(200, body, headers)

    def _monitor(self, call: Call, operation: Operation, headers: dict[str, str]) -> Answer:
        if operation.running:
            headers["Location"] = self._url(call, operation, monitor=True)
            return Answer(202, None, headers)
        if operation.error is not None:
            raise ArmError(409, operation.error["code"], operation.error["message"])
        return Answer(200, operation.result, headers)


def stamp(moment: datetime) -> str:
    """A time as Compute writes it: seven digits would be more than datetime has, six are accepted by every client."""
    return moment.isoformat(timespec="microseconds")


def signature(seed: str, moment: datetime) -> str:
    """The query that Azure has added to polling URLs since 2023: a time, a certificate, a signature and a hash."""

    def noise(name: str, size: int) -> str:
        digest = hashlib.shake_256(f"{name}{seed}".encode()).digest(size)
        return urlsafe_b64encode(digest).decode().rstrip("=")

    ticks = int(moment.timestamp() * 10_000_000) + 621_355_968_000_000_000
    return f"t={ticks}&c=MII{noise('c', 1800)}&s={noise('s', 256)}&h={noise('h', 32)}"


def _fixed_uuid(seed: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, seed))
