"""The footer that makes a raw disk a fixed VHD, the only format that Azure takes.

Source: "Virtual Hard Disk Image Format Specification" (Microsoft), sections "Hard Disk Footer Format" and
"Appendix: CHS Calculation". All integers are big-endian.
"""

from __future__ import annotations

import os
import struct
import uuid
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from builder.errors import BuildError

MIB = 1024 * 1024
FOOTER_SIZE = 512
SECTOR = 512
COOKIE = b"conectix"
# QEMU believes the size field of this creator; for one that it doesn't know it takes the size from CHS, which rounds
CREATOR = b"win "
CREATOR_VERSION = 0x000A0000
CREATOR_HOST = b"Wi2k"
FORMAT_VERSION = 0x00010000
FEATURES_RESERVED = 2  # the specification wants this bit set always
NO_DATA_OFFSET = 0xFFFFFFFFFFFFFFFF  # fixed disks have no dynamic header
EPOCH = 946684800  # 2000-01-01T00:00:00Z in Unix time
LARGEST = 0xFFFFFFFFFFFF * SECTOR

_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM = slice(64, 68)
# Disk identities are derived from the content, so that equal disks are equal files
_NAMESPACE = uuid.UUID("6b1f6f0e-54a1-5c0b-8e0c-6d3a0c2e9f11")


class VhdType(IntEnum):
    """How the data before the footer is stored."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True)
class Geometry:
    """Cylinders, heads and sectors per track."""

    cylinders: int
    heads: int
    sectors: int

    @property
    def size(self) -> int:
        """The bytes that can be addressed by CHS; not more than the disk has."""
        return self.cylinders * self.heads * self.sectors * SECTOR


@dataclass(frozen=True)
class Footer:
    """What a footer says. `size` is the virtual size in bytes, `timestamp` Unix time in seconds."""

    size: int
    type: VhdType
    geometry: Geometry
    creator: str
    timestamp: int
    identity: uuid.UUID


def whole_mib(size: int) -> int:
    """`size` in bytes rounded up to whole MiB: Azure refuses other sizes."""
    return -(-size // MIB) * MIB


def geometry(size: int) -> Geometry:
    """The CHS geometry of a disk of `size` bytes, by the appendix of the specification."""
    total = min(size // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return Geometry(total // 255 // 16, 16, 255)
    sectors, tracks = 17, total // 17
    heads = max((tracks + 1023) // 1024, 4)
    if tracks >= heads * 1024 or heads > 16:
        sectors, heads, tracks = 31, 16, total // 31
    if tracks >= heads * 1024:
        sectors, heads, tracks = 63, 16, total // 63
    return Geometry(tracks // heads, heads, sectors)


def make_footer(size: int, *, content_digest: str) -> bytes:
    """The 512 bytes that follow a raw disk of `size` bytes and make it a fixed VHD.

    Deterministic: the identity comes from `content_digest`, the time from SOURCE_DATE_EPOCH (else 2000-01-01).
    Raises BuildError (code "vhd-size") unless `size` is a whole number of MiB above 0.
    """
    if size <= 0 or size % MIB or size > LARGEST:
        raise BuildError(
            f"a VHD for Azure must be a whole number of MiB; this disk has {size} bytes",
            code="vhd-size",
            hint=f"grow it to {whole_mib(max(size, 1))} bytes",
        )
    chs = geometry(size)
    data = _LAYOUT.pack(
        COOKIE,
        FEATURES_RESERVED,
        FORMAT_VERSION,
        NO_DATA_OFFSET,
        _timestamp(),
        CREATOR,
        CREATOR_VERSION,
        CREATOR_HOST,
        size,
        size,
        chs.cylinders,
        chs.heads,
        chs.sectors,
        VhdType.FIXED,
        0,
        uuid.uuid5(_NAMESPACE, content_digest).bytes,
        0,
    )
    return data[: _CHECKSUM.start] + struct.pack(">I", checksum(data)) + data[_CHECKSUM.stop :]


def _timestamp() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return 0
    if not text.isdigit():
        raise BuildError(
            f"SOURCE_DATE_EPOCH is {text!r}; it must be a number of seconds since 1970",
            code="source-date-epoch",
            hint="unset it, or export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
        )
    return min(max(int(text) - EPOCH, 0), 0xFFFFFFFF)


def checksum(footer: bytes) -> int:
    """One's complement of the sum of all bytes but those of the checksum field."""
    return ~(sum(footer) - sum(footer[_CHECKSUM])) & 0xFFFFFFFF


def parse_footer(data: bytes) -> Footer:
    """Read a footer (512 bytes).

    Raises BuildError: "vhd-footer" when it is no footer, "vhd-checksum" when its checksum is broken, "vhd-type" for a
    disk type that the specification doesn't know.
    """
    if len(data) != FOOTER_SIZE or data[: len(COOKIE)] != COOKIE:
        raise BuildError(
            "there is no VHD footer at the end of the file",
            code="vhd-footer",
            hint="the file is no VHD, or was cut off while it was copied: copy it again",
        )
    fields = _LAYOUT.unpack(data)
    stored, computed = fields[14], checksum(data)
    if stored != computed:
        raise BuildError(
            f"the VHD footer's checksum is broken: it says {stored:#010x}, its bytes give {computed:#010x}",
            code="vhd-checksum",
            hint="the file was damaged: copy or export it again",
        )
    if fields[13] not in set(VhdType):
        raise BuildError(
            f"the VHD footer names disk type {fields[13]}; there are only 2 (fixed), 3 (dynamic), 4 (differencing)",
            code="vhd-type",
            hint="export the disk again as a fixed VHD",
        )
    return Footer(
        size=fields[9],
        type=VhdType(fields[13]),
        geometry=Geometry(fields[10], fields[11], fields[12]),
        creator=fields[5].decode("latin-1"),
        timestamp=fields[4] + EPOCH,
        identity=uuid.UUID(bytes=fields[15]),
    )


def read_footer(path: Path) -> Footer:
    """The footer of a fixed VHD file.

    Raises what `parse_footer` raises, and BuildError "vhd-type" for a VHD that isn't fixed, "vhd-truncated" when the
    file's length isn't the disk's size and a footer.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - FOOTER_SIZE, 0))
        footer = parse_footer(file.read(FOOTER_SIZE))
    if footer.type != VhdType.FIXED:
        raise BuildError(
            f"{path.name} is a {footer.type.name.lower()} VHD, not a fixed one",
            code="vhd-type",
            hint="use it as a source: build converts it",
        )
    if length != footer.size + FOOTER_SIZE:
        raise BuildError(
            f"{path.name} has {length} bytes; its footer tells of {footer.size} bytes and a footer of {FOOTER_SIZE}",
            code="vhd-truncated",
            hint="the file was cut off or extended: copy it again",
        )
    return footer
