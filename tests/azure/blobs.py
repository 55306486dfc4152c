"""Page and append blobs, by Azurite: the upload and download of disks, and the output of run commands.

Azurite is laxer than Azure (`limits` below are Azure's); what must hold on Azure is checked here, not left to it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.azure.answers import ArmError

if TYPE_CHECKING:
    from tests.azure.state import Resource

# The account that Azurite has by itself; its key is public knowledge
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"
FOOTER = 512
GIB = 1 << 30
READY_SECONDS = 60


@dataclass
class Blobs:
    endpoint: str
    process: int = 0
    _grants: dict[str, tuple[str, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def start(cls, tools: Path, directory: Path) -> Iterator[Blobs]:
        """Starts Azurite from `tools` (where npm put it and its Node), with its data in `directory`."""
        node = tools / "node_modules/node/bin/node"
        main = tools / "node_modules/azurite/dist/src/blob/main.js"
        port = _free_port()
        command = [str(node if node.exists() else shutil.which("node")), str(main), "--disableTelemetry", "--silent"]
        command += ["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--loose"]
        with (directory / "azurite.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--location", str(directory)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            _wait_for(port, process)
            yield cls(f"http://127.0.0.1:{port}/{ACCOUNT}", process.pid)
        finally:
            process.terminate()
            process.wait(30)

    def request(
        self, method: str, path: str, query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None, data: bytes = b"",
    ) -> bytes:  # fmt: skip
        """A call with the account's key. `path` is container/blob. Raises OSError."""
        query = query or {}
        sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION, **(headers or {})}
        sent = {name.lower(): value for name, value in sent.items()}
        special = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent) if name.startswith("x-ms-"))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{urllib.parse.quote(path)}"
        resource += "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        length = str(len(data)) if data else ""
        text = "\n".join(
            (method, "", "", length, "", sent.get("content-type", ""), "", "", "", "", "", sent.get("range", ""))
        )
        text += "\n" + special + resource
        sent["authorization"] = f"SharedKey {ACCOUNT}:{_sign(text)}"
        url = f"{self.endpoint}/{urllib.parse.quote(path)}"
        url += "?" + urllib.parse.urlencode(query) if query else ""
        body = data if method in ("PUT", "POST") else None
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        if body is not None and "content-type" not in sent:
            request.add_unredirected_header("Content-Type", "")
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def grant(self, resource: Resource, *, write: bool, seconds: int, part: str = "disk") -> str:
        """A SAS URL for a disk's blob, which dies with `revoke`: it hangs on a policy of the blob's own container."""
        container, blob = self._blob(resource, part)
        start, end = datetime.now(UTC) - timedelta(minutes=5), datetime.now(UTC) + timedelta(seconds=max(seconds, 3600))
        permission = "rwd" if write else "r"
        policy = f"{container}-policy"
        identifiers = (
            f'<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers><SignedIdentifier><Id>{escape(policy)}</Id>'
            f"<AccessPolicy><Start>{_iso(start)}</Start><Expiry>{_iso(end)}</Expiry>"
            f"<Permission>{permission}</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>"
        )
        query = {"restype": "container", "comp": "acl"}
        self.request("PUT", container, query, {"content-type": "application/xml"}, identifiers.encode())
        text = "\n".join(
            (
                "",
                "",
                "",
                f"/blob/{ACCOUNT}/{container}/{blob}",
                policy,
                "",
                "",
                VERSION,
                "b",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
            )
        )
        signed = {"sv": VERSION, "sr": "b", "si": policy, "sig": _sign(text)}
        return f"{self.endpoint}/{container}/{blob}?{urllib.parse.urlencode(signed)}"

    def revoke(self, resource: Resource) -> None:
        for part in ("disk", "vmgs"):
            found = self._grants.get(f"{resource.properties['uniqueId']}-{part}")
            if found is not None:
                empty = b'<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers></SignedIdentifiers>'
                query = {"restype": "container", "comp": "acl"}
                self.request("PUT", found[0], query, {"content-type": "application/xml"}, empty)

    def _blob(self, resource: Resource, part: str) -> tuple[str, str]:
        """The page blob behind a disk, made when it is asked for: empty but for a VHD's footer, unless uploaded."""
        unique = f"{resource.properties['uniqueId']}-{part}"
        with self._lock:
            if unique in self._grants:
                return self._grants[unique]
            container, blob = f"md-{unique}", "abcd"
            self.request("PUT", container, {"restype": "container"})
            upload = resource.properties["creationData"].get("uploadSizeBytes")
            size = upload or resource.properties["diskSizeGB"] * GIB + FOOTER
            self.create_page_blob(f"{container}/{blob}", size)
            if upload is None:
                self.put_page(f"{container}/{blob}", size - FOOTER, vhd_footer(size - FOOTER))
            self._grants[unique] = container, blob
            return container, blob

    def content(self, resource: Resource, target: Path) -> None:
        """What an uploaded disk holds, without the footer, as a file."""
        container, blob = self._blob(resource, "disk")
        data = self.request("GET", f"{container}/{blob}")
        target.write_bytes(data[:-FOOTER])

    def text_blob(self, name: str, text: str) -> str:
        """A block blob with that text, and a URL to read it: a VM's console."""
        container = f"bootdiagnostics-{name}"[:63]
        with contextlib.suppress(urllib.error.HTTPError):
            self.request("PUT", container, {"restype": "container"})
        path = f"{container}/serialconsole.log"
        self.request(
            "PUT", path, headers={"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"}, data=text.encode()
        )
        return self.sas(path)

    def create_page_blob(self, path: str, size: int) -> None:
        headers = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(size)}
        self.request("PUT", path, headers=headers)

    def put_page(self, path: str, offset: int, data: bytes) -> None:
        headers = {"x-ms-page-write": "update", "x-ms-range": f"bytes={offset}-{offset + len(data) - 1}"}
        self.request("PUT", path, {"comp": "page"}, headers, data)

    def vhd_size(self, uri: str) -> int:
        """The size of the disk in a VHD blob. Raises ArmError as an import does when it isn't a fixed VHD."""
        path = urllib.parse.urlsplit(uri).path.removeprefix(f"/{ACCOUNT}/")
        try:
            with urllib.request.urlopen(urllib.request.Request(self.sas(path), method="HEAD"), timeout=30) as answer:
                size = int(answer.headers["Content-Length"])
                kind = answer.headers["x-ms-blob-type"]
            footer = self.request("GET", path, headers={"x-ms-range": f"bytes={size - FOOTER}-{size - 1}"})
        except (urllib.error.URLError, OSError) as error:
            message = f"The source blob {uri} does not exist or can't be read: {error}."
            raise ArmError(404, "SourceBlobNotFound", message) from error
        if kind != "PageBlob":
            raise ArmError(400, "InvalidParameter", f"The source blob {uri} is not a page blob.")
        check_footer(footer, size, uri)
        return size - FOOTER

    def sas(self, path: str, permission: str = "r", until: datetime | None = None) -> str:
        """A URL to a blob that is good for an hour, or until then, made as an account's owner does."""
        end = _iso(until or datetime.now(UTC) + timedelta(hours=1))
        text = (permission, "", end, f"/blob/{ACCOUNT}/{path}", "", "", "", VERSION, "b", "", "", "", "", "", "", "")
        signed = {"sv": VERSION, "sr": "b", "se": end, "sp": permission, "sig": _sign("\n".join(text))}
        return f"{self.endpoint}/{path}?{urllib.parse.urlencode(signed)}"

    @staticmethod
    def append(url: str, data: bytes, *, create: bool = False) -> None:
        """Appends to a blob by the caller's own SAS, as the agent in a VM does. Raises OSError."""
        headers = {"x-ms-version": VERSION, "Content-Type": "application/octet-stream"}
        extra = {"x-ms-blob-type": "AppendBlob"} if create else {}
        target = url if create else f"{url}&comp=appendblock"
        body = b"" if create else data
        request = urllib.request.Request(target, data=body, headers={**headers, **extra}, method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            pass


def check_footer(footer: bytes, size: int, uri: str) -> None:
    """The rules of a fixed VHD: cookie, type 2, whole MiB, the size that the footer says. Raises ArmError 400."""
    if footer[:8] != b"conectix":
        raise ArmError(
            400,
            "InvalidVhd",
            f"The specified cookie value in VHD footer indicates that disk with blob {uri} is not a supported VHD."
            " Disk is expected to have cookie value 'conectix'.",
        )
    current, kind = struct.unpack(">Q", footer[48:56])[0], struct.unpack(">I", footer[60:64])[0]
    if kind != 2:
        raise ArmError(400, "InvalidVhd", f"The VHD {uri} is not a fixed VHD.")
    if current % (1 << 20) or current + FOOTER != size:
        raise ArmError(
            400,
            "InvalidVhd",
            f"The disk with blob {uri} has an unsupported virtual size of {current} bytes."
            " The size must be a whole number (in MBs).",
        )


def vhd_footer(size: int) -> bytes:
    """The footer of a fixed VHD of `size` bytes."""
    fields = struct.pack(
        ">8sIIQI4sI4sQQIII16sB", b"conectix", 2, 0x00010000, 0xFFFFFFFFFFFFFFFF, 0, b"sim ", 0x00010000, b"Wi2k",
        size, size, 0, 2, 0, bytes(16), 0,
    )  # fmt: skip
    fields += bytes(FOOTER - len(fields))
    checksum = ~sum(fields) & 0xFFFFFFFF
    return fields[:64] + struct.pack(">I", checksum) + fields[68:]


def _sign(text: str) -> str:
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Azurite ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("Azurite did not answer")
