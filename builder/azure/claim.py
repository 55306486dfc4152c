"""An upload's claim on its blob: nobody else writes there meanwhile, and what was done can be proven afterwards.

The blob's metadata say how far the upload came, what it had read until then, and how long the lease lasted that kept
all others out. A blob that was last changed while that lease lasted holds what this upload wrote: whoever goes on needs
to send or read none of it again. A blob that was changed later, or whose lease was broken, proves nothing.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from builder.azure.blobs import BlobFacts, PageBlob
from builder.errors import BuildError, Interrupted, Locked

UNFINISHED = "unfinished"
STOPPED = "stopped"
FINISHED = "finished"
LONGEST_LEASE = 60
Reached = Callable[[], tuple[int, str]]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# The service tells its times in whole seconds
_ROUNDING = timedelta(seconds=2)


@dataclass(frozen=True)
class Pace:
    """Seconds: how long the lease lasts without us (15 to 60), and how often it is renewed and the record written."""

    lease: int = 30
    every: float = 5.0

    def sparing(self) -> Pace:
        """With as few records as still prove what was done: an account that keeps versions keeps each record as one."""
        return Pace(LONGEST_LEASE, max(self.every, LONGEST_LEASE / 2 - 5))


@dataclass(frozen=True)
class Record:
    """What a blob's metadata say of its upload.

    All ranges before the byte `reached` were acknowledged; `digest` covers what they held. `until` is the service's
    time up to which nobody else could write. `lease` is the lease of an upload that stopped in good order.
    """

    state: str
    reached: int = 0
    digest: str = ""
    until: datetime = _LONG_AGO
    lease: str = ""

    def metadata(self) -> dict[str, str]:
        """The record as metadata: names as Azure wants them (those of C#), values of ASCII."""
        found = {"build_upload": self.state, "build_upload_reached": str(self.reached)}
        if self.digest:
            found |= {"build_upload_digest": self.digest, "build_upload_until": self.until.isoformat()}
        return found | ({"build_upload_lease": self.lease} if self.lease else {})

    @staticmethod
    def parse(metadata: Mapping[str, str]) -> Record | None:
        """The record in a blob's metadata; None when it isn't one of ours, or can't be read."""
        found = {name.lower(): value for name, value in metadata.items()}
        try:
            return Record(
                state=found["build_upload"],
                reached=int(found.get("build_upload_reached", "0")),
                digest=found.get("build_upload_digest", ""),
                until=datetime.fromisoformat(found.get("build_upload_until", _LONG_AGO.isoformat())),
                lease=found.get("build_upload_lease", ""),
            )
        except (KeyError, ValueError):
            return None


def is_finished(metadata: Mapping[str, str]) -> bool:
    """Whether a blob's metadata say that all of it was uploaded."""
    record = Record.parse(metadata)
    return record is not None and record.state == FINISHED


class Claim:
    """The lease that is held on a blob, and the record that is kept of what is done under it.

    `proven` is the record of the upload before, when it is sure that all it tells is still so.
    """

    def __init__(self, blob: PageBlob, metadata: Mapping[str, str], pace: Pace, proven: Record | None) -> None:
        self.lease: str | None = None
        self.proven = proven
        self.lost: BuildError | None = None
        self._blob = blob
        self._metadata = dict(metadata)
        self._pace = pace
        self._until = _LONG_AGO
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    def finish(self, digest: str, size: int) -> None:
        """Record that the blob is whole. A blob that is `given` keeps no record."""
        self._stop_keeping()
        if self.lease is not None:
            self._write(Record(FINISHED, size, digest, self._until))

    def _stop_keeping(self) -> None:
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()

    def _write(self, record: Record) -> None:
        self._blob.describe({**self._metadata, **record.metadata()}, lease=self.lease)

    def _hold(self, lease: str, since: datetime, reached: Reached) -> None:
        self.lease = lease
        self._until = self._lasts(since)
        self._keeper = threading.Thread(target=self._keep, args=(reached,), name="upload-lease", daemon=True)
        self._keeper.start()

    def _lasts(self, since: datetime) -> datetime:
        return since + timedelta(seconds=self._pace.lease) - _ROUNDING

    def _keep(self, reached: Reached) -> None:
        """Renew the lease and write the record until it ends; in a thread of its own."""
        while not self._ended.wait(self._pace.every):
            try:
                self._renew()
                self._write(Record(UNFINISHED, *reached(), self._until))
            except BuildError as error:
                # The workers see it before they go on: without the lease somebody else may write
                self.lost = error
                return

    def _renew(self) -> None:
        assert self.lease is not None
        self._until = self._lasts(self._blob.prolong(self.lease))

    def _leave(self, reached: Reached) -> None:
        """Record how far it came, and leave the lease to whoever goes on: no gap, so that the record proves it all."""
        self._stop_keeping()
        if self.lost is not None:
            return
        self._renew()
        self._write(Record(STOPPED, *reached(), self._until, self.lease or ""))


@contextmanager
def claimed(
    blob: PageBlob,
    found: BlobFacts,
    metadata: Mapping[str, str],
    *,
    reached: Reached,
    pace: Pace,
) -> Iterator[Claim]:
    """Hold the blob's lease for the block, and keep the record. `found` is what it was before.

    Waits for the lease of an upload that died. Raises Locked when somebody else holds it and lives, Interrupted.
    A blob that is `given` has neither lease nor record.
    """
    record = Record.parse(found.metadata)
    pace = pace.sparing() if found.versioned else pace
    claim = Claim(blob, metadata, pace, None)
    if blob.given:
        yield claim
        return
    lease = str(uuid.uuid4())
    since = _acquire(blob, lease, record, pace)
    with ExitStack() as stack:
        stack.callback(_leave, claim, reached)
        claim._hold(lease, since, reached)
        now = blob.facts()
        if record is not None and now is not None and _unchanged(record, found, now):
            claim.proven = record
        yield claim
        stack.pop_all()
    claim._stop_keeping()
    blob.release(lease)


def _leave(claim: Claim, reached: Reached) -> None:
    # What stopped the upload is what is told; without this record the next one compares what is there
    with contextlib.suppress(BuildError):
        claim._leave(reached)


def _unchanged(record: Record, before: BlobFacts, now: BlobFacts) -> bool:
    """Whether only the recorded upload can have written to the blob until now, when we hold its lease.

    A lease that was broken, or given back, kept nobody out.
    """
    return bool(record.digest) and before.lease in ("leased", "expired") and now.modified < record.until


def _acquire(blob: PageBlob, lease: str, record: Record | None, pace: Pace) -> datetime:
    """Take the lease; the service's time when that was."""
    left = record.lease if record is not None and record.state == STOPPED else ""
    waited = 0.0
    # One that isn't renewed has ended by then
    while waited <= pace.lease + _ROUNDING.total_seconds():
        since = blob.acquire(lease, pace.lease)
        if since is None and left:
            since = blob.take_over(left, lease)
        if since is not None:
            return since
        if blob.stop.wait(1.0):
            raise Interrupted("interrupted while waiting for another upload", code="interrupted")
        waited += 1.0
    raise Locked(
        f"{blob.name} is being written by another upload",
        code="locked",
        hint="wait for it to end, then begin again",
    )
