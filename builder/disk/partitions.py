"""Partition tables: reading GPT and MBR, writing and growing them.

Source: UEFI specification 2.10 chapter 5 (GPT; little-endian). Positions and sizes are bytes everywhere outside this
file's structs.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.disk.mbr import MAGIC, PROTECTIVE, grow_mbr, is_protective, names_partitions, read_mbr, write_protective
from builder.disk.tables import SECTOR, Partition, PartitionTable, sector
from builder.errors import BuildError

MIB = 1024 * 1024
ENTRY_COUNT = 128
ENTRY_SIZE = 128
ENTRIES_SECTORS = ENTRY_COUNT * ENTRY_SIZE // SECTOR
FIRST_USABLE = 2 + ENTRIES_SECTORS

TYPE_LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
TYPE_EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
TYPE_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
TYPE_ROOT_X64 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
TYPE_ROOT_ARM64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"
TYPE_SWAP = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
TYPE_LVM = "e6d6d379-f507-44c2-a23c-238f2a3df928"

_HEADER = struct.Struct("<8sIIII QQQQ 16s QIII".replace(" ", ""))
_ENTRY = struct.Struct("<16s16sQQQ72s")
_SIGNATURE = b"EFI PART"
_NAMESPACE = uuid.UUID("0a6fd3f4-9d3e-5d0c-9d0b-2f1f6c6f7a52")


@dataclass(frozen=True)
class GptPartition:
    """A partition to be written. `start` and `size` in bytes, whole sectors; `type` and `guid` are GUIDs.

    `number` counts from 1 and is its place in the table, whatever its place on the disk. Without `guid` one is derived
    from the disk's GUID and the number.
    """

    number: int
    start: int
    size: int
    type: str = TYPE_LINUX
    name: str = ""
    guid: str | None = None
    attributes: int = 0


def write_gpt(path: Path, size: int, partitions: Sequence[GptPartition], *, disk_guid: str | None = None) -> None:
    """Give the disk at `path` (a raw file, made or extended to `size` bytes) a GPT with these partitions.

    Writes the protective MBR (the boot code in its first 446 bytes stays), the primary and the backup table. Without
    `disk_guid` one is derived from the size and the partitions, so that equal calls give equal bytes. Raises BuildError
    ("partition-layout") for partitions that overlap, leave the disk, or stand on no whole sector.
    """
    _check_layout(size, partitions)
    if disk_guid is None:
        disk_guid = str(uuid.uuid5(_NAMESPACE, repr((size, sorted(partitions, key=lambda item: item.number)))))
    entries = bytearray(ENTRY_COUNT * ENTRY_SIZE)
    for part in partitions:
        guid = part.guid or str(uuid.uuid5(uuid.UUID(disk_guid), str(part.number)))
        first = part.start // SECTOR
        _ENTRY.pack_into(
            entries,
            (part.number - 1) * ENTRY_SIZE,
            uuid.UUID(part.type).bytes_le,
            uuid.UUID(guid).bytes_le,
            first,
            first + part.size // SECTOR - 1,
            part.attributes,
            part.name.encode("utf-16-le"),
        )
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        if file.seek(0, os.SEEK_END) < size:
            file.truncate(size)
        _write_tables(file, size, uuid.UUID(disk_guid), bytes(entries))


def _check_layout(size: int, partitions: Sequence[GptPartition]) -> None:
    last_usable = size // SECTOR - FIRST_USABLE
    end = FIRST_USABLE * SECTOR
    problem = f"the disk's size ({size}) is no whole number of sectors" if size % SECTOR else ""
    if len({part.number for part in partitions}) != len(partitions):
        problem = "two partitions have the same number"
    for part in sorted(partitions, key=lambda item: item.start):
        if not 1 <= part.number <= ENTRY_COUNT:
            problem = f"partition {part.number}: numbers go from 1 to {ENTRY_COUNT}"
        elif part.start % SECTOR or part.size % SECTOR or part.size <= 0:
            problem = f"partition {part.number} is not made of whole sectors of {SECTOR} bytes"
        elif part.start < end:
            problem = f"partition {part.number} overlaps what stands before it"
        elif (part.start + part.size) // SECTOR - 1 > last_usable:
            problem = f"partition {part.number} leaves the disk"
        elif len(part.name.encode("utf-16-le")) > 72:
            problem = f"partition {part.number}: its name has more than 36 characters"
        end = part.start + part.size
    if problem:
        raise BuildError(f"these partitions can't be made: {problem}", code="partition-layout")


def _write_tables(file: BinaryIO, size: int, disk: uuid.UUID, entries: bytes) -> None:
    """Write the protective MBR and both GPTs. The backup goes first: a table that is half written can be repaired."""
    last = size // SECTOR - 1
    backup_entries = last - ENTRIES_SECTORS
    file.seek(backup_entries * SECTOR)
    file.write(entries + _header(disk, entries, here=last, other=1, entries_at=backup_entries, last=last))
    file.seek(SECTOR)
    file.write(_header(disk, entries, here=1, other=last, entries_at=2, last=last) + entries)
    file.seek(0)
    mbr = bytearray(file.read(SECTOR).ljust(SECTOR, b"\0"))
    mbr[446:510] = bytes(64)
    write_protective(mbr, last)
    file.seek(0)
    file.write(mbr)
    file.flush()


def _header(disk: uuid.UUID, entries: bytes, *, here: int, other: int, entries_at: int, last: int) -> bytes:
    def pack(own_checksum: int) -> bytes:
        return _HEADER.pack(
            _SIGNATURE,
            0x00010000,
            _HEADER.size,
            own_checksum,
            0,
            here,
            other,
            FIRST_USABLE,
            last - ENTRIES_SECTORS - 1,
            disk.bytes_le,
            entries_at,
            len(entries) // ENTRY_SIZE,
            ENTRY_SIZE,
            zlib.crc32(entries),
        )

    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


@dataclass(frozen=True)
class _Gpt:
    """A GPT as it stands on a disk: the disk's GUID and the raw entries (of 128 bytes each)."""

    disk: uuid.UUID
    entries: bytes
    from_backup: bool


def read_table(path: Path, size: int | None = None) -> PartitionTable | None:
    """The partition table of a raw file or block device; None when there is none. `size`: the disk ends there (bytes).

    A broken primary GPT is replaced by its backup. Raises BuildError ("partition-table") when both are broken, or for
    a disk with sectors of 4096 bytes, which Azure doesn't have.
    """
    with path.open("rb") as file:
        size = size or file.seek(0, os.SEEK_END)
        gpt = _read_gpt(file, size)
        if gpt is not None:
            return PartitionTable("gpt", str(gpt.disk), tuple(_gpt_partitions(gpt)), gpt.from_backup)
        return read_mbr(file, size)


def _read_gpt(file: BinaryIO, size: int) -> _Gpt | None:
    last = size // SECTOR - 1
    if last < 2:
        return None
    gpt = _gpt_at(file, 1, size) or _gpt_at(file, last, size)
    if gpt is not None:
        return gpt
    first = sector(file, 0)
    protected = first[510:] == MAGIC and first[446 + 4] == PROTECTIVE
    if sector(file, 8)[:8] == _SIGNATURE:
        raise BuildError(
            "the disk is partitioned in sectors of 4096 bytes; Azure's disks have sectors of 512",
            code="partition-table",
            hint="make the image again for a disk with 512-byte sectors",
        )
    if protected or _SIGNATURE in (sector(file, 1)[:8], sector(file, last)[:8]):
        raise BuildError(
            "the partition table (GPT) is broken, and so is its backup at the end of the disk",
            code="partition-table",
            hint="the disk may have been cut off: copy it again, or repair it with gdisk",
        )
    return None


def _gpt_at(file: BinaryIO, lba: int, size: int) -> _Gpt | None:
    raw = sector(file, lba)
    if len(raw) < _HEADER.size or raw[:8] != _SIGNATURE:
        return None
    (_, _, header_size, own, _, here, _, _, _, disk, at, count, entry_size, crc) = _HEADER.unpack_from(raw)
    if not _HEADER.size <= header_size <= SECTOR or here != lba:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:header_size]) != own:
        return None
    # The specification asks for at least 16 KiB of entries; the bound keeps a hostile header from filling memory
    if entry_size < ENTRY_SIZE or entry_size % ENTRY_SIZE or count * entry_size > MIB or at * SECTOR > size:
        return None
    file.seek(at * SECTOR)
    entries = file.read(count * entry_size)
    if zlib.crc32(entries) != crc:
        return None
    trimmed = b"".join(entries[i * entry_size : i * entry_size + ENTRY_SIZE] for i in range(count))
    return _Gpt(uuid.UUID(bytes_le=disk), trimmed, lba != 1)


def _gpt_partitions(gpt: _Gpt) -> Iterator[Partition]:
    for index in range(len(gpt.entries) // ENTRY_SIZE):
        kind, guid, first, last, attributes, name = _ENTRY.unpack_from(gpt.entries, index * ENTRY_SIZE)
        if kind == bytes(16) or last < first:
            continue
        yield Partition(
            number=index + 1,
            start=first * SECTOR,
            size=(last - first + 1) * SECTOR,
            type=str(uuid.UUID(bytes_le=kind)),
            partuuid=str(uuid.UUID(bytes_le=guid)),
            name=name.decode("utf-16-le", errors="replace").split("\0", 1)[0],
            attributes=attributes,
        )


def grow_last(path: Path, size: int) -> Partition:
    """Let a disk that was grown to `size` bytes use its new end; return the grown partition.

    The backup GPT moves to the end and the partition that stands last on the disk is extended to whole MiB. GUIDs,
    names and attributes stay; a partition never shrinks. Raises BuildError ("partition-table") when there is no table,
    ("partition-layout") for a layout that can't be grown.
    """
    table = read_table(path)
    if table is None or not table.partitions:
        raise no_partition_table(path.name)
    last = max(table.partitions, key=lambda part: part.start)
    with path.open("r+b") as file:
        if table.kind == "gpt":
            _grow_gpt(file, size, last)
        else:
            grow_mbr(file, size, last)
    grown = read_table(path)
    assert grown is not None  # we wrote it
    return next(part for part in grown.partitions if part.number == last.number)


def _grow_gpt(file: BinaryIO, size: int, last: Partition) -> None:
    gpt = _read_gpt(file, file.seek(0, os.SEEK_END))
    assert gpt is not None  # the caller has read it
    entries = _usual_entries(gpt)
    if entries is None:
        raise BuildError(
            f"the partition table has another size than the usual {ENTRY_COUNT} entries, which build doesn't grow",
            code="partition-layout",
            hint="leave the disk's size out",
        )
    end = max((size - (FIRST_USABLE - 1) * SECTOR) // MIB * MIB, last.start + last.size)
    struct.pack_into("<Q", entries, (last.number - 1) * ENTRY_SIZE + 40, end // SECTOR - 1)
    _write_tables(file, size, gpt.disk, bytes(entries))


def _usual_entries(gpt: _Gpt) -> bytearray | None:
    """The entries as `_write_tables` wants them; None when they are more, or partitions begin where they would end."""
    entries = bytearray(gpt.entries[: ENTRY_COUNT * ENTRY_SIZE].ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0"))
    first = min((part.start for part in _gpt_partitions(gpt)), default=FIRST_USABLE * SECTOR)
    return None if any(gpt.entries[len(entries) :]) or first < FIRST_USABLE * SECTOR else entries


def repair_gpt(path: Path, old_size: int) -> bool:
    """Put both GPTs of a disk that had `old_size` bytes before it grew into place; return whether anything was done.

    A broken table is replaced by the other one, the backup moves to the disk's end, and a first sector without
    partitions gets its protective entry. No partition changes. A disk without a GPT is left alone, and one whose table
    has another size than the usual, or whose partitions would be in the way, or whose first sector has partitions of
    its own. Raises BuildError ("partition-table") when both tables are broken.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        gpt = _gpt_at(file, 1, size) or _gpt_at(file, old_size // SECTOR - 1, size) or _read_gpt(file, size)
        backup = _gpt_at(file, size // SECTOR - 1, size)
        first = sector(file, 0)
        protected = is_protective(first)
        if gpt is None or (size == old_size and protected and backup is not None and not gpt.from_backup):
            return False
        if not protected and names_partitions(first):
            return False
        entries = _usual_entries(gpt)
        end = max((part.start + part.size for part in _gpt_partitions(gpt)), default=0)
        if entries is None or end > size - (FIRST_USABLE - 1) * SECTOR:
            return False
        _write_tables(file, size, gpt.disk, bytes(entries))
    return True


def no_partition_table(name: str) -> BuildError:
    """The error for a disk without a partition table."""
    return BuildError(
        f"{name} has no partition table",
        code="no-partition-table",
        hint="give a whole disk (with GPT or MBR), not a file system or an archive",
    )
