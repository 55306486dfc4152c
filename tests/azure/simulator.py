"""The server: http and https on loopback, in threads, around one `Cloud`."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

from tests.azure.answers import Answer
from tests.azure.blobs import Blobs
from tests.azure.clock import Clock
from tests.azure.cloud import SUBSCRIPTION, TENANT, Cloud, Dropped, Request
from tests.azure.guests import Guests
from tests.azure.kinds.machine_power import set_power
from tests.azure.state import Resource


class Token(NamedTuple):
    """What azure.core calls an AccessToken."""

    token: str
    expires_on: int


class Credential:
    """A token credential of the kind that the SDK takes, for its synchronous clients."""

    def __init__(self, token: str = "simulated") -> None:
        self.token = token

    def get_token(self, *_scopes: str, **_options: Any) -> Token:
        return Token(self.token, int(time.time()) + 3600)

    def close(self) -> None:
        """Nothing is open."""


class AsyncCredential(Credential):
    """The same for clients of `.aio`."""

    async def get_token(self, *scopes: str, **options: Any) -> Token:  # type: ignore[override]
        return super().get_token(*scopes, **options)

    async def close(self) -> None:  # type: ignore[override]
        """Nothing is open."""


class Simulator:
    """A running Azure. Use it as a context manager.

    `clock`: standing by default; give `Clock(speed=...)` for clients that wait in real time (azure-cli).
    `blobs`: a running Azurite (`Blobs.start(...)`), for SAS and the output of run commands.
    `retry_after`: sends this Retry-After with every accepted operation and poll, instead of what Azure sends.
    `throttle`: whether limits are enforced.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        blobs: Blobs | None = None,
        retry_after: int | None = None,
        throttle: bool = True,
        latencies: Mapping[str, float] | None = None,
    ) -> None:
        self._undo = ExitStack()
        self.directory = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="azure-")))
        self.clock = clock or Clock()
        self.guests = Guests(self.directory / "guests")
        self.cloud = Cloud(
            self.clock, self.guests, blobs=blobs, retry_after=retry_after, throttle=throttle, latencies=latencies
        )
        self.state = self.cloud.state
        self.catalogue = self.cloud.catalogue
        self.traffic = self.cloud.traffic
        self.faults = self.cloud.faults
        self.throttle = self.cloud.throttle
        self.blobs = blobs
        self.subscription = SUBSCRIPTION
        self.tenant = TENANT
        self.credential = Credential()
        self.async_credential = AsyncCredential()
        self.endpoint = ""
        self.secure_endpoint = ""
        self.certificate = self.directory / "certificate.pem"

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._undo)
            undo.callback(self.clock.stop)
            self.endpoint = f"http://127.0.0.1:{self._serve(undo, None)}"
            self.secure_endpoint = f"https://localhost:{self._serve(undo, self._make_certificate())}"
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()
        if error is None and self.cloud.mistakes:
            raise AssertionError("the simulator itself failed:\n" + "\n".join(self.cloud.mistakes))

    def _serve(self, undo: ExitStack, certificate: Path | None) -> int:
        cloud = self.cloud

        class Bound(Handler):
            simulated: ClassVar[Cloud] = cloud
            scheme: ClassVar[str] = "https" if certificate else "http"

        server = Server(("127.0.0.1", 0), Bound)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="azure", daemon=True)
        thread.start()
        undo.callback(server.server_close)
        undo.callback(server.shutdown)
        return int(server.server_address[1])

    def _make_certificate(self) -> Path:
        key, certificate = self.directory / "key.pem", self.directory / "only-certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                   "-addext", "subjectAltName=DNS:localhost,DNS:*.vault.azure.net,IP:127.0.0.1",
                   "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        self.certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
        return self.certificate

    def resource(self, tail: str) -> Resource:
        """A resource by the end of its id: `resource("virtualMachines/web")`. Raises LookupError."""
        wanted = "/" + tail.lower().lstrip("/")
        for resource in self.state:
            if resource.id.lower().endswith(wanted):
                return resource
        raise LookupError(f"nothing ends with {tail}")

    def sdk_options(self, *, waits: bool = True) -> dict[str, Any]:
        """Keyword arguments for a management client of the Azure SDK, over http.

        Its waiting (Retry-After, polling) passes on this simulator's clock; `waits=False` lets it wait in real time.
        """
        from tests.azure.clients import sdk_options

        return sdk_options(self, waits=waits)

    def evict(self, tail: str) -> None:
        """Takes a spot VM away, as Azure does when it needs the place: deallocated, without a word."""
        machine = self.resource(tail)
        with self.cloud.lock:
            set_power(self.cloud, machine, "deallocated")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Many clients connect at the same moment; the default queue of 5 would refuse some
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-HTTPAPI/2.0"
    sys_version = ""
    timeout = 60
    # One packet an answer: headers and body apart would wait for each other's acknowledgement
    wbufsize = -1
    disable_nagle_algorithm = True
    simulated: ClassVar[Cloud]
    scheme: ClassVar[str]

    def do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        base_url = f"{self.scheme}://{self.headers.get('Host', '')}"
        try:
            body = json.loads(raw) if raw and "json" in headers.get("content-type", "json") else raw.decode() or None
        except ValueError:
            body = None
        try:
            answer = self.simulated.answer(Request(self.command, self.path, headers, body, base_url))
        except Dropped:
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = do

    def _send(self, answer: Answer) -> None:
        payload = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if payload and "Content-Type" not in answer.headers:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        if answer.status != 204:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if payload and self.command != "HEAD":
            self.wfile.write(payload)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """The traffic is logged elsewhere."""
