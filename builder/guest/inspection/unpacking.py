"""Unpacking the compressed archives of an initramfs, one after the other: each says where it ends.

Sources: RFC 1952 (gzip), RFC 8878 (zstd), LZ4's "Frame Format Description" (with the legacy format, Linux's own).
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import BinaryIO, Protocol

from builder import process
from builder.errors import BuildError
from builder.guest.inspection.outputs import write_output
from builder.guest.inspection.scratch import scratch_folder

CHUNK = 1024 * 1024
# What an initramfs unpacks to is rarely 500 MB; a hostile one could be endless
MOST_BYTES = 4 * 1024**3
BROKEN = (EOFError, OSError, ValueError, struct.error, zlib.error, lzma.LZMAError)


class Unreadable(BuildError):
    """An initramfs that can't be read; the message says why."""


class Stream(Protocol):
    """What is read from: an open file, or what an archive unpacks to."""

    def read(self, count: int, /) -> bytes:
        """The next bytes; fewer than `count` at the end."""
        ...


class _Decompressor(Protocol):
    """Python's own for xz and bzip2 are so."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor, made like the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Unpacking:
    """What one compressed stream unpacks to. At its end, the file stands behind the stream."""

    def __init__(self, file: BinaryIO, decompressor: _Decompressor) -> None:
        self._file = file
        self._inner = decompressor

    def read(self, count: int, /) -> bytes:
        found = bytearray()
        while len(found) < count and not self._inner.eof:
            block = self._file.read(CHUNK) if self._inner.needs_input else b""
            if self._inner.needs_input and not block:
                raise EOFError("its compressed data ends too early")
            found += self._inner.decompress(block, count - len(found))
            if self._inner.eof:
                self._file.seek(-len(self._inner.unused_data), os.SEEK_CUR)
        return bytes(found)


# What Python unpacks itself, by magic number
BUILT_IN: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _Gzip,
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
    b"BZh": bz2.BZ2Decompressor,
}


def _zstd_end(file: BinaryIO) -> None:
    """Go to the end of a zstd frame (RFC 8878, 3.1.1)."""
    descriptor = _exactly(file, 5)[4]
    content_size, single = descriptor >> 6, bool(descriptor & 0x20)
    header = (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + (int(single), 2, 4, 8)[content_size]
    file.seek(header, os.SEEK_CUR)
    last = False
    while not last:
        block = int.from_bytes(_exactly(file, 3), "little")
        last = bool(block & 1)
        # A block of type 1 repeats one byte
        file.seek(1 if block >> 1 & 3 == 1 else block >> 3, os.SEEK_CUR)
    file.seek(4 if descriptor & 4 else 0, os.SEEK_CUR)


def _legacy_lz4_end(file: BinaryIO) -> None:
    """Go to the end of LZ4's legacy frame: blocks until something that can't be a block's size, or the end."""
    start = file.tell()
    length = file.seek(0, os.SEEK_END)
    at = start + 4
    while at < length:
        file.seek(at)
        size = int.from_bytes(file.read(4), "little")
        if not 0 < size <= min(_LEGACY_LZ4_BLOCK, length - at - 4):
            break
        at += 4 + size
    file.seek(at)


def _to_the_end(file: BinaryIO) -> None:
    file.seek(0, os.SEEK_END)


# The greatest that 8 MiB can become when they can't be compressed
_LEGACY_LZ4_BLOCK = 8 * 1024**2 + 8 * 1024**2 // 255 + 16
# What a program unpacks: its command, the Debian package that has it, and what finds the end
PROGRAMS: dict[bytes, tuple[tuple[str, ...], str, Callable[[BinaryIO], None]]] = {
    b"\x28\xb5\x2f\xfd": (("zstd", "-q", "-d", "-c", "--long=31"), "zstd", _zstd_end),
    b"\x02\x21\x4c\x18": (("lz4", "-q", "-d", "-c"), "lz4", _legacy_lz4_end),
    b"\x04\x22\x4d\x18": (("lz4", "-q", "-d", "-c"), "lz4", _to_the_end),
    b"\x89LZO\x00": (("lzop", "-q", "-d", "-c"), "lzop", _to_the_end),
}


def is_packed(magic: bytes) -> bool:
    """Whether a compressed archive begins with these bytes (6 or more)."""
    return any(magic.startswith(start) for start in (*BUILT_IN, *PROGRAMS))


@contextmanager
def unpacked(file: BinaryIO, magic: bytes) -> Iterator[Stream]:
    """What the archive at the file's position unpacks to. When that was read to its end, the file stands behind it.

    Raises Unreadable when a program is missing or refuses it; reading raises one of BROKEN when it is damaged.
    """
    for start, make in BUILT_IN.items():
        if magic.startswith(start):
            yield _Unpacking(file, make())
            return
    words, package, find_end = next(row for start, row in PROGRAMS.items() if magic.startswith(start))
    try:
        process.find_program(words[0], package=package, why="unpack an initramfs")
    except BuildError as error:
        raise Unreadable(f"{error.message} ({error.hint})", code="initramfs") from error
    with scratch_folder(Path(gettempdir()), "build-initramfs-") as folder:
        _copy(file, folder / "packed", find_end)
        try:
            write_output([*words, folder / "packed"], folder / "plain", limit=MOST_BYTES)
        except process.CommandFailed as error:
            # What stands after the archive's end may be what it complains of: it has unpacked the rest all the same
            if error.status < 0 or not (folder / "plain").stat().st_size:
                why = error.tail.rpartition("/packed")[2].strip(" :\n") or error.message
                raise Unreadable(f"{words[0]} can't unpack it: {why}", code="initramfs") from error
        with (folder / "plain").open("rb") as plain:
            yield plain


def _copy(file: BinaryIO, target: Path, find_end: Callable[[BinaryIO], None]) -> None:
    """Copy one archive; the file then stands behind it."""
    start = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(start)
    find_end(file)
    end = min(file.tell(), length)
    file.seek(start)
    with target.open("wb") as copy:
        while block := file.read(min(CHUNK, end - file.tell())):
            copy.write(block)


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise EOFError("its compressed data ends too early")
    return found
