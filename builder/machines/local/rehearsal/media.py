"""Writes the provisioning media: a small read-only UDF disc, the filesystem that Azure's own media has.

UDF and not ISO 9660, because images whose kernel can't read UDF (hardening guides blacklist it) fail on Azure and shall
fail here. Layout: ECMA-167 (volume and file structure) as narrowed by OSTA UDF 1.02; numbers in comments are ECMA-167's
sections. Blocks have 2048 bytes.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from pathlib import Path

BLOCK = 2048
LABEL = "rd_rdfe_stable"

VOLUME_RECOGNITION = 16
MAIN_SEQUENCE = 32
RESERVE_SEQUENCE = 48
SEQUENCE_BLOCKS = 16
INTEGRITY = 64
ANCHOR = 256
PARTITION = 257

# Inside the partition: blocks counted from its start
FILE_SET = 0
ROOT_ENTRY = 1
FILE_ENTRY = 2
FILE_DATA = 3

DIRECTORY = 4
REGULAR_FILE = 5
# Data stands in the file entry itself / is found through short allocation descriptors
EMBEDDED = 3
SHORT_DESCRIPTORS = 0
# Everybody may read and enter
PERMISSIONS = 0x14A5

# A fixed time (2020-01-01 UTC): the same files make the same bytes
TIMESTAMP = struct.pack("<HhBBBBBBBB", 0x1000, 2020, 1, 1, 0, 0, 0, 0, 0, 0)


def _tagged(identifier: int, location: int, body: bytes) -> bytes:
    """A descriptor: its tag (7.2 of part 3), then its body. `location` is the block it is written to."""
    head = struct.pack("<HHBBHHHI", identifier, 2, 0, 0, 0, crc_hqx(body, 0), len(body), location)
    checksum = sum(head) % 256
    return head[:4] + bytes([checksum]) + head[5:] + body


def _text(value: str, size: int) -> bytes:
    """A string in a field of fixed size (7.2.12 of part 1), 8 bits per character."""
    data = b"\x08" + value.encode("ascii")
    return data.ljust(size - 1, b"\0") + bytes([len(data)])


def _entity(name: bytes, suffix: bytes = b"") -> bytes:
    """An entity identifier (7.4 of part 1)."""
    return b"\0" + name.ljust(23, b"\0") + suffix.ljust(8, b"\0")


CHARACTERS = b"\0" + b"OSTA Compressed Unicode".ljust(63, b"\0")
DOMAIN = _entity(b"*OSTA UDF Compliant", struct.pack("<HB", 0x0102, 0x03))
IMPLEMENTATION = _entity(b"*azure-image-build")


def _extent(length: int, location: int) -> bytes:
    return struct.pack("<II", length, location)


def _long_extent(length: int, block: int) -> bytes:
    return struct.pack("<IIH6x", length, block, 0)


def _volume_sequence(start: int, partition_blocks: int) -> bytes:
    """The volume descriptors, one a block: primary volume, logical volume, partition, free space, end."""
    primary = (
        struct.pack("<II", 0, 0)
        + _text(LABEL, 32)
        + struct.pack("<HHHHII", 1, 1, 2, 2, 1, 1)
        + _text(f"0000000000000000{LABEL}", 128)
        + CHARACTERS * 2
        + bytes(16)
        + _entity(b"")
        + TIMESTAMP
        + IMPLEMENTATION
        + bytes(92)
    )
    logical = (
        struct.pack("<I", 1)
        + CHARACTERS
        + _text(LABEL, 128)
        + struct.pack("<I", BLOCK)
        + DOMAIN
        + _long_extent(BLOCK, FILE_SET)
        + struct.pack("<II", 6, 1)
        + IMPLEMENTATION
        + bytes(128)
        + _extent(2 * BLOCK, INTEGRITY)
        + struct.pack("<BBHH", 1, 6, 1, 0)
    )
    partition = (
        struct.pack("<IHH", 2, 1, 0)
        + _entity(b"+NSR02")
        + bytes(128)
        + struct.pack("<III", 1, PARTITION, partition_blocks)
        + IMPLEMENTATION
        + bytes(284)
    )
    unallocated = struct.pack("<II", 3, 0)
    bodies = [(1, primary), (6, logical), (5, partition), (7, unallocated), (8, bytes(496))]
    blocks = [_tagged(tag, start + at, body).ljust(BLOCK, b"\0") for at, (tag, body) in enumerate(bodies)]
    return b"".join(blocks)


def _integrity(partition_blocks: int) -> bytes:
    """The logical volume's integrity: closed, nothing free, one file and one directory."""
    usage = IMPLEMENTATION + struct.pack("<IIHHH", 1, 1, 0x0102, 0x0102, 0x0102)
    body = (
        TIMESTAMP
        + struct.pack("<I", 1)
        + bytes(8)
        + struct.pack("<Q", 17)
        + bytes(24)
        + struct.pack("<IIII", 1, len(usage), 0, partition_blocks)
        + usage
    )
    return _tagged(9, INTEGRITY, body).ljust(BLOCK, b"\0") + _tagged(8, INTEGRITY + 1, bytes(496))


def _anchor(location: int) -> bytes:
    sequences = _extent(SEQUENCE_BLOCKS * BLOCK, MAIN_SEQUENCE) + _extent(SEQUENCE_BLOCKS * BLOCK, RESERVE_SEQUENCE)
    return _tagged(2, location, sequences + bytes(480))


def _file_set() -> bytes:
    body = (
        TIMESTAMP
        + struct.pack("<HHIIII", 3, 3, 1, 1, 0, 0)
        + CHARACTERS
        + _text(LABEL, 128)
        + CHARACTERS
        + _text(LABEL, 32)
        + bytes(64)
        + _long_extent(BLOCK, ROOT_ENTRY)
        + DOMAIN
        + bytes(64)
    )
    return _tagged(256, FILE_SET, body)


def _entry(block: int, kind: int, *, allocation: int, size: int, blocks: int, described: bytes, unique: int) -> bytes:
    """A file entry (14.9 of part 4). `described` is the file's data or the descriptors that lead to it."""
    body = (
        struct.pack("<IHHHBB6xH", 0, 4, 0, 1, 0, kind, allocation)
        + struct.pack("<IIIHBBI", 0, 0, PERMISSIONS, 1, 0, 0, 0)
        + struct.pack("<QQ", size, blocks)
        + TIMESTAMP * 3
        + struct.pack("<I", 1)
        + bytes(16)
        + IMPLEMENTATION
        + struct.pack("<QII", unique, 0, len(described))
        + described
    )
    return _tagged(261, block, body)


def _named(name: str, entry: int, characteristics: int) -> bytes:
    """A directory's record of one name (14.4 of part 4), padded to four bytes."""
    identifier = b"\x08" + name.encode("ascii") if name else b""
    body = (
        struct.pack("<HBB", 1, characteristics, len(identifier))
        + _long_extent(BLOCK, entry)
        + struct.pack("<H", 0)
        + identifier
    )
    return _tagged(257, ROOT_ENTRY, body + bytes(-(len(body) + 16) % 4))


def provisioning_media(content: bytes, *, name: str = "ovf-env.xml") -> bytes:
    """The bytes of a disc that holds one file."""
    data_blocks = -(-len(content) // BLOCK)
    partition_blocks = FILE_DATA + data_blocks
    last = PARTITION + partition_blocks
    names = _named("", ROOT_ENTRY, 0x0A) + _named(name, FILE_ENTRY, 0x00)
    descriptors = _extent(len(content), FILE_DATA)
    parts = {
        VOLUME_RECOGNITION: b"".join(
            (b"\0" + mark + b"\x01").ljust(BLOCK, b"\0") for mark in (b"BEA01", b"NSR02", b"TEA01")
        ),
        MAIN_SEQUENCE: _volume_sequence(MAIN_SEQUENCE, partition_blocks),
        RESERVE_SEQUENCE: _volume_sequence(RESERVE_SEQUENCE, partition_blocks),
        INTEGRITY: _integrity(partition_blocks),
        ANCHOR: _anchor(ANCHOR),
        PARTITION + FILE_SET: _file_set(),
        PARTITION + ROOT_ENTRY: _entry(
            ROOT_ENTRY, DIRECTORY, allocation=EMBEDDED, size=len(names), blocks=0, described=names, unique=0
        ),
        PARTITION + FILE_ENTRY: _entry(
            FILE_ENTRY,
            REGULAR_FILE,
            allocation=SHORT_DESCRIPTORS,
            size=len(content),
            blocks=data_blocks,
            described=descriptors,
            unique=16,
        ),
        PARTITION + FILE_DATA: content,
        last: _anchor(last),
    }
    disc = bytearray((last + 1) * BLOCK)
    for block, data in parts.items():
        disc[block * BLOCK : block * BLOCK + len(data)] = data
    return bytes(disc)


def write_provisioning_media(path: Path, ovf_environment: str) -> None:
    """Write the disc with ovf-env.xml to `path`."""
    path.write_bytes(provisioning_media(ovf_environment.encode()))
