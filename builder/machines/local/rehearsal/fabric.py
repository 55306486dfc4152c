"""The wire server and the instance metadata service of the rehearsed deployment.

The guest's connections to 168.63.129.16 and 169.254.169.254 arrive on a Unix socket (QEMU starts a relay for each). The
guest's report of its health is the verdict that Azure waits for; all that it asks is remembered, for the error when
that verdict doesn't come.
"""

from __future__ import annotations

import html
import json
import os
import re
import socketserver
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from builder.machines.local.rehearsal import deployment as documents
from builder.machines.local.rehearsal.deployment import Deployment

SOCKET_NAME = "fabric.sock"
# More than any health report; telemetry that is longer is cut by the guest itself
LARGEST_BODY = 4 * 1024 * 1024
REMEMBERED = 200
IDLE_SECONDS = 60
XML = "text/xml; charset=utf-8"
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Asked:
    """One request of the guest. `seconds` since the fabric began, `program` as it names itself."""

    seconds: float
    method: str
    target: str
    status: int
    program: str

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s  {self.status}  {self.method} {self.target}"


@dataclass(frozen=True)
class Verdict:
    """What the guest reported about its provisioning. `state` is Ready or NotReady."""

    state: str
    substatus: str
    description: str
    seconds: float
    program: str

    @property
    def ready(self) -> bool:
        """The machine is provisioned."""
        return self.state == "Ready"

    @property
    def failed(self) -> bool:
        """Provisioning has failed for good. The agent also says NotReady while it is still at work."""
        return self.state == "NotReady" and self.substatus == "ProvisioningFailed"


@dataclass(frozen=True)
class Request:
    """A request as it came. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """What the guest gets."""

    body: str = ""
    content_type: str = XML
    status: int = HTTPStatus.OK


@dataclass(frozen=True)
class Route:
    """One thing that guests ask for. `path` must match whole; `query` must be among the query's parameters."""

    method: str
    path: str
    query: Mapping[str, str]
    answer: Callable[[Fabric, Request], Response]


class Fabric:
    """Answers the guest. Thread-safe: every connection has a thread of its own.

    `on_asked` and `on_verdict` are called from those threads.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        generalized: bool,
        on_asked: Callable[[Asked], None],
        on_verdict: Callable[[Verdict], None],
    ) -> None:
        self.deployment = deployment
        self.metadata = documents.instance_metadata(deployment, generalized=generalized)
        self.on_asked = on_asked
        self.on_verdict = on_verdict
        self._began = time.monotonic()
        self._asked: deque[Asked] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The last requests, oldest first."""
        with self._lock:
            return tuple(self._asked)

    def seconds(self) -> float:
        """The time since the fabric began."""
        return time.monotonic() - self._began

    def answer(self, request: Request) -> Response:
        """The answer to one request, which is remembered."""
        response = self._route(request)
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        asked = Asked(
            self.seconds(),
            request.method,
            request.path + (f"?{query}" if query else ""),
            response.status,
            request.headers.get("user-agent", ""),
        )
        with self._lock:
            self._asked.append(asked)
        self.on_asked(asked)
        return response

    def _route(self, request: Request) -> Response:
        for route in ROUTES:
            if (
                request.method == route.method
                and re.fullmatch(route.path, request.path)
                and route.query.items() <= request.query.items()
            ):
                return route.answer(self, request)
        return Response("", XML, HTTPStatus.NOT_FOUND)

    def report(self, state: str, substatus: str, description: str, request: Request) -> Response:
        """Take the guest's report of its health."""
        program = request.headers.get("user-agent") or request.headers.get("x-ms-agent-name", "")
        self.on_verdict(Verdict(state, substatus, description, self.seconds(), program))
        return Response()


def _goal_state(fabric: Fabric, request: Request) -> Response:
    return Response(documents.goal_state(fabric.deployment))


def _versions(fabric: Fabric, request: Request) -> Response:
    return Response(documents.versions_document())


def _hosting_environment(fabric: Fabric, request: Request) -> Response:
    return Response(documents.hosting_environment(fabric.deployment))


def _shared_configuration(fabric: Fabric, request: Request) -> Response:
    return Response(documents.shared_configuration(fabric.deployment))


def _extensions(fabric: Fabric, request: Request) -> Response:
    return Response(documents.extensions_configuration())


def _certificates(fabric: Fabric, request: Request) -> Response:
    """No certificates: nothing secret belongs to a rehearsal."""
    return Response(
        '<?xml version="1.0" encoding="utf-8"?><CertificateFile><Version>2012-11-30</Version></CertificateFile>'
    )


def _accepted(fabric: Fabric, request: Request) -> Response:
    """Telemetry and status are of no interest, but a guest whose reports are refused would try for ever."""
    return Response()


def _element(body: str, name: str) -> str:
    """The text of an element. The guest isn't trusted, and an XML parser would follow its entities."""
    found = re.search(rf"<(?:\w+:)?{name}>(.*?)</(?:\w+:)?{name}>", body, re.DOTALL)
    return html.unescape(found[1]).strip() if found else ""


def _health(fabric: Fabric, request: Request) -> Response:
    """The health report of cloud-init and of the agent."""
    body = request.body.decode(errors="replace")
    state = _element(body, "State")
    if not state:
        return Response("", XML, HTTPStatus.BAD_REQUEST)
    return fabric.report(state, _element(body, "SubStatus"), _element(body, "Description"), request)


def _provisioning_health(fabric: Fabric, request: Request) -> Response:
    """The health report of azure-init: JSON, with the details in a map."""
    try:
        report = json.loads(request.body)
        details = report.get("details") or {}
        texts = (report["state"], details.get("subStatus", ""), details.get("description", ""))
    except (ValueError, KeyError, AttributeError):
        return Response("", JSON, HTTPStatus.BAD_REQUEST)
    state, substatus, description = (str(text) for text in texts)
    return fabric.report(state, substatus, description, request)


def _instance(fabric: Fabric, request: Request) -> Response:
    """`/metadata/instance` and what is below it: JSON, or one value as text."""
    if request.headers.get("metadata", "").lower() != "true" or "api-version" not in request.query:
        error = "Bad request. Required metadata header not specified or api-version missing"
        return Response(json.dumps({"error": error}), JSON, HTTPStatus.BAD_REQUEST)
    value: Any = fabric.metadata
    for name in request.path.split("/")[3:]:
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        elif name:
            return Response(json.dumps({"error": "Not found"}), JSON, HTTPStatus.NOT_FOUND)
    if request.query.get("format") == "text" and isinstance(value, str):
        return Response(value, "text/plain; charset=utf-8")
    return Response(json.dumps(value), JSON)


def _metadata_versions(fabric: Fabric, request: Request) -> Response:
    return Response(json.dumps({"apiVersions": ["2017-08-01", "2018-02-01", "2019-06-01", "2021-08-01"]}), JSON)


def _scheduled_events(fabric: Fabric, request: Request) -> Response:
    return Response(json.dumps({"DocumentIncarnation": 1, "Events": []}), JSON)


def _host_plugin_versions(fabric: Fabric, request: Request) -> Response:
    return Response(json.dumps(["2015-09-01"]), JSON)


MACHINE = "/machine/?"
MACHINE_CONFIGURATION = "/machine/[^/]+/[^/]+"
ROUTES = (
    Route("GET", "/?", {"comp": "versions"}, _versions),
    Route("GET", MACHINE, {"comp": "goalstate"}, _goal_state),
    Route("POST", MACHINE, {"comp": "health"}, _health),
    Route("POST", "/provisioning/health/?", {}, _provisioning_health),
    Route("POST", MACHINE, {"comp": "telemetrydata"}, _accepted),
    Route("POST", MACHINE, {"comp": "roleProperties"}, _accepted),
    Route("GET", MACHINE_CONFIGURATION, {"comp": "config", "type": "hostingEnvironmentConfig"}, _hosting_environment),
    Route("GET", MACHINE_CONFIGURATION, {"comp": "config", "type": "sharedConfig"}, _shared_configuration),
    Route("GET", MACHINE_CONFIGURATION, {"comp": "config", "type": "extensionsConfig"}, _extensions),
    Route("GET", MACHINE_CONFIGURATION, {"comp": "certificates"}, _certificates),
    Route("GET", "/metadata/instance(/.*)?", {}, _instance),
    Route("GET", "/metadata/versions", {}, _metadata_versions),
    Route("GET", "/metadata/scheduledevents", {}, _scheduled_events),
    # The plugin of the host that the agent sends its status through
    Route("GET", "/versions", {}, _host_plugin_versions),
    Route("GET", "/health", {}, _accepted),
    Route("POST", "/health", {}, _accepted),
    Route("PUT", "/status", {}, _accepted),
    Route("PUT", "/vmAgentLog", {}, _accepted),
)


class _Handler(BaseHTTPRequestHandler):
    """Reads one request after another from a connection."""

    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-IIS"
    sys_version = "10.0"
    timeout = IDLE_SECONDS
    server: _Server

    def address_string(self) -> str:
        return "guest"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the fabric remembers what was asked."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= LARGEST_BODY:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, query, headers, self.rfile.read(length))
        response = self.server.fabric.answer(request)
        body = response.body.encode()
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _serve


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, path: str, fabric: Fabric) -> None:
        self.fabric = fabric
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A guest that drops its connection, or sends what is not HTTP, is its own affair."""


@contextmanager
def serving(fabric: Fabric, folder: Path) -> Iterator[Path]:
    """Serve on a socket in `folder` (which only we can enter) and give its path."""
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        # Through the open folder, because a socket's path may have 107 bytes at most and a work folder's has more
        server = _Server(f"/proc/self/fd/{handle}/{SOCKET_NAME}", fabric)
    finally:
        os.close(handle)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
            path.unlink(missing_ok=True)
