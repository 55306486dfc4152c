"""The content of a disk, in chunks: read where there is any, and hashed.

The digest doesn't depend on how the content is stored: it covers the disk's size and the sha256 of every aligned chunk
of 1 MiB that isn't all zero. A hole and written zeros are the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from builder.disk import vhd
from builder.disk.layers import Extent
from builder.errors import Interrupted

CHUNK = 1024 * 1024
BLOCK = 4096
# What is copied before looking whether somebody wants us to stop
PIECE = 256 * CHUNK
# Reading and hashing release the interpreter's lock; more threads than this gain nothing
WORKERS = 2
_ZERO_CHUNK = bytes(CHUNK)
_ZERO_BLOCK = bytes(BLOCK)
_NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

Progress = Callable[[int, int], None]


def copy_sparse(source: Path, target: Path, *, stop: threading.Event | None = None) -> None:
    """Copy a file with its holes, stored when this returns. Nothing is left at `target` on failure.

    Raises OSError, and Interrupted when `stop` is set.
    """
    with source.open("rb") as reading:
        try:
            with target.open("xb") as writing:
                size = os.fstat(reading.fileno()).st_size
                writing.truncate(size)
                for start, end in data_ranges(reading.fileno(), 0, size):
                    for begin in range(start, end, PIECE):
                        if stop is not None and stop.is_set():
                            raise Interrupted("interrupted", code="interrupted")
                        _copy_range(reading.fileno(), writing.fileno(), begin, min(begin + PIECE, end))
                os.fsync(writing.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    """Copy bytes to the same place of another file; by the kernel where it can, which is within one file system."""
    at = start
    try:
        while at < end:
            at += os.copy_file_range(source, target, end - at, at, at)
    except OSError as error:
        if error.errno not in _NOT_BY_THE_KERNEL:
            raise
        while at < end:
            data = os.pread(source, min(CHUNK, end - at), at)
            at += os.pwrite(target, data, at)


def no_progress(done: int, total: int) -> None:
    """The listener that doesn't listen."""


@dataclass(frozen=True)
class Contents:
    """What was found: the digest (`sha256:...`) and how many bytes stand in blocks that aren't all zero."""

    digest: str
    data_bytes: int


def read_contents(
    extents: Iterable[Extent],
    size: int,
    *,
    sources: Mapping[Path | None, int],
    progress: Progress = no_progress,
    total: int = 0,
    stop: threading.Event | None = None,
    target: int | None = None,
) -> Contents:
    """Read the extents of a disk of `size` bytes, and tell what they hold.

    `sources` are open descriptors by the extents' files. What isn't zero is written to `target`, where one is given:
    an open descriptor of a file that is empty. `progress` gets the bytes done and `total`, from any thread. Raises
    Interrupted when `stop` is set, OSError for what can't be read or written.
    """
    job = _Job(chunks=_chunks(extents), sources=sources, progress=progress, total=total, stop=stop, target=target)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="contents") as pool:
        for future in [pool.submit(job.work) for _ in range(WORKERS)]:
            future.result()
    return Contents(_digest(size, job.hashes), job.data_bytes)


class _Job:
    """What the workers share; changed under `lock`."""

    def __init__(
        self,
        *,
        chunks: Iterator[tuple[int, list[Extent]]],
        sources: Mapping[Path | None, int],
        progress: Progress,
        total: int,
        stop: threading.Event | None,
        target: int | None,
    ) -> None:
        self.chunks = chunks
        self.target = target
        self.sources = sources
        self.progress = progress
        self.total = total
        self.stop = stop
        self.lock = threading.Lock()
        self.failed = False
        self.done = 0
        self.data_bytes = 0
        self.hashes: dict[int, bytes] = {}

    def work(self) -> None:
        """Take chunks until there are none, or another worker failed."""
        try:
            buffer = bytearray(CHUNK)
            while True:
                with self.lock:
                    item = None if self.failed else next(self.chunks, None)
                if item is None:
                    return
                if self.stop is not None and self.stop.is_set():
                    raise Interrupted("interrupted", code="interrupted")
                self._chunk(item[0], item[1], buffer)
        except BaseException:
            self.failed = True
            raise

    def _chunk(self, index: int, pieces: list[Extent], buffer: bytearray) -> None:
        start = index * CHUNK
        done = sum(piece.length for piece in pieces)
        if done < CHUNK:
            buffer[:] = _ZERO_CHUNK
        with memoryview(buffer) as view:
            for piece in pieces:
                place = view[piece.start - start : piece.start - start + piece.length]
                _read_into(self.sources[piece.file], place, piece.start if piece.offset is None else piece.offset)
            digest = b""
            data = 0
            if buffer != _ZERO_CHUNK:
                digest = hashlib.sha256(view).digest()
                runs = list(_data_runs(buffer))
                data = sum(end - begin for begin, end in runs)
                if self.target is not None:
                    for begin, end in runs:
                        write_all(self.target, view[begin:end], start + begin)
                        # Nobody waits, but the file system begins to store what somebody will want stored at the end
                        os.posix_fadvise(self.target, start + begin, end - begin, os.POSIX_FADV_DONTNEED)
        with self.lock:
            if digest:
                self.hashes[index] = digest
            self.data_bytes += data
            self.done += done
            self.progress(self.done, self.total)


def _chunks(extents: Iterable[Extent]) -> Iterator[tuple[int, list[Extent]]]:
    """The extents cut at chunk borders and grouped by chunk."""
    index, pieces = -1, list[Extent]()
    for extent in extents:
        at = 0
        while at < extent.length:
            start = extent.start + at
            length = min(extent.length - at, CHUNK - start % CHUNK)
            if start // CHUNK != index:
                if pieces:
                    yield index, pieces
                index, pieces = start // CHUNK, []
            offset = None if extent.offset is None else extent.offset + at
            pieces.append(Extent(start, length, extent.file, offset))
            at += length
    if pieces:
        yield index, pieces


def _read_into(descriptor: int, place: memoryview, offset: int) -> None:
    """Fill `place`. What is beyond the file's end reads as zeros, as a layer's last cluster may."""
    done = 0
    while done < len(place):
        count = os.preadv(descriptor, [place[done:]], offset + done)
        if count == 0:
            place[done:] = bytes(len(place) - done)
            return
        done += count


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset` of a file."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _data_runs(buffer: bytearray) -> Iterator[tuple[int, int]]:
    """The parts of a chunk whose blocks aren't all zero: begin and end."""
    if buffer.find(_ZERO_BLOCK) < 0:
        yield 0, CHUNK
        return
    begin = None
    for at in range(0, CHUNK, BLOCK):
        if buffer.startswith(_ZERO_BLOCK, at):
            if begin is not None:
                yield begin, at
            begin = None
        elif begin is None:
            begin = at
    if begin is not None:
        yield begin, CHUNK


def _digest(size: int, hashes: Mapping[int, bytes]) -> str:
    whole = hashlib.sha256(size.to_bytes(8, "big"))
    for index in sorted(hashes):
        whole.update(index.to_bytes(8, "big") + hashes[index])
    return "sha256:" + whole.hexdigest()


def content_digest(path: Path, *, progress: Progress = no_progress, stop: threading.Event | None = None) -> str:
    """The content digest of a raw disk or fixed VHD (without its footer). Holes aren't read.

    Raises BuildError for a VHD that is damaged, OSError for a file that can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if os.pread(descriptor, len(vhd.COOKIE), max(size - vhd.FOOTER_SIZE, 0)) == vhd.COOKIE:
            size = vhd.read_footer(path).size
        extents = [Extent(start, end - start, path, start) for start, end in data_ranges(descriptor, 0, size)]
        total = sum(extent.length for extent in extents)
        sources: dict[Path | None, int] = {path: descriptor}
        return read_contents(extents, size, sources=sources, progress=progress, total=total, stop=stop).digest
    finally:
        os.close(descriptor)


def data_ranges(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges (first byte, byte after the last) between `start` and `end` of a file that aren't holes."""
    while start < end:
        try:
            first = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        if first >= end:
            return
        start = os.lseek(descriptor, first, os.SEEK_HOLE)
        yield first, min(start, end)


def joined(ranges: Iterable[tuple[int, int]], *, alignment: int, gap: int) -> Iterator[tuple[int, int]]:
    """Ranges in their order, widened to whole multiples, as one where less than `gap` is between them."""
    pending: tuple[int, int] | None = None
    for start, end in ranges:
        first, last = start // alignment * alignment, -(-end // alignment) * alignment
        if pending is not None and first - pending[1] < gap:
            pending = (pending[0], last)
        else:
            if pending is not None:
                yield pending
            pending = (first, last)
    if pending is not None:
        yield pending
