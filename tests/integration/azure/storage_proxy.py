"""Between an uploader and a blob service: counts bytes, holds requests back, spoils them, answers in its place."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Seen:
    """One request. `body` may be changed before it goes on. `status` is the answer's, 0 before there is one."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answered: int = 0

    @property
    def page(self) -> bool:
        """Whether it writes pages with content."""
        return self.method == "PUT" and self.query("comp") == "page" and self.headers["x-ms-page-write"] == "update"

    @property
    def metadata(self) -> bool:
        return self.method == "PUT" and self.query("comp") == "metadata"

    @property
    def download(self) -> bool:
        return self.method == "GET" and not self.query("comp")

    @property
    def start(self) -> int:
        """The first byte of the range that it is about."""
        return int(self.headers["x-ms-range"].removeprefix("bytes=").split("-")[0])

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]


# What is to be done with a request: None to hand it on, else the status and code to answer with
Look = Callable[[Seen], tuple[int, str] | None]


@dataclass
class StorageProxy:
    """Requests in the order of their answers. `look` is asked before each is handed on."""

    endpoint: str
    seen: list[Seen] = field(default_factory=list)
    look: Look = lambda request: None
    # Whether the connection ends in the middle of the answer's content
    breaks_off: Callable[[Seen], bool] = lambda request: False
    # Headers that every answer has beside the service's own
    more: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def pages(self) -> list[Seen]:
        """The writes of pages that the service took."""
        with self.changed:
            return [request for request in self.seen if request.page and request.status == 201]

    @property
    def written(self) -> int:
        """Bytes in writes of pages that the service took."""
        return sum(len(request.body) for request in self.pages)

    @property
    def downloaded(self) -> int:
        with self.changed:
            return sum(request.answered for request in self.seen if request.download)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "it didn't come to that"


@contextmanager
def storage_proxy(endpoint: str) -> Iterator[StorageProxy]:
    """A proxy for the service at `endpoint`; its own `endpoint` has the same path."""
    target = urlsplit(endpoint)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    proxy = StorageProxy(f"http://127.0.0.1:{server.server_address[1]}{target.path}")
    server.proxy = proxy  # type: ignore[attr-defined]
    server.target = target.netloc  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and content leave together: apart, each answer would wait for an acknowledgement
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def _pass(self) -> None:
        proxy: StorageProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        instead = proxy.look(request)
        if instead is not None:
            request.status = instead[0]
            text = f'<?xml version="1.0"?><Error><Code>{instead[1]}</Code><Message>injected</Message></Error>'.encode()
            self._answer(proxy, request, [("Content-Type", "application/xml"), ("x-ms-error-code", instead[1])], text)
            return
        connection = http.client.HTTPConnection(self.server.target, timeout=60)  # type: ignore[attr-defined]
        try:
            connection.request(self.command, self.path, request.body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        request.status, request.answered = answer.status, len(content)
        skipped = ("connection", "keep-alive", "transfer-encoding", "content-length")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
        if self.command == "HEAD":
            headers.append(("Content-Length", answer.headers.get("content-length", "0")))
        self._answer(proxy, request, headers, content)

    do_GET = do_PUT = do_HEAD = do_DELETE = _pass

    def _answer(self, proxy: StorageProxy, request: Seen, headers: list[tuple[str, str]], content: bytes) -> None:
        with proxy.changed:
            proxy.seen.append(request)
            proxy.changed.notify_all()
        try:
            self.send_response_only(request.status)
            for name, value in (*headers, *proxy.more.items()):
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.close_connection = proxy.breaks_off(request)
                self.wfile.write(content[: len(content) // 2] if self.close_connection else content)
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client was killed
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
