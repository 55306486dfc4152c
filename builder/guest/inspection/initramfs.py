"""Which kernel modules an initramfs holds. Source: the kernel's "initramfs buffer format" and cpio's newc format.

An initramfs is a row of cpio archives: plain ones with microcode (or modules) first, then one that is compressed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, BinaryIO

from builder import process
from builder.errors import BuildError
from builder.guest.inspection.outputs import write_output

MAGIC = (b"070701", b"070702")
HEADER = 110
TRAILER = "TRAILER!!!"
LONGEST_NAME = 4096
CHUNK = 1024 * 1024
# What an initramfs unpacks to is rarely 500 MB; a hostile one could be endless
MOST_BYTES = 4 * 1024**3

# What Python unpacks itself, by magic number
BUILT_IN: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00": lzma.open,
    b"BZh": bz2.open,
}
# What a program unpacks: its command and the Debian package that has it
PROGRAMS = {
    b"\x28\xb5\x2f\xfd": (("zstd", "-q", "-d", "-c"), "zstd"),
    b"\x02\x21\x4c\x18": (("lz4", "-q", "-d", "-c"), "lz4"),
    b"\x04\x22\x4d\x18": (("lz4", "-q", "-d", "-c"), "lz4"),
    b"\x89LZO\x00": (("lzop", "-q", "-d", "-c"), "lzop"),
}
_BROKEN = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


class Unreadable(BuildError):
    """An initramfs that can't be read; the message says why."""


def module_names(file: BinaryIO) -> frozenset[str]:
    """The names of the kernel modules in an initramfs (`hv_vmbus`), whichever way it is packed.

    Raises Unreadable for what is none, is damaged, or needs a program that isn't installed.
    """
    found: set[str] = set()
    archives = 0
    try:
        for path in _paths(file):
            archives += 1
            if ".ko" in path:
                found.add(module_name(path))
    except _BROKEN as error:
        raise Unreadable(f"it is damaged: {error}", code="initramfs") from error
    if not archives:
        raise Unreadable("it is no cpio archive in any known compression", code="initramfs")
    return frozenset(found)


def module_name(path: str) -> str:
    """A module's name from its file's: `-` and `_` are the same to modprobe, and files may be compressed."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def _paths(file: BinaryIO) -> Iterator[str]:
    while magic := _next_magic(file):
        if magic in MAGIC:
            yield from _archive(file)
            continue
        # The compressed archive is always the last: where it ends is known to who unpacks it only
        with ExitStack() as stack:
            yield from _archives(_unpacked(file, magic, stack))
        return


def _next_magic(file: BinaryIO) -> bytes:
    """The first bytes of the next archive; the file stands before it. Archives are padded with zeros."""
    while block := file.read(512):
        rest = block.lstrip(b"\0")
        if rest:
            file.seek(-len(rest), 1)
            magic = file.read(6)
            file.seek(-len(magic), 1)
            return magic
    return b""


def _unpacked(file: BinaryIO, magic: bytes, stack: ExitStack) -> IO[bytes]:
    for start, opener in BUILT_IN.items():
        if magic.startswith(start):
            stream: IO[bytes] = stack.enter_context(opener(file))
            return stream
    for start, (words, package) in PROGRAMS.items():
        if magic.startswith(start):
            try:
                process.find_program(words[0], package=package, why="unpack an initramfs")
            except BuildError as error:
                raise Unreadable(f"{error.message} ({error.hint})", code="initramfs") from error
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="build-")))
            packed, plain = folder / "packed", folder / "plain"
            with packed.open("wb") as target:
                while block := file.read(CHUNK):
                    target.write(block)
            # A program complains of padding after the archive's end, and has unpacked it all the same
            write_output([*words, packed], plain, limit=MOST_BYTES, ok=(0, 1))
            return stack.enter_context(plain.open("rb"))
    raise Unreadable(f"it begins with {magic.hex()}, which no known archive does", code="initramfs")


def _archives(stream: IO[bytes]) -> Iterator[str]:
    """The paths of the archives in what was unpacked; some are several archives, one after the other."""
    first = _after_zeros(stream)
    while first:
        yield from _archive(stream, first)
        try:
            first = _after_zeros(stream)
        except _BROKEN:
            return  # padding after the compressed archive's end, which is no compressed data


def _after_zeros(stream: IO[bytes]) -> bytes:
    """The next byte that isn't zero; nothing at the end."""
    while (byte := stream.read(1)) == b"\0":
        pass
    return byte


def _archive(stream: IO[bytes], start: bytes = b"") -> Iterator[str]:
    """The paths of one archive. `start` are bytes of it that were read already. Its end may be missing data."""
    read = len(start)
    while read < MOST_BYTES:
        header = start + stream.read(HEADER - len(start))
        start = b""
        if len(header) < HEADER or header[:6] not in MAGIC:
            raise EOFError("an archive ends too early")
        size, name_length = int(header[54:62], 16), int(header[94:102], 16)
        if size < 0 or not 0 < name_length <= LONGEST_NAME:
            raise EOFError("an archive's header makes no sense")
        padding = -(HEADER + name_length) % 4
        name = stream.read(name_length + padding)[:name_length].rstrip(b"\0").decode(errors="replace")
        if name == TRAILER:
            return
        yield name
        skipped = size + -size % 4
        _skip(stream, skipped)
        read += HEADER + name_length + skipped


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        block = stream.read(min(count, CHUNK))
        if not block:
            raise EOFError("an archive ends too early")
        count -= len(block)
