"""A source from the network: whole and with the right sha256, or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.apply.conftest import Project


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; below /cut/ it promises more than it sends."""

    def do_GET(self) -> None:
        if not self.path.startswith("/cut/"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def log_message(self, format: str, *args: object) -> None:
        """The test's output is no access log."""


@pytest.fixture
def server(tiny_disk: Path) -> Iterator[str]:
    """The tiny disk's folder on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tiny_disk.parent))) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/{tiny_disk.name}"
        serving.shutdown()
        thread.join()


def from_url(project: Project, url: str, sha256: str) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("{path: tiny.raw}", f'{{url: "{url}", sha256: {sha256}}}'))
    (project.root / "tiny.raw").unlink()


def test_a_disk_from_the_network(server: str, tiny_disk: Path, project: Project) -> None:
    from_url(project, server, hashlib.sha256(tiny_disk.read_bytes()).hexdigest())
    result = project.apply()
    assert result.code == 0, result.text
    assert project.versions() == ["1.0.0"]


def test_another_content_is_refused(server: str, project: Project) -> None:
    from_url(project, server, "ab" * 32)
    result = project.apply()
    assert result.code == 1
    assert "has sha256" in result.err
    assert list((project.root / ".build/sources").iterdir()) == []


def test_a_connection_that_is_cut(server: str, project: Project) -> None:
    """It may be whole the next time; the content is not called another."""
    from_url(project, server.rpartition("/")[0] + "/cut/disk.raw", "ab" * 32)
    result = project.apply()
    assert result.code == 1
    assert "error[download-failed]" in result.err
    assert "the connection ended after 1,000 of 5,000 bytes\n  hint: run the same apply again" in result.err


def test_a_file_that_is_not_there(server: str, project: Project) -> None:
    from_url(project, server + ".old", "ab" * 32)
    result = project.apply()
    assert result.code == 1
    assert "HTTP Error 404: File not found\n  hint: correct the address in the spec" in result.err


def test_a_server_that_is_not_there(project: Project) -> None:
    from_url(project, "http://127.0.0.1:9/disk.raw", "ab" * 32)
    result = project.apply()
    assert result.code == 1
    assert "can't download" in result.err
