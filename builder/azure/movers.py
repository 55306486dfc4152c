"""How the bytes of a disk get into a page blob: from here, or by the service from another blob. And in which pieces.

The pieces depend on a disk's content alone, not on how a file stores it: two runs, or two copies of one file, have the
same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from builder.azure.blobs import LARGEST_WRITE, PAGE, BlobFacts, PageBlob
from builder.azure.ranges import Ranges, Span, aligned

# What file systems allot: zeros are looked for in blocks of this size
BLOCK = 4096
# Zeros between two pieces that are rather sent: a call costs as much as these bytes
GAP = 256 * 1024
_ZERO = bytes(BLOCK)


class DiskBytes(Protocol):
    """What is uploaded: a fixed VHD, wherever its bytes are. Read from several threads."""

    @property
    def size(self) -> int:
        """Bytes, with the footer."""

    def extents(self) -> Iterable[Span]:
        """The ranges that may hold data, in order; all else is zero. Asked for more than once."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""


@dataclass(frozen=True)
class Cell:
    """A part of the disk that one worker takes: at most 4 MiB, and the ranges in it that may hold data."""

    start: int
    end: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Piece:
    """What one call writes. `proof` tells one content from another: the MD5, for bytes that are read here."""

    start: int
    length: int
    proof: bytes
    data: bytes = b""

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + self.length


class Mover(Protocol):
    """A way for the bytes. `compares` tells that reading back costs less than sending again."""

    compares: bool

    @property
    def size(self) -> int:
        """Bytes of the disk, with its footer."""

    def spans(self) -> Iterator[Span]:
        """The ranges that may hold data, in order."""

    def pieces(self, cell: Cell) -> list[Piece]:
        """What has to be written of a cell."""

    def send(self, piece: Piece, lease: str | None) -> None:
        """Write a piece."""

    def same(self, start: int, length: int, proof: bytes | None = None) -> bool:
        """Whether the blob holds the disk's bytes there, which have this proof."""


def cells(spans: Iterable[Span], begin: int, end: int) -> Iterator[Cell]:
    """The ranges between `begin` and `end`, by the 4 MiB of the disk that they are in. Empty cells are left out."""
    at = -1
    inside: list[Span] = []
    for start, stop in spans:
        first, last = max(start, begin), min(stop, end)
        while first < last:
            cell = first // LARGEST_WRITE
            if cell != at:
                if inside:
                    yield _cell(at, inside, end)
                at, inside = cell, []
            cut = min(last, (cell + 1) * LARGEST_WRITE)
            inside.append((first, cut))
            first = cut
    if inside:
        yield _cell(at, inside, end)


def _cell(number: int, spans: list[Span], end: int) -> Cell:
    return Cell(number * LARGEST_WRITE, min((number + 1) * LARGEST_WRITE, end), tuple(spans))


def with_data(data: bytes | bytearray) -> list[Span]:
    """The ranges of `data` that aren't zero, to whole blocks; those with less than GAP between them are one."""
    found: list[Span] = []
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if block == _ZERO or (len(block) < BLOCK and not any(block)):
            continue
        end = at + len(block)
        if found and at - found[-1][1] < GAP:
            found[-1] = found[-1][0], end
        else:
            found.append((at, end))
    return found


class FromHere:
    """Reads the disk here, leaves zeros out, sends the rest with its MD5."""

    compares = True

    def __init__(self, disk: DiskBytes, blob: PageBlob) -> None:
        self._disk = disk
        self._blob = blob

    @property
    def size(self) -> int:
        """The disk's."""
        return self._disk.size

    def spans(self) -> Iterator[Span]:
        """The disk's extents, to whole blocks."""
        return aligned(self._disk.extents(), BLOCK, self.size)

    def pieces(self, cell: Cell) -> list[Piece]:
        """Read a cell. All data of a piece are one block of bytes, copied only where a part of it is needed."""
        first, last = cell.spans[0][0], cell.spans[-1][1]
        if len(cell.spans) == 1:
            data: bytes | bytearray = self._disk.read(first, last - first)
        else:
            data = bytearray(last - first)
            for start, stop in cell.spans:
                data[start - first : stop - first] = self._disk.read(start, stop - start)
        found = []
        for start, stop in with_data(data):
            part = bytes(data[start:stop])
            found.append(Piece(first + start, stop - start, _md5(part), part))
        return found

    def send(self, piece: Piece, lease: str | None) -> None:
        """Upload it."""
        self._blob.write(piece.start, piece.data, piece.proof, lease=lease)

    def same(self, start: int, length: int, proof: bytes | None = None) -> bool:
        """Read the blob back and compare."""
        if proof is None:
            proof = _md5(self._disk.read(start, length))
        return _md5(self._blob.read(start, length)) == proof


class FromService:
    """Has the service copy the pages of another blob, which isn't changed meanwhile."""

    compares = False

    def __init__(self, source: PageBlob, blob: PageBlob, facts: BlobFacts) -> None:
        self.size = facts.size
        self._source = source
        self._blob = blob
        self._ranges: Ranges = source.ranges()
        self._content = f"{source.url} {facts.etag}".encode()

    def spans(self) -> Iterator[Span]:
        """The source's pages."""
        return iter(self._ranges)

    def pieces(self, cell: Cell) -> list[Piece]:
        """The cell's pages, with the version of the source that they come from as their proof."""
        joined: list[Span] = []
        for start, stop in cell.spans:
            if joined and start - joined[-1][1] < GAP:
                joined[-1] = joined[-1][0], stop
            else:
                joined.append((start, stop))
        return [Piece(start, stop - start, _md5(self._content)) for start, stop in joined]

    def send(self, piece: Piece, lease: str | None) -> None:
        """Have it copied."""
        self._blob.write_from(self._source, piece.start, piece.length, lease=lease)

    def same(self, start: int, length: int, proof: bytes | None = None) -> bool:
        """Read both and compare."""
        return self._source.read(start, length) == self._blob.read(start, length)


def footer(size: int) -> Cell:
    """The last page of a disk."""
    return Cell(size - PAGE, size, ((size - PAGE, size),))


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
