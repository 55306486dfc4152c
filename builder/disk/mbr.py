"""The classic PC master boot record, with its chain of extended boot records for logical partitions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from builder.disk.tables import SECTOR, Partition, PartitionTable, sector
from builder.errors import BuildError

MAGIC = b"\x55\xaa"
# The type of the one partition that says that a GPT follows
PROTECTIVE = 0xEE
ALIGNMENT = 1024 * 1024
_ENTRY = struct.Struct("<B3sB3sII")
_EXTENDED_TYPES = frozenset({0x05, 0x0F, 0x85})
# A chain of extended boot records may be made a circle: real disks have a handful
_MOST_LOGICAL = 128


def is_protective(first: bytes) -> bool:
    """Whether a disk's first sector says that a GPT follows (UEFI specification, 5.2.3); a hybrid one does, too."""
    return first[510:512] == MAGIC and any(kind == PROTECTIVE and start == 1 for _, kind, start, _ in _entries(first))


def write_protective(sector: bytearray, last: int) -> None:
    """Say in a disk's first sector that a GPT follows, up to sector `last` (UEFI specification, table 5-4)."""
    # CHS of the start and the end are fixed there
    _ENTRY.pack_into(sector, 446, 0, b"\x00\x02\x00", PROTECTIVE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    sector[510:512] = MAGIC


def names_partitions(first: bytes) -> bool:
    """Whether a disk's first sector is a master boot record with partitions."""
    return first[510:512] == MAGIC and any(kind and count for _, kind, _, count in _entries(first))


def read_mbr(file: BinaryIO, size: int) -> PartitionTable | None:
    """The partitions of a master boot record on a disk of `size` bytes; None when there is none."""
    raw = sector(file, 0)
    if raw[510:512] != MAGIC:
        return None
    # A file system's own boot sector ends with the same two bytes
    if raw[3:7] == b"NTFS" or raw[3:11] == b"-FVE-FS-" or raw[54:57] == b"FAT" or raw[82:87] == b"FAT32":
        return None
    identity = f"{struct.unpack_from('<I', raw, 440)[0]:08x}"
    found: list[Partition] = []
    extended = 0
    for number, entry in enumerate(_entries(raw), start=1):
        flags, kind, first, count = entry
        if flags not in (0, 0x80):
            return None
        if kind in _EXTENDED_TYPES and count:
            extended = first
        elif kind and count and first * SECTOR < size:
            found.append(_partition(number, entry, identity))
    found += _logical(file, extended, size, identity)
    return PartitionTable("mbr", identity, tuple(found)) if found else None


def _entries(raw: bytes) -> Iterator[tuple[int, int, int, int]]:
    for offset in range(446, 510, _ENTRY.size):
        flags, _, kind, _, first, count = _ENTRY.unpack_from(raw, offset)
        yield flags, kind, first, count


def _partition(number: int, entry: tuple[int, int, int, int], identity: str, base: int = 0) -> Partition:
    flags, kind, first, count = entry
    return Partition(
        number=number,
        start=(base + first) * SECTOR,
        size=count * SECTOR,
        type=f"{kind:02x}",
        partuuid=f"{identity}-{number:02x}",
        bootable=flags == 0x80,
    )


def _logical(file: BinaryIO, extended: int, size: int, identity: str) -> Iterator[Partition]:
    """Partitions 5 and up: each extended boot record holds one partition and a link to the next record."""
    record = extended
    for number in range(5, 5 + _MOST_LOGICAL):
        if not record or record * SECTOR >= size:
            return
        raw = sector(file, record)
        if raw[510:512] != MAGIC:
            return
        own, link, *_ = _entries(raw)
        if own[1] and own[3]:
            yield _partition(number, own, identity, base=record)
        # The partition is relative to its record, the link to the start of the extended partition
        record = extended + link[2] if link[1] in _EXTENDED_TYPES and link[2] else 0


def grow_mbr(file: BinaryIO, size: int, last: Partition) -> None:
    """Let the last partition end where a disk of `size` bytes does, on a whole MiB; BuildError for a logical one."""
    if last.number > 4:
        raise BuildError(
            f"the disk's last partition ({last.number}) is a logical one, which build doesn't grow",
            code="partition-layout",
            hint="leave the disk's size out, or give the source a GPT or a primary root partition",
        )
    end = max(min(size, 0xFFFFFFFF * SECTOR) // ALIGNMENT * ALIGNMENT, last.start + last.size)
    file.seek(446 + (last.number - 1) * _ENTRY.size + 12)
    file.write(struct.pack("<I", (end - last.start) // SECTOR))
