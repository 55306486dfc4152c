"""What a partition table tells, of either kind. Positions and sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Literal

SECTOR = 512


@dataclass(frozen=True)
class Partition:
    """A partition that was found. `start` and `size` in bytes.

    `type` is a GUID in lower case (GPT) or two hex digits (MBR). `partuuid` is what Linux calls PARTUUID.
    """

    number: int
    start: int
    size: int
    type: str
    partuuid: str
    name: str = ""
    attributes: int = 0
    bootable: bool = False


@dataclass(frozen=True)
class PartitionTable:
    """A disk's partition table. `identity` is the disk's GUID (GPT) or 8 hex digits (MBR).

    `from_backup` tells that the primary GPT is broken and its backup was read.
    """

    kind: Literal["gpt", "mbr"]
    identity: str
    partitions: tuple[Partition, ...]
    from_backup: bool = False


def sector(file: BinaryIO, number: int, count: int = 1) -> bytes:
    """`count` sectors from the one with this number; fewer where the disk ends."""
    file.seek(number * SECTOR)
    return file.read(count * SECTOR)
