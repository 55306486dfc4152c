"""Uploads and copies of disks into page blobs: only what holds data travels, each range with its MD5, side by side.

A disk's last page (a VHD's footer) is written last: until then nobody takes the blob for a disk. An upload that died is
gone on with: what its record proves (see `claim`) is skipped, other pages that are there are read and compared.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice

from builder.azure.blob_errors import UNREADABLE_SOURCE, UNSUPPORTED
from builder.azure.blobs import CONNECTIONS, BlobFacts, PageBlob, check_size
from builder.azure.claim import FINISHED, UNFINISHED, Claim, Pace, Record, claimed
from builder.azure.movers import Cell, DiskBytes, FromHere, FromService, Mover, Piece, cells, footer
from builder.azure.ranges import Ranges, Span, difference
from builder.azure.sidebyside import side_by_side
from builder.errors import BuildError

WORKERS = 8
SAMPLES = 16
SAMPLE_SIZE = 64 * 1024

Progress = Callable[[int, int], None]


class Verify(Enum):
    """What is read back of a blob when all was sent: samples from all over it, or everything."""

    SAMPLES = "samples"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Uploaded:
    """What an upload did, in bytes. `data` is what the disk holds: it was sent, or found there (`kept`).

    `mended` counts what was there with another content and was sent, `retries` the calls that were repeated. `how` is
    the way the bytes came: "upload", "service" (copied by it) or "through here". `digest` covers the disk's size and
    what stands where. `url` has no signature.
    """

    url: str
    size: int
    data: int
    sent: int
    kept: int
    mended: int
    retries: int
    digest: str
    how: str


def no_progress(done: int, total: int) -> None:
    """The listener that doesn't listen."""


@dataclass(frozen=True)
class Manner:
    """How to transfer. `metadata` is put on the blob, but not on one that is `given`.

    `progress` gets bytes done and bytes to do, from any thread.
    """

    metadata: Mapping[str, str] | None = None
    verify: Verify = Verify.SAMPLES
    progress: Progress = no_progress
    workers: int = WORKERS
    pace: Pace = field(default_factory=Pace)


def upload(disk: DiskBytes, blob: PageBlob, manner: Manner | None = None) -> Uploaded:
    """Make `blob` hold the bytes of `disk`; return when it does and that is verified.

    Nothing is sent again that is there, and nothing to a blob that holds this disk already. Raises BuildError
    ("blob-size"; "blob-exists" for a blob that holds something else; "upload-corrupt"; those of the blob), Locked when
    another upload writes there, Interrupted when the blob's `stop` is set.
    """
    return _Transfer(FromHere(disk, blob), blob, manner).run("upload")


def copy(source: PageBlob, target: PageBlob, manner: Manner | None = None) -> Uploaded:
    """Make `target` hold what the page blob `source` holds: by the service itself, or else through this host.

    `how` of the result says which. Raises what `upload` raises, and BuildError ("blob-missing") without a source.
    """
    facts = source.facts()
    if facts is None:
        raise BuildError(f"{source.name} doesn't exist", code="blob-missing", hint="check the address")
    try:
        return _Transfer(FromService(source, target, facts), target, manner).run("service")
    except BuildError as error:
        # The service can't copy at all, or can't reach a source (behind a firewall) that this host may well reach
        if error.code not in (UNSUPPORTED, UNREADABLE_SOURCE):
            raise
        return _Transfer(FromHere(RemoteDisk(source, facts), target), target, manner).run("through here")


class RemoteDisk:
    """The bytes of a page blob."""

    def __init__(self, blob: PageBlob, facts: BlobFacts) -> None:
        self.size = facts.size
        self._blob = blob
        self._ranges = blob.ranges()

    def extents(self) -> Iterable[Span]:
        """Its page ranges."""
        return self._ranges

    def read(self, offset: int, length: int) -> bytes:
        """Download them."""
        return self._blob.read(offset, length)


class _Transfer:
    """One upload under way. What the workers share is changed under `_lock`."""

    def __init__(self, mover: Mover, blob: PageBlob, manner: Manner | None) -> None:
        self.mover = mover
        self.blob = blob
        self.manner = manner or Manner()
        self.footer = footer(mover.size)
        self.present = Ranges()
        self.lease: str | None = None
        self.claim: Claim | None = None
        self._lock = threading.Lock()
        self._begin_again()

    def _begin_again(self) -> None:
        self.written = Ranges()
        self.chain = hashlib.sha256(self.mover.size.to_bytes(8, "big"))
        self.reached = self.done = self.sent = self.kept = self.mended = 0

    def run(self, how: str) -> Uploaded:
        """Carry it out."""
        check_size(self.mover.size)
        self.total = sum(stop - start for start, stop in self.mover.spans())
        found = self._open()
        record = None if self.blob.given else Record.parse(found.metadata)
        if record is not None and record.state == FINISHED:
            self._hold_already(record)
        else:
            metadata = self.manner.metadata or {}
            with claimed(self.blob, found, metadata, reached=self._how_far, pace=self.manner.pace) as claim:
                self.claim = claim
                self._fill(found, claim)
                claim.finish(self.chain.hexdigest(), self.mover.size)
        return Uploaded(
            url=self.blob.url, size=self.mover.size, data=self.sent + self.kept, sent=self.sent, kept=self.kept,
            mended=self.mended, retries=self.blob.retries, digest=f"sha256:{self.chain.hexdigest()}", how=how,
        )  # fmt: skip

    def _open(self) -> BlobFacts:
        """The blob as it is, made when there is none. Raises BuildError for one that isn't ours to write to."""
        if not self.blob.given:
            self.blob.create(self.mover.size, {**(self.manner.metadata or {}), **Record(UNFINISHED).metadata()})
        found = self.blob.facts()
        if found is None:
            raise BuildError(f"{self.blob.name} doesn't exist", code="blob-missing", hint="was it removed? begin again")
        if found.kind != "PageBlob":
            raise self._taken(f"is a {found.kind}, not a page blob")
        if self.blob.given:
            if found.size != self.mover.size:
                raise BuildError(
                    f"{self.blob.name} has {found.size} bytes, what is to be uploaded {self.mover.size}",
                    code="blob-size",
                    hint="make it with the size of the fixed VHD, its footer included",
                )
            return found
        record = Record.parse(found.metadata)
        if record is None:
            raise self._taken("was not made by build")
        if record.state == FINISHED and found.size != self.mover.size:
            raise self._taken("holds another disk")
        return found

    def _taken(self, why: str) -> BuildError:
        return BuildError(f"{self.blob.name} {why}", code="blob-exists", hint="choose another name, or remove it")

    def _hold_already(self, record: Record) -> None:
        """The blob is finished: it holds this very disk, or that is an error."""
        self._each(self._cells(0, self.footer.start), self.mover.pieces)
        self._account(self.footer, self.mover.pieces(self.footer))
        if self.chain.hexdigest() != record.digest:
            raise self._taken("holds another disk")
        self.kept = self.written.size
        self._check(self.mover.size)

    def _fill(self, found: BlobFacts, claim: Claim) -> None:
        if found.size != self.mover.size:
            self.blob.resize(self.mover.size, lease=claim.lease)
            claim.proven = None
        self.present = self.blob.ranges()
        begin = self._proven(claim.proven) if claim.proven is not None else 0
        self._each(self._cells(begin, self.footer.start), self._carry)
        for start, stop in difference(self.present, chain(self.written, self.footer.spans)):
            self.blob.clear(start, stop - start, lease=claim.lease)
        self._check(self.footer.start)
        pieces = self._carry(self.footer)
        self._account(self.footer, pieces)
        for piece in pieces:
            self._compare(piece.start, piece.length, piece.proof)

    def _proven(self, record: Record) -> int:
        """The byte up to which the blob holds what the disk does: it is read again here, and not at all there."""
        self._each(self._cells(0, min(record.reached, self.footer.start)), self.mover.pieces)
        if self.chain.hexdigest() == record.digest and not any(difference(self.written, self.present)):
            self.kept = self.written.size
            return record.reached
        self._begin_again()
        return 0

    def _how_far(self) -> tuple[int, str]:
        with self._lock:
            return self.reached, self.chain.hexdigest()

    def _cells(self, begin: int, end: int) -> Iterator[Cell]:
        return cells(self.mover.spans(), begin, end)

    def _each(self, items: Iterator[Cell], work: Callable[[Cell], list[Piece]]) -> None:
        threads = max(1, min(self.manner.workers, CONNECTIONS))
        side_by_side(items, work, self._account, threads=threads, stop=self.blob.stop)

    def _account(self, cell: Cell, pieces: list[Piece]) -> None:
        """Take note of a cell whose pieces the blob holds, as it holds all before it."""
        with self._lock:
            for piece in pieces:
                self.written.add(piece.start, piece.end)
                self.chain.update(piece.start.to_bytes(8, "big") + piece.length.to_bytes(8, "big") + piece.proof)
            self.reached = cell.end
            self.done += sum(stop - start for start, stop in cell.spans)
            done = self.done
        self.manner.progress(done, self.total)

    def _carry(self, cell: Cell) -> list[Piece]:
        """Have the blob hold a cell's pieces."""
        pieces = self.mover.pieces(cell)
        for piece in pieces:
            compared = self.mover.compares and self.present.covers(piece.start, piece.end)
            same = compared and self.mover.same(piece.start, piece.length, piece.proof)
            if not same:
                self._send(piece)
            with self._lock:
                self.kept += piece.length if same else 0
                self.sent += 0 if same else piece.length
                self.mended += piece.length if compared and not same else 0
        # The bytes were sent: what waits for its turn needs only to know where they are
        return [Piece(piece.start, piece.length, piece.proof) for piece in pieces]

    def _send(self, piece: Piece) -> None:
        assert self.claim is not None
        if self.claim.lost is not None:
            raise self.claim.lost
        self.mover.send(piece, self.claim.lease)

    def _check(self, end: int) -> None:
        """Raise BuildError ("upload-corrupt") unless the blob holds just what was written, up to the byte `end`."""
        found = self.blob.ranges()
        for start, stop in (*difference(self.written, found), *difference(found, self.written)):
            if start < end:
                raise self._corrupt(start, stop - start)
        if self.manner.verify is Verify.EVERYTHING:
            threads = max(1, min(self.manner.workers, CONNECTIONS))
            whole = self._cells(0, end)
            side_by_side(whole, self._compare_cell, lambda cell, _: None, threads=threads, stop=self.blob.stop)
            return
        for start, stop in islice(self.written, 0, None, max(1, -(-len(self.written) // SAMPLES))):
            self._compare(start, min(stop - start, SAMPLE_SIZE), None)

    def _compare_cell(self, cell: Cell) -> None:
        for piece in self.mover.pieces(cell):
            self._compare(piece.start, piece.length, piece.proof)

    def _compare(self, start: int, length: int, proof: bytes | None) -> None:
        if not self.mover.same(start, length, proof):
            raise self._corrupt(start, length)

    def _corrupt(self, start: int, length: int) -> BuildError:
        return BuildError(
            f"{self.blob.name} doesn't hold what was sent: {length} bytes at {start} differ",
            code="upload-corrupt",
            hint="does something else write there? begin again: what is right is kept",
        )
