"""Partition table, filesystems and what firmware would start. Reads bytes of a raw disk; needs no root."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from builder.disk import mbr, partitions
from builder.disk.layers import DiskLayer
from builder.disk.partitions import TYPE_BIOS_BOOT, TYPE_EFI_SYSTEM
from builder.disk.tables import SECTOR, Partition, PartitionTable
from builder.disk.volumes import Volume, find_volumes, no_root
from builder.errors import BuildError
from builder.guest.inspection.efi_partition import FALLBACK, EfiPartition, read_efi_partition
from builder.guest.inspection.rules import DiskFinding

GIB = 1024**3
MIB = 1024**2
# The page "Prepare a Windows VHD"; the Linux pages still say 1,023 GiB, Generation 2 advises 4 TiB
LARGEST = 32767 * GIB
LARGEST_GENERATION_1 = 2048 * GIB
ADVISED = {1: 1023 * GIB, 2: 4096 * GIB}
BOOT_CODE = 440
MBR_EFI_SYSTEM = "ef"
LEGACY_BOOT = 0x4  # GPT attribute: UEFI specification, table 5-8
OTHER_TABLE = "there is a GPT, but the first sector has partitions of its own, which Linux takes instead"


@dataclass(frozen=True)
class Layout:
    """What the bytes of a disk tell. `efi` is the EFI system partition, if there is one.

    `table` is None when there is none. `uefi` and `bios` tell whether firmware of that kind would start it.
    `primary_broken` says what is wrong at the start of a disk whose backup table is whole.
    """

    table: Literal["gpt", "mbr"] | None
    size: int
    volumes: tuple[Volume, ...] = ()
    partition_starts: tuple[tuple[int, int], ...] = ()
    table_broken: str = ""
    primary_broken: str = ""
    backup_broken: bool = False
    efi: EfiPartition | None = None
    bios: bool = False

    @property
    def uefi(self) -> bool:
        """Whether there is a loader where new firmware looks; assumed where that partition can't be read."""
        return self.efi is not None and bool(self.efi.unread or self.efi.fallback_architectures)

    @property
    def generations(self) -> tuple[int, ...]:
        """The generations of VMs that would start it."""
        return tuple(number for number, works in ((1, self.bios), (2, self.uefi)) if works)


def read_layout(raw: Path, size: int) -> Layout:
    """Look at a raw disk (or a fixed VHD's file) with `size` bytes. A broken table is told, not raised."""
    try:
        table = partitions.read_table(raw, size)
        volumes = tuple(find_volumes(DiskLayer(raw), raw, size))
    except BuildError as error:
        if error.code != "partition-table":
            raise
        return Layout(None, size, table_broken=error.message)
    if table is None:
        return Layout(None, size, volumes)
    efi = next((item for item in table.partitions if item.type in (TYPE_EFI_SYSTEM, MBR_EFI_SYSTEM)), None)
    return Layout(
        table=table.kind,
        size=size,
        volumes=volumes,
        partition_starts=tuple((item.number, item.start) for item in table.partitions),
        primary_broken=_primary_broken(raw, table),
        backup_broken=table.kind == "gpt" and not table.from_backup and not _backup_in_place(raw, size),
        efi=_efi_partition(raw, efi, volumes) if efi else None,
        bios=_starts_on_bios(raw, table),
    )


def _efi_partition(raw: Path, partition: Partition, volumes: Sequence[Volume]) -> EfiPartition:
    found = read_efi_partition(raw, partition.start)
    content = next((item.content for item in volumes if item.number == partition.number), None)
    if found.unread and (content is None or content.type != "vfat"):
        return EfiPartition(wrong=content.type if content else "nothing that is known")
    return found


def _primary_broken(raw: Path, table: PartitionTable) -> str:
    """What is wrong at the start of a disk with a GPT. Linux looks for one only behind a protective boot record."""
    if table.kind != "gpt":
        return ""
    with raw.open("rb") as file:
        first = file.read(SECTOR)
    if mbr.is_protective(first):
        return "it is broken; its backup at the end is whole" if table.from_backup else ""
    if mbr.names_partitions(first):
        return OTHER_TABLE
    return "it has no protective boot record" + (", and is broken itself" if table.from_backup else "")


def _backup_in_place(raw: Path, size: int) -> bool:
    """Whether the primary header names the last sector, and a GPT header stands there (UEFI specification, 5.3.2)."""
    last = size // SECTOR - 1
    with raw.open("rb") as file:
        file.seek(SECTOR)
        primary = file.read(SECTOR)
        file.seek(last * SECTOR)
        backup = file.read(SECTOR)
    named = struct.unpack_from("<Q", primary, 32)[0]
    return bool(named == last and backup[:8] == b"EFI PART" and struct.unpack_from("<Q", backup, 24)[0] == last)


def _starts_on_bios(raw: Path, table: PartitionTable) -> bool:
    """Whether the first sector has boot code, and the code something to go on with."""
    with raw.open("rb") as file:
        code = file.read(BOOT_CODE)
        if not any(code):
            return False
        if table.kind == "mbr":
            return b"GRUB" in code or any(item.bootable for item in table.partitions)
        # Windows writes boot code to GPT disks too, which finds nothing there
        return any(item.attributes & LEGACY_BOOT or _has_core(file, item) for item in table.partitions)


def _has_core(file: BinaryIO, partition: Partition) -> bool:
    """Whether this is the partition from which GRUB's boot code goes on."""
    file.seek(partition.start)
    return partition.type == TYPE_BIOS_BOOT and any(file.read(SECTOR))


def check_layout(layout: Layout) -> list[DiskFinding]:
    """The findings of a layout. What its filesystems hold is looked at elsewhere."""
    if layout.table_broken:
        return [DiskFinding("partition-table", "partition table", layout.table_broken), *check_size(layout.size, ())]
    if layout.table is None:
        return [
            DiskFinding("partition-table", "partition table", "there is none"),
            *check_size(layout.size, ()),
        ]
    found = check_size(layout.size, layout.generations)
    if layout.primary_broken:
        by_hand = layout.primary_broken == OTHER_TABLE
        remedy = "remove the one that is not meant: sgdisk --zap, or wipefs" if by_hand else ""
        place = "partition table"
        found.append(DiskFinding("partition-primary", place, layout.primary_broken, remedy=remedy, by_hand=by_hand))
    if layout.backup_broken:
        message = "the backup partition table is broken, or not at the end of the disk"
        found.append(DiskFinding("partition-backup", "partition table", message))
    for number, start in layout.partition_starts:
        if start % MIB:
            message = f"it starts at byte {start}, which is no whole MiB"
            found.append(DiskFinding("partition-alignment", f"partition {number}", message))
    return [*found, *_check_boot(layout)]


def _check_boot(layout: Layout) -> list[DiskFinding]:
    efi = layout.efi
    if efi is not None and not efi.unread and not efi.fallback_architectures:
        others = tuple(efi.loaders[:5])
        message = "there is no EFI/BOOT/BOOTX64.EFI (or BOOTAA64.EFI)" + (f"; there is {others[0]}" if others else "")
        if efi.wrong:
            message = f"it holds no FAT filesystem, but {efi.wrong}"
        rule = "boot-fallback" if layout.bios else "boot-none"
        return [DiskFinding(rule, "EFI system partition", message, others)]
    if not layout.generations:
        message = "no boot code for BIOS in the first sector, no EFI system partition"
        return [DiskFinding("boot-none", "partition table", message)]
    return []


def check_architecture(layout: Layout, architecture: str) -> list[DiskFinding]:
    """The finding for a system whose processor ("x64", "arm64") has no loader; Arm64 has no BIOS."""
    efi = layout.efi
    starts = efi is not None and bool(efi.unread or architecture in efi.fallback_architectures)
    file = next((name for name, value in FALLBACK.items() if value == architecture), "")
    # What starts nowhere at all has another finding
    if not file or starts or (layout.bios and architecture == "x64") or not layout.generations:
        return []
    message = f"the system is for {architecture}, and there is no EFI/BOOT/{file}"
    return [DiskFinding("boot-architecture", "EFI system partition", message)]


def check_size(size: int, generations: Sequence[int]) -> list[DiskFinding]:
    """The findings for a disk of `size` bytes that starts as one of these generations of VMs."""
    has = f"the disk has {size // GIB:,} GiB"
    if size > LARGEST:
        return [DiskFinding("size-limit", "file", f"{has}, more than 32,767")]
    if size > LARGEST_GENERATION_1 and tuple(generations) == (1,):
        return [DiskFinding("size-limit", "file", f"{has}; an OS disk of Generation 1 has at most 2,048")]
    found = []
    too_large = size > LARGEST_GENERATION_1
    if too_large and 2 not in generations:
        message = f"{has}; an OS disk of Generation 1 has at most 2,048, and what starts it is not known"
        found.append(DiskFinding("size-generation", "file", message))
    elif too_large and 1 in generations:
        message = f"{has}; an OS disk of Generation 1 has at most 2,048: this one is for Generation 2 only"
        found.append(DiskFinding("size-generation", "file", message))
    advised = ADVISED[2 if 2 in generations or too_large else 1]
    if size > advised:
        found.append(DiskFinding("size-advice", "file", f"{has}; Azure advises {advised // GIB:,} at most"))
    return found


def check_root(volumes: Sequence[Volume]) -> list[DiskFinding]:
    """The findings for a disk on which no system can be opened, by what its partitions hold."""
    error = no_root(volumes)
    rule = {"encrypted-disk": "root-encrypted", "lvm-disk": "root-lvm"}.get(error.code, "root-missing")
    place = "partition table"
    for volume in volumes:
        if volume.content and volume.content.type in ("luks", "bitlocker", "lvm"):
            place = f"partition {volume.number}" if volume.number else "disk"
            break
    known = {
        "lvm-disk": "the root is in a logical volume; it was not looked into",
        "windows-disk": "there is neither Windows on its NTFS filesystems nor a Linux root",
    }
    message = known.get(error.code, error.message)
    lines = tuple([error.detail] if error.detail else [])
    return [DiskFinding(rule, place, message, lines, remedy=(error.hint or "") if rule == "root-encrypted" else "")]
