"""One page blob: every call with its limits checked, its retries and an error that a person can act on.

Limits: "Put Page" and "Create page blob" of Azure's Blob service REST API. An emulator enforces none of them.
"""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from builder.azure.blob_errors import (
    UNREADABLE_SOURCE,
    asked_pause,
    blob_error,
    is_missing,
    is_taken,
    is_transient,
    is_unsigned,
)
from builder.azure.blob_transport import reading, transport
from builder.azure.ranges import Ranges
from builder.azure.sdk import STORAGE, load
from builder.errors import BuildError, Interrupted, Locked

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
    from azure.core.pipeline import PipelineResponse
    from azure.storage.blob import BlobClient

PAGE = 512
LARGEST_WRITE = 4 * 1024 * 1024
LARGEST_BLOB = 8 * 1024**4
# requests keeps this many connections open per host; more threads than that would open one per call
CONNECTIONS = 10
# A new signature that isn't accepted either won't be by asking on
_MOST_RENEWALS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often a call is made, and the pauses between in seconds: doubled each time, with some chance in them."""

    attempts: int = 8
    first: float = 0.5
    longest: float = 30.0

    def pause(self, attempt: int) -> float:
        """Seconds before the attempt after `attempt` (counted from 1)."""
        return float(min(self.longest, self.first * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25))


@dataclass(frozen=True)
class BlobFacts:
    """What a blob's properties say. Times are the service's; `lease` is the lease's state ("available", "leased").

    `versioned`: its account keeps what its metadata and content were before a change as versions of it.
    """

    size: int
    kind: str
    etag: str
    modified: datetime
    now: datetime
    lease: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    versioned: bool = False


class PageBlob:
    """A page blob by its address. Thread-safe.

    `url` may carry a shared access signature; when that ends, `renew` gives an address with a new one. `given` is a
    blob that stands already and takes pages alone: that of a managed disk. `ca` is a file with certificates of a custom
    cloud. Waiting ends when `stop` is set. `retries` counts the calls that were repeated.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: TokenCredential | AzureNamedKeyCredential | None = None,
        renew: Callable[[], str] | None = None,
        given: bool = False,
        retry: Retry | None = None,
        stop: threading.Event | None = None,
        ca: Path | None = None,
    ) -> None:
        load(STORAGE)
        parts = urlsplit(url)
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        self.given = given
        self.stop = stop if stop is not None else threading.Event()
        self.retries = 0
        self._query = parts.query
        self._credential = credential
        self._renew = renew
        self._retry = retry if retry is not None else Retry()
        self._ca = ca
        self._lock = threading.Lock()
        self._client: BlobClient | None = None

    @property
    def readable_url(self) -> str:
        """The address with its shared access signature: a secret."""
        return f"{self.url}?{self._query}" if self._query else self.url

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"the blob {urlsplit(self.url).path.lstrip('/')}"

    def facts(self) -> BlobFacts | None:
        """What the blob's properties say, or None when there is no such blob."""
        heard: list[str] = []

        def ask(client: BlobClient) -> BlobFacts:
            found = client.get_blob_properties(raw_response_hook=lambda answer: heard.append(_date(answer)))
            return BlobFacts(
                size=found.size,
                kind=str(getattr(found.blob_type, "value", found.blob_type)),
                etag=found.etag or "",
                modified=found.last_modified,
                now=parsedate_to_datetime(heard[-1]),
                lease=str(found.lease.state or ""),
                metadata=dict(found.metadata or {}),
                versioned=bool(found.version_id),
            )

        return self._call(ask, missing=lambda: None)

    def create(self, size: int, metadata: Mapping[str, str]) -> bool:
        """Make it, all zero. False when there is one already. Raises BuildError ("blob-size")."""
        check_size(size)
        from azure.core import MatchConditions

        def make(client: BlobClient) -> bool:
            client.create_page_blob(size, metadata=dict(metadata), match_condition=MatchConditions.IfMissing)
            return True

        return self._call(make, taken=lambda: False)

    def write(self, offset: int, data: bytes, md5: bytes, *, lease: str | None) -> None:
        """Write pages; the service refuses them unless they have this MD5."""
        _check_pages(offset, len(data), LARGEST_WRITE)
        headers = {"Content-MD5": base64.b64encode(md5).decode()}
        self._call(lambda client: client.upload_page(data, offset, len(data), headers=headers, lease=lease))

    def write_from(self, source: PageBlob, offset: int, length: int, *, lease: str | None) -> None:
        """Have the service copy pages of another blob to the same place.

        Raises BuildError with the codes UNSUPPORTED and UNREADABLE_SOURCE where it can't.
        """
        _check_pages(offset, length, LARGEST_WRITE)

        def copy(client: BlobClient) -> None:
            client.upload_pages_from_url(source.readable_url, offset, length, offset, lease=lease)

        try:
            self._call(copy)
        except BuildError as error:
            # The source's signature ended, not ours
            if error.code != UNREADABLE_SOURCE or not source.renewed(source.readable_url):
                raise
            self._call(copy)

    def clear(self, offset: int, length: int, *, lease: str | None) -> None:
        """Take pages away: they read as zeros."""
        _check_pages(offset, length, LARGEST_BLOB)
        self._call(lambda client: client.clear_page(offset, length, lease=lease))

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes."""

        def get(client: BlobClient) -> bytes:
            with reading():
                return client.download_blob(offset, length, max_concurrency=1).readall()

        return self._call(get)

    def ranges(self) -> Ranges:
        """The pages that it has."""
        return self._call(
            lambda client: Ranges((found.start or 0, (found.end or 0) + 1) for found in client.list_page_ranges())
        )

    def describe(self, metadata: Mapping[str, str], *, lease: str | None) -> None:
        """Replace its metadata."""
        self._call(lambda client: client.set_blob_metadata(dict(metadata), lease=lease))

    def resize(self, size: int, *, lease: str | None) -> None:
        """Give it another size; what is cut off is gone. Raises BuildError ("blob-size")."""
        check_size(size)
        self._call(lambda client: client.resize_blob(size, lease=lease))

    def acquire(self, lease: str, seconds: int) -> datetime | None:
        """Take the lease (15 to 60 seconds); the service's time when it was taken, None when somebody else has it."""
        heard: list[str] = []

        def take(client: BlobClient) -> datetime:
            client.acquire_lease(seconds, lease_id=lease, raw_response_hook=lambda answer: heard.append(_date(answer)))
            return parsedate_to_datetime(heard[-1])

        return self._call(take, taken=lambda: None)

    def take_over(self, old: str, lease: str) -> datetime | None:
        """Make a lease that was left to us ours; as `acquire`. Of several that try, one succeeds."""
        from azure.storage.blob import BlobLeaseClient

        def take(client: BlobClient) -> None:
            BlobLeaseClient(client, old).change(lease)

        try:
            self._call(take)
        except Locked:
            return None
        return self.prolong(lease)

    def prolong(self, lease: str) -> datetime:
        """Renew the lease; the service's time when that was. Raises Locked when it was lost."""
        from azure.storage.blob import BlobLeaseClient

        heard: list[str] = []

        def renew(client: BlobClient) -> datetime:
            BlobLeaseClient(client, lease).renew(raw_response_hook=lambda answer: heard.append(_date(answer)))
            return parsedate_to_datetime(heard[-1])

        return self._call(renew)

    def release(self, lease: str) -> None:
        """Give the lease back."""
        from azure.storage.blob import BlobLeaseClient

        self._call(lambda client: BlobLeaseClient(client, lease).release())

    def renewed(self, old: str) -> bool:
        """Whether there is a new signature in place of the one in the address `old`."""
        if self._renew is None:
            return False
        with self._lock:
            if self.readable_url != old:
                return True  # another thread asked for it
            self._query = urlsplit(self._renew()).query
            self._client = None
            return self.readable_url != old

    def _connected(self) -> tuple[BlobClient, str]:
        from azure.storage.blob import BlobClient

        with self._lock:
            if self._client is None:
                verify = str(self._ca) if self._ca is not None else True
                # Retries are ours: they look at `stop`, and renew signatures
                self._client = BlobClient.from_blob_url(
                    self.readable_url,
                    credential=self._credential,
                    retry_total=0,
                    transport=transport(connection_verify=verify),
                )
            return self._client, self.readable_url

    def _call(
        self,
        action: Callable[[BlobClient], T],
        *,
        missing: Callable[[], T] | None = None,
        taken: Callable[[], T] | None = None,
    ) -> T:
        from azure.core.exceptions import AzureError

        attempt = renewals = 0
        while True:
            attempt += 1
            client, url = self._connected()
            try:
                return action(client)
            except AzureError as error:
                if missing is not None and is_missing(error):
                    return missing()
                if taken is not None and is_taken(error):
                    return taken()
                if renewals < _MOST_RENEWALS and is_unsigned(error) and self.renewed(url):
                    renewals += 1
                    continue
                if attempt >= self._retry.attempts or not is_transient(error):
                    raise blob_error(self.name, error, attempts=attempt, secret=self._query) from error
                pause = asked_pause(error) or self._retry.pause(attempt)
            with self._lock:
                self.retries += 1
            if self.stop.wait(pause):
                raise Interrupted("interrupted", code="interrupted")


def check_size(size: int) -> None:
    """Raise BuildError ("blob-size") for a size in bytes that no page blob can have."""
    if size <= 0 or size % PAGE or size > LARGEST_BLOB:
        raise BuildError(
            f"a page blob can't have {size} bytes: only whole pages of {PAGE} bytes, up to 8 TiB",
            code="blob-size",
            hint="make the disk smaller" if size > LARGEST_BLOB else "give a fixed VHD",
        )


def _check_pages(offset: int, length: int, most: int) -> None:
    if offset % PAGE or length % PAGE or not 0 < length <= most:
        raise ValueError(f"{length} bytes at {offset} can't be written at once to a page blob")


def _date(answer: PipelineResponse[Any, Any]) -> str:
    return str(answer.http_response.headers["Date"])
