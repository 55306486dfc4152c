"""What ext2, ext3 and ext4 keep of deleted files where trimming doesn't reach: in the journal, and in unused inodes.

The journal is never free, and what was written through it stays until it comes round: names, links' targets, extended
attributes, with data=journal whole files. An inode that was freed still has its extended attributes, and with
inline_data the file itself. Source: "Ext4 Disk Layout" in the kernel's documentation; e2fsprogs for what e2fsck takes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from builder.disk import layers
from builder.disk.clearing import clear
from builder.disk.contents import joined, write_all
from builder.disk.volumes import Volume
from builder.errors import BuildError

TYPES = ("ext2", "ext3", "ext4")
_HAS_JOURNAL = 0x4
_RECOVER, _META_BG, _64BIT = 0x4, 0x10, 0x80
_SPARSE_SUPER, _GDT_CSUM, _METADATA_CSUM = 0x1, 0x10, 0x400
_SPARSE_SUPER2 = 0x200
_INODE_UNINIT = 0x1
_EXTENTS_FLAG = 0x80000
_EXTENT_MAGIC = 0xF30A
_DEEPEST_EXTENTS = 5
_LONGEST_WRITTEN = 32768
_JOURNAL_MAGIC = 0xC03B3998
# Between inodes that are cleared, this many bytes are sooner written again than left out
_NEAR = 64 * 1024


def clear_deleted(volume: Volume) -> int:
    """Clear the journal and the unused inodes of an ext filesystem that isn't mounted. Returns the bytes cleared.

    Its disk must be exported for writing. Raises BuildError ("filesystem-trim") when the journal still holds something
    to be replayed (nothing is cleared then), or when what stands there makes no sense.
    """
    descriptor = os.open(volume.raw, os.O_RDWR | os.O_CLOEXEC)
    cluster = layers.cluster_size(volume.disk.path)
    try:
        filesystem = _Filesystem(descriptor, volume)
        total = sum(clear(descriptor, start, end, cluster=cluster) for start, end in filesystem.journal())
        for group in filesystem.groups():
            total += filesystem.clear_inodes(group, cluster)
        return total
    except struct.error as error:
        raise _senseless(volume, "it ends too early") from error
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Group:
    """A block group, as far as its inodes matter: places in blocks; the last `never_used` inodes weren't ever."""

    bitmap: int
    table: int
    never_used: int
    free: int


class _Filesystem:
    """An ext filesystem at a volume's place of an open disk."""

    def __init__(self, descriptor: int, volume: Volume) -> None:
        self.descriptor = descriptor
        self.volume = volume
        block = os.pread(descriptor, 1024, volume.start + 1024)
        if block[0x38:0x3A] != b"\x53\xef":
            raise _senseless(volume, "it has no superblock")
        self.superblock = block
        self.block_size = 1024 << min(self._word(0x18), 6)
        self.compatible, self.incompatible, self.read_only = struct.unpack_from("<III", block, 0x5C)
        # Revision 0 had no such field
        self.inode_size = struct.unpack_from("<H", block, 0x58)[0] if self._word(0x4C) else 128
        self.inodes_per_group = self._word(0x28)
        wide = self.incompatible & _64BIT
        self.blocks = self._word(0x4) | (self._word(0x150) << 32 if wide else 0)
        self.descriptor_size = struct.unpack_from("<H", block, 0xFE)[0] if wide else 32
        if self.incompatible & _RECOVER:
            raise _senseless(volume, "its journal was not replayed")
        if not (32 <= self.descriptor_size <= 1024 and 128 <= self.inode_size <= self.block_size and self._word(0x20)):
            raise _senseless(volume, "its superblock is damaged")

    def _word(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.superblock, offset)[0])

    def _place(self, block: int, count: int = 1) -> int:
        """Where some blocks stand on the disk."""
        end = (block + count) * self.block_size
        if block <= 0 or block + count > self.blocks or end > self.volume.size:
            raise _senseless(self.volume, "it names blocks beyond its end")
        return self.volume.start + block * self.block_size

    def _read(self, block: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, self._place(block, -(-length // self.block_size)))

    def journal(self) -> list[tuple[int, int]]:
        """The ranges of the disk that the journal has, without its own superblock, which is its first block."""
        number = self._word(0xE0)
        if not self.compatible & _HAS_JOURNAL or not number:
            return []  # none, or on a disk of its own
        table = next(self.groups()).table
        if number > self.inodes_per_group:
            raise _senseless(self.volume, "its journal is no file of its own")
        inode = os.pread(self.descriptor, 128, self._place(table) + (number - 1) * self.inode_size)
        runs = self._runs(inode)
        first = next((run for run in runs if run[0] == 0), None)
        header = self._read(first[1], 1024) if first else b""
        # struct journal_superblock_s, big-endian: magic, type, (sequence), block size, (3 others), start of a replay
        fields = struct.unpack_from(">8I", header) if header else (0,) * 8
        if (fields[0], fields[3]) != (_JOURNAL_MAGIC, self.block_size) or fields[1] not in (3, 4):
            raise _senseless(self.volume, "its journal is none")
        if fields[7]:
            raise _senseless(self.volume, "its journal was not replayed")
        found = []
        for logical, block, count in runs:
            place = self._place(block, count)
            found.append((place + (self.block_size if logical == 0 else 0), place + count * self.block_size))
        return found

    def _runs(self, inode: bytes) -> list[tuple[int, int, int]]:
        """What an inode's file has: its block number in the file, the filesystem's, and how many follow each other."""
        flags = struct.unpack_from("<I", inode, 0x20)[0]
        if flags & _EXTENTS_FLAG:
            return list(self._extents(inode[0x28:0x64], _DEEPEST_EXTENTS))
        size = struct.unpack_from("<I", inode, 0x4)[0] | struct.unpack_from("<I", inode, 0x6C)[0] << 32
        runs: list[tuple[int, int, int]] = []
        blocks = min(-(-size // self.block_size), self.blocks)
        for logical, block in enumerate(self._mapped(struct.unpack_from("<15I", inode, 0x28))):
            if logical >= blocks:
                break
            if block and runs and sum(runs[-1][::2]) == logical and sum(runs[-1][1:]) == block:
                runs[-1] = (runs[-1][0], runs[-1][1], runs[-1][2] + 1)
            elif block:
                runs.append((logical, block, 1))
        return runs

    def _extents(self, node: bytes, depth: int) -> Iterator[tuple[int, int, int]]:
        magic, entries, _, below = struct.unpack_from("<4H", node)
        if magic != _EXTENT_MAGIC or below > depth:
            raise _senseless(self.volume, "its journal is none")
        for at in range(12, 12 + 12 * entries, 12):
            if below:
                low, high = struct.unpack_from("<IH", node, at + 4)
                yield from self._extents(self._read(low | high << 32, self.block_size), below - 1)
            else:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                # A longer one is allocated, but not written: then the length counts on from there
                count = length if length <= _LONGEST_WRITTEN else length - _LONGEST_WRITTEN
                yield logical, low | high << 32, count

    def _mapped(self, pointers: tuple[int, ...]) -> Iterator[int]:
        """The blocks of a file without extents, in order: 12 of its own, then trees of one, two and three levels."""
        yield from pointers[:12]
        for level, block in enumerate(pointers[12:], start=1):
            yield from self._indirect(block, level)

    def _indirect(self, block: int, level: int) -> Iterator[int]:
        per_block = self.block_size // 4
        if level == 0:
            yield block
        elif block == 0:
            yield from (0 for _ in range(per_block**level))
        else:
            for pointer in struct.unpack(f"<{per_block}I", self._read(block, self.block_size)):
                yield from self._indirect(pointer, level - 1)

    def clear_inodes(self, group: _Group, cluster: int) -> int:
        """Make the unused inodes of a group zeros. Returns how many bytes weren't, or may not have been."""
        used = self.inodes_per_group - group.never_used
        size = self.inode_size
        table = self._place(group.table, -(-self.inodes_per_group * size // self.block_size))
        total = 0
        if used and group.free > group.never_used:
            bitmap = self._read(group.bitmap, -(-self.inodes_per_group // 8))
            inodes = bytearray(os.pread(self.descriptor, used * size, table))
            written = [(first * size, last * size) for first, last in _zero_bits(bitmap, used)]
            written = [(start, end) for start, end in written if inodes.count(0, start, end) != end - start]
            for start, end in written:
                inodes[start:end] = bytes(end - start)
                total += end - start
            # A write costs more than its bytes, and part of a cluster more than all of it
            for start, end in joined(written, alignment=max(cluster, self.block_size), gap=_NEAR):
                write_all(self.descriptor, memoryview(inodes)[start:end], table + start)
        start, end = table + used * size, table + self.inodes_per_group * size
        return total + (clear(self.descriptor, start, end, cluster=cluster) if group.never_used else 0)

    def groups(self) -> Iterator[_Group]:
        """The block groups in order."""
        size = self.descriptor_size
        per_block = self.block_size // size
        # Without checksums of groups, what they say of never used inodes means nothing
        told = self.read_only & (_GDT_CSUM | _METADATA_CSUM)
        count = -(-(self.blocks - self._word(0x14)) // self._word(0x20))
        for first in range(0, count, per_block):
            block = self._read(self._descriptors(first, per_block), self.block_size)
            for at in range(0, min(per_block, count - first) * size, size):
                raw = block[at : at + size].ljust(64, b"\0")
                bitmap, table = (low | high << 32 for low, high in zip(*_halves("<II", raw, 0x4), strict=True))
                free, flags = struct.unpack_from("<H2xH", raw, 0xE)
                never = struct.unpack_from("<H", raw, 0x1C)[0]
                if size >= 64:
                    free |= struct.unpack_from("<H", raw, 0x2E)[0] << 16
                    never |= struct.unpack_from("<H", raw, 0x32)[0] << 16
                if told and flags & _INODE_UNINIT:
                    never = self.inodes_per_group
                yield _Group(bitmap, table, min(never, self.inodes_per_group) if told else 0, free)

    def _descriptors(self, group: int, per_block: int) -> int:
        """The block with the descriptors from `group` on, which is the first in it."""
        index = group // per_block
        if not self.incompatible & _META_BG or index < self._word(0x104):
            return 1024 // self.block_size + 1 + index
        if group == 0:
            return 1024 // self.block_size + 1
        return self._word(0x14) + group * self._word(0x20) + self._has_superblock(group)

    def _has_superblock(self, group: int) -> bool:
        """Whether a group other than the first begins with a copy of the superblock."""
        if self.compatible & _SPARSE_SUPER2:
            return group in struct.unpack_from("<2I", self.superblock, 0x24C)
        return not self.read_only & _SPARSE_SUPER or group == 1 or any(_is_power(group, base) for base in (3, 5, 7))


def _halves(format: str, raw: bytes, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Fields of a group's descriptor: their lower halves, and the upper ones 32 bytes on."""
    return struct.unpack_from(format, raw, offset), struct.unpack_from(format, raw, offset + 0x20)


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def _zero_bits(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """The runs (first, one after the last) of bits that are 0 among the first `count`."""
    bits = bin(int.from_bytes(bitmap, "little") | 1 << len(bitmap) * 8)[:2:-1][:count]
    first = bits.find("0")
    while first >= 0:
        last = bits.find("1", first)
        yield first, last if last >= 0 else count
        first = bits.find("0", last) if last >= 0 else -1


def _senseless(volume: Volume, why: str) -> BuildError:
    return BuildError(
        f"what {volume.name} keeps of deleted files can't be cleared: {why}",
        code="filesystem-trim",
        hint="repair it where it came from: e2fsck -f",
    )
