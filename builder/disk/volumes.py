"""What is on a machine's disks: every partition, and disks that hold a filesystem without a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.disk import filesystems, partitions
from builder.disk.filesystems import Content
from builder.disk.layers import DiskLayer
from builder.errors import BuildError


@dataclass(frozen=True)
class Volume:
    """A partition (or a whole disk: `number` None) and what it holds. `start` and `size` in bytes of the disk `raw`."""

    disk: DiskLayer
    raw: Path
    number: int | None
    start: int
    size: int
    content: Content | None
    partuuid: str = ""
    partlabel: str = ""

    @property
    def name(self) -> str:
        """For messages: "partition 1 of disk os (ext4)"."""
        where = f"disk {self.disk.name}" if self.number is None else f"partition {self.number} of disk {self.disk.name}"
        return f"{where} ({self.content.type})" if self.content else where


def find_volumes(disk: DiskLayer, raw: Path, size: int | None = None) -> list[Volume]:
    """The volumes of a disk that is exported at `raw`, in the order of their numbers.

    `size` in bytes is less than that of `raw` where a footer follows the disk. Raises BuildError ("partition-table")
    for a broken table or a partition beyond the disk's end.
    """
    size = size or raw.stat().st_size
    table = partitions.read_table(raw, size)
    if table is None:
        return [Volume(disk, raw, None, 0, size, filesystems.identify(raw))]
    found = []
    for part in sorted(table.partitions, key=lambda part: part.number):
        if part.start + part.size > size:
            raise cut_off(disk.name, part.number)
        content = filesystems.identify(raw, part.start)
        found.append(Volume(disk, raw, part.number, part.start, part.size, content, part.partuuid, part.name))
    return found


def cut_off(name: str, number: int) -> BuildError:
    """The error for a disk that ends before one of its partitions."""
    return BuildError(
        f"partition {number} of disk {name} goes beyond the disk's end",
        code="partition-table",
        hint="the disk was cut off while it was copied: copy it again",
    )


def no_root(volumes: Sequence[Volume]) -> BuildError:
    """The error for a disk on which no Linux root was found: why, as far as the volumes tell."""
    kinds = {volume.content.type for volume in volumes if volume.content}
    if volumes and volumes[0].number is None and not kinds:
        return partitions.no_partition_table(f"disk {volumes[0].disk.name}")
    for kind, code, message, hint in _HIDDEN:
        if kind in kinds:
            return BuildError(message, code=code, hint=hint)
    seen = ", ".join(volume.name for volume in volumes) or "an empty partition table"
    return BuildError(
        "no Linux root filesystem was found on the OS disk",
        code="no-root-filesystem",
        hint="a root is an ext4, xfs or btrfs filesystem with /etc and an os-release file",
        detail=f"found: {seen}",
    )


# What a root may be hidden in: type, code, message, hint
_HIDDEN = (
    (
        "luks",
        "encrypted-disk",
        "the OS disk is encrypted (LUKS)",
        "give a disk that is not encrypted; Azure encrypts what it stores",
    ),
    ("bitlocker", "encrypted-disk", "the OS disk is encrypted (BitLocker)", "decrypt it first: manage-bde -off C:"),
    (
        "lvm",
        "lvm-disk",
        "the root is in a logical volume (LVM), which the local machine can't open",
        "use machine.azure, or a disk with a plain root partition",
    ),
    (
        "ntfs",
        "windows-disk",
        "the OS disk holds Windows; the local machine works on Linux",
        "use machine.azure for Windows images",
    ),
)
