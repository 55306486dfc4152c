"""Long-running operations: followed to their end, alone or side by side, in this process or in a later one.

Azure accepts a write and names an address to look at: Azure-AsyncOperation (a document with a status) or Location
(202 until it is done). What counts at the end depends on the method: PUT and PATCH yield the resource, read anew; POST
yields what the Location answers or the document's `properties.output`; DELETE yields nothing.
"""

from __future__ import annotations

import heapq
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from builder.azure.errors import AzureError, NotFound, Remedy, azure_error, error_class, fault_of
from builder.azure.pipeline import Answer, Pipeline, Request
from builder.azure.polling import next_poll
from builder.errors import BuildError

ENDED = frozenset({"succeeded", "failed", "canceled", "cancelled"})
# An address to look at an operation: ".../providers/Microsoft.Compute/locations/westeurope/DiskOperations/<id>"
_COLLECTION = re.compile(r"/providers/([^/?]+)/locations/[^/?]+/([^/?]+)/", re.IGNORECASE)
# An operation that failed by a fault inside Azure is begun again so many times, after so many seconds
RESTARTS = (10.0, 30.0)


@dataclass(frozen=True)
class Progress:
    """How an operation is, at a poll. `percent` is None where Azure doesn't say."""

    status: str
    seconds: float
    percent: float | None


OnProgress = Callable[[Progress], None]


class OperationTimeout(AzureError):
    """We stopped waiting. The operation goes on in Azure, and can be followed again by its token."""


@dataclass(eq=False)
class Operation:
    """An operation that Azure accepted. Made by `Azure.put` and its like, or by `Azure.resume`.

    `id` is the resource's id; `started` is on the connection's clock; `doing` says what it does, for messages. `read`:
    whether the resource is looked at in the end, which is then its result.
    """

    id: str
    started: float
    doing: str
    method: str
    resource: Request
    pipeline: Pipeline = field(repr=False)
    status_url: str = field(default="", repr=False)
    location: str = field(default="", repr=False)
    again: Callable[[threading.Event | None], Answer] | None = field(default=None, repr=False)
    read: bool = True
    _result: dict[str, Any] | None = field(default=None, repr=False)
    _error: AzureError | None = field(default=None, repr=False)
    # Why the last look at it failed, which says nothing about the operation itself
    _lost: AzureError | None = field(default=None, repr=False)
    _restarts: int = 0

    def take(self, answer: Answer) -> Operation:
        """Learn from the first answer where to look, or that it is done already. Returns itself."""
        self.started = self.pipeline.clock.now()
        self.status_url = answer.headers.get("azure-asyncoperation", "")
        self.location = answer.headers.get("location", "") if answer.status in (201, 202) else ""
        body = answer.body if isinstance(answer.body, dict) else {}
        if self.status_url or (self.location and answer.status == 202):
            return self
        self.location = ""
        state = _state(body)
        if self.method in ("PUT", "PATCH") and state and state.lower() not in ENDED:
            return self
        if state.lower() in ENDED - {"succeeded"} and self.method in ("PUT", "PATCH"):
            self._error = azure_error(self.doing, 200, _why(body, state), failed=True)
        elif self.method in ("PUT", "PATCH") and not body:
            self._result = self._read(None)
        else:
            self._result = {} if self.method == "DELETE" else body
        return self

    @property
    def ended(self) -> bool:
        """Whether its end was seen; nothing is asked."""
        return self._result is not None or self._error is not None

    def done(self) -> bool:
        """Look once. Whether it has ended, well or not: `wait` then returns or raises at once."""
        self._look(None, None)
        return self.ended

    def wait(
        self,
        *,
        stop: threading.Event | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Follow it to its end. Returns the resource, an action's result, or {}.

        Raises AzureError with Azure's code when it failed, OperationTimeout after `timeout` seconds from now, and
        Interrupted when `stop` is set; after either the operation goes on in Azure.
        """
        _follow([self], stop=stop, timeout=timeout, on_progress=on_progress)
        return self.result()

    def result(self) -> dict[str, Any]:
        """What an ended operation yielded. Raises its AzureError when it failed, or when it can't be looked at."""
        error = self._error or self._lost
        if self._result is None and error is not None:
            raise error
        if self._result is None:
            raise BuildError(f"the operation to {self.doing} has not ended", code="azure-running")
        return self._result

    @property
    def token(self) -> str:
        """Text by which `Azure.resume` follows it in another process. Keep it private: it holds signed addresses."""
        return json.dumps({
            "id": self.id, "method": self.method, "doing": self.doing, "started": self.started,
            "resource": self.resource.url, "operation": self.resource.operation,
            "subscription": self.resource.subscription, "status": self.status_url, "location": self.location,
        })  # fmt: skip

    def _look(self, stop: threading.Event | None, on_progress: OnProgress | None) -> None:
        """One poll, with what its answer calls for."""
        if self.ended:
            return
        self._lost = None
        try:
            self._poll(stop, on_progress)
        except NotFound:
            # Azure forgets operations after some days; the resource itself still tells
            self._from_resource(stop)

    def look(self, stop: threading.Event | None, on_progress: OnProgress | None) -> bool:
        """One poll. Whether another makes sense; where it can't be looked at, what is followed beside it goes on."""
        try:
            self._look(stop, on_progress)
        except AzureError as error:
            self._lost = error
            return False
        return not self.ended

    def _poll(self, stop: threading.Event | None, on_progress: OnProgress | None) -> None:
        if self.status_url:
            answer = self._ask(self.status_url, stop)
            body = answer.body if isinstance(answer.body, dict) else {}
            status = str(body.get("status", ""))
            self._tell(on_progress, status, body.get("percentComplete"))
            if status.lower() == "succeeded":
                self._succeed(body, stop)
            elif status.lower() in ENDED:
                self._fail(body, status, stop)
        elif self.location:
            answer = self._ask(self.location, stop)
            self._tell(on_progress, "InProgress" if answer.status == 202 else "Succeeded", None)
            if answer.status == 202:
                self.location = answer.headers.get("location", self.location)
            else:
                self._end_by_location(answer, stop)
        else:
            self._from_resource(stop)

    def _succeed(self, document: dict[str, Any], stop: threading.Event | None) -> None:
        if self.method in ("PUT", "PATCH"):
            self._result = self._read(stop) if self.read else {}
            return
        if self.method == "DELETE":
            self._result = {}
            return
        properties = document.get("properties")
        output = properties.get("output") if isinstance(properties, dict) else None
        if not isinstance(output, dict) and self.location:
            output = self._ask(self.location, stop).body
        self._result = output if isinstance(output, dict) else {}

    def _end_by_location(self, answer: Answer, stop: threading.Event | None) -> None:
        if self.method in ("PUT", "PATCH"):
            self._result = self._read(stop) if self.read else {}
        else:
            self._result = answer.body if self.method == "POST" and isinstance(answer.body, dict) else {}

    def _from_resource(self, stop: threading.Event | None) -> None:
        """Where no operation can be asked: the resource's own state."""
        try:
            body = self._read(stop)
        except NotFound:
            if self.method != "DELETE":
                raise
            self._result = {}
            return
        state = _state(body)
        if state.lower() in ENDED - {"succeeded"}:
            self._error = azure_error(self.doing, 200, _why(body, state), failed=True)
        elif self.method in ("PUT", "PATCH") and state.lower() in ("", "succeeded"):
            self._result = body
        elif self.method == "POST" and state.lower() in ("", "succeeded"):
            self._result = {}

    def _fail(self, document: dict[str, Any], status: str, stop: threading.Event | None) -> None:
        fault = fault_of(200, document).meant
        remedy = error_class(200, fault.code, fault.message).remedy
        if remedy is Remedy.RETRY and self.again is not None and self._restarts < len(RESTARTS):
            self.pipeline.pause(RESTARTS[self._restarts], stop)
            self._restarts += 1
            self.take(self.again(stop))
            return
        self._error = azure_error(self.doing, 200, _why(document, status), failed=True)

    def _read(self, stop: threading.Event | None) -> dict[str, Any]:
        body = self.pipeline.call(self.resource, stop).body
        return body if isinstance(body, dict) else {}

    def _ask(self, url: str, stop: threading.Event | None) -> Answer:
        url = self.pipeline.check_address(url)
        # Limits are those of the collection that is polled, whatever the operation does
        polled = _COLLECTION.search(url)
        name = f"POLL {'/'.join(polled.groups()) if polled else self.resource.operation.partition(' ')[2]}"
        return self.pipeline.call(Request("GET", url, name, self.doing, subscription=self.resource.subscription), stop)

    def _tell(self, on_progress: OnProgress | None, status: str, percent: object) -> None:
        if on_progress is not None:
            shown = float(percent) if isinstance(percent, int | float) else None
            on_progress(Progress(status, self.pipeline.clock.now() - self.started, shown))


def wait_all(
    operations: Sequence[Operation],
    *,
    stop: threading.Event | None = None,
    timeout: float | None = None,
    on_progress: OnProgress | None = None,
) -> list[dict[str, Any]]:
    """Follow operations side by side until all have ended. Returns what they yielded, in their order.

    Raises the first error (in their order) once all have ended, so that nothing goes on behind a caller's back.
    """
    _follow(operations, stop=stop, timeout=timeout, on_progress=on_progress)
    return [operation.result() for operation in operations]


def _follow(
    operations: Sequence[Operation],
    *,
    stop: threading.Event | None,
    timeout: float | None,
    on_progress: OnProgress | None,
) -> None:
    running = [operation for operation in operations if not operation.ended]
    if not running:
        return
    pipeline = running[0].pipeline
    clock = pipeline.clock
    deadline = None if timeout is None else clock.now() + timeout
    # The number keeps operations that are due together in their order
    due = [(_next(operation, clock.now()), number, operation) for number, operation in enumerate(running)]
    heapq.heapify(due)
    while due:
        moment, number, operation = heapq.heappop(due)
        late = deadline is not None and moment > deadline
        pipeline.pause((deadline if late and deadline is not None else moment) - clock.now(), stop)
        if not operation.look(stop, on_progress):
            continue
        if late:
            raise OperationTimeout(
                f"Azure needs more than {timeout:g} s to {operation.doing}; it goes on there",
                code="azure-timeout",
                remedy=Remedy.WAIT,
                hint="run build apply again: it follows what Azure still does",
            )
        heapq.heappush(due, (_next(operation, clock.now()), number, operation))


def _next(operation: Operation, now: float) -> float:
    return now + next_poll(max(0.0, now - operation.started))


def _state(body: dict[str, Any]) -> str:
    properties = body.get("properties")
    return str(properties.get("provisioningState") or "") if isinstance(properties, dict) else ""


def _why(body: dict[str, Any], status: str) -> dict[str, Any]:
    """A document that says why, also where Azure gives no reason."""
    return body if "error" in body else {"error": {"code": status, "message": "Azure gives no reason"}}
