"""Which kernel modules an initramfs holds. Source: the kernel's "initramfs buffer format" and cpio's newc format.

An initramfs is a row of cpio archives, each plain or compressed, with zeros between them: usually plain ones with
microcode (or modules) first, then one that is compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from builder.guest.inspection.unpacking import BROKEN, CHUNK, MOST_BYTES, Stream, Unreadable, is_packed, unpacked

MAGIC = (b"070701", b"070702")
HEADER = 110
TRAILER = "TRAILER!!!"
LONGEST_NAME = 4096
# A padding is 511 bytes long
MOST_ZEROS = 64 * 1024
# Where dracut's `squash` and its successors put all modules
IMAGES = ("squash/root.img", "squash-root.img", "squashfs-root.img", "erofs-root.img")


def module_names(file: BinaryIO) -> frozenset[str]:
    """The names of the kernel modules in an initramfs (`hv_vmbus`), whichever way it is packed.

    Raises Unreadable for what is none, is damaged, holds its modules in a filesystem's image, or needs a program that
    isn't installed.
    """
    found: set[str] = set()
    paths = 0
    try:
        for path in _paths(file):
            paths += 1
            if ".ko" in path:
                found.add(module_name(path))
            elif path.removeprefix("./") in IMAGES:
                raise Unreadable(f"its modules are in an image within it ({path})", code="initramfs")
    except BROKEN as error:
        raise Unreadable(f"it is damaged: {error}", code="initramfs") from error
    if not paths:
        raise Unreadable("it is no cpio archive in any known compression", code="initramfs")
    return frozenset(found)


def module_name(path: str) -> str:
    """A module's name from its file's: `-` and `_` are the same to modprobe, and files may be compressed."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def _paths(file: BinaryIO) -> Iterator[str]:
    while magic := _next_magic(file):
        if magic in MAGIC:
            yield from _archive(file)
        elif is_packed(magic):
            with unpacked(file, magic) as stream:
                yield from _archives(stream)
        else:
            return  # the kernel, too, takes what stands before it


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


def _archives(stream: Stream) -> Iterator[str]:
    """The paths of the archives in what was unpacked; some are several archives, one after the other."""
    while first := _after_zeros(stream):
        yield from _archive(stream, first)


def _after_zeros(stream: Stream) -> bytes:
    """The next byte that isn't zero; nothing at the end."""
    for _ in range(MOST_ZEROS):
        if (byte := stream.read(1)) != b"\0":
            return byte
    raise EOFError("there are too many zeros between its archives")


def _archive(stream: Stream, start: bytes = b"") -> Iterator[str]:
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


def _skip(stream: Stream, count: int) -> None:
    while count > 0:
        block = stream.read(min(count, CHUNK))
        if not block:
            raise EOFError("an archive ends too early")
        count -= len(block)
