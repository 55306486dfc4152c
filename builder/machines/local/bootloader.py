"""How a disk starts: GRUB for BIOS machines (generation 1), signed GRUB behind shim for UEFI ones (generation 2).

Both are written to the raw disk without mounting it. Sources: GRUB's boot.S and diskboot.S for the fields that its
installer fills in; UEFI specification 2.10, 3.5.1.1 for the path of removable media, which is the one that firmware
tries when nothing was registered with it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from builder import process
from builder.disk.partitions import TYPE_BIOS_BOOT, TYPE_EFI_SYSTEM, TYPE_LINUX, GptPartition
from builder.errors import BuildError
from builder.machines.local.bootstrap_files import BOOT_MODULES
from builder.model.spec import MIB

# Raise it when the same packages and files would be put on the disk in another way
VERSION = 2
SECTOR = 512
# The numbers are those of Debian's and Ubuntu's own cloud images: tools know partition 1 as the root to be grown
BIOS_BOOT = GptPartition(14, MIB, 3 * MIB, TYPE_BIOS_BOOT, "bios-boot")
EFI_SYSTEM = GptPartition(15, 4 * MIB, 106 * MIB, TYPE_EFI_SYSTEM, "efi-system")
ROOT_START = 110 * MIB
# The backup partition table needs the last 33 sectors; whole MiB keep every partition aligned
RESERVED_END = MIB

# boot.img: the rest of the first sector belongs to the disk (NT signature and partition table)
BOOT_CODE_SIZE = 440
BOOT_KERNEL_SECTOR = 0x5C
BOOT_DRIVE_CHECK = 0x66
# core.img's first sector is diskboot.img, which ends in the list of blocks to load: start, count, segment
CORE_BLOCKLIST = 0x1F4
# A FAT32 volume's boot sector and its copy, and where a disk's partition table would be in them
FAT_BOOT_SECTORS = (0, 6)
PARTITION_TABLE = slice(446, 510)
# Two no-operations in place of the jump that trusts the drive number given by the firmware, as GRUB's installer does
NO_OPERATIONS = b"\x90\x90"


def layout(size: int, architecture: str) -> list[GptPartition]:
    """The partitions of a base disk of `size` bytes. Only x64 has BIOS machines."""
    root = GptPartition(1, ROOT_START, size - ROOT_START - RESERVED_END, TYPE_LINUX, "root")
    return [root, *([BIOS_BOOT] if architecture == "x64" else []), EFI_SYSTEM]


def write_bios_boot(disk: Path, boot_image: bytes, core_image: bytes, partition: GptPartition = BIOS_BOOT) -> None:
    """Install GRUB for BIOS machines: boot code in the first sector, its core in the BIOS boot partition.

    Raises BuildError when the images don't have the shape that GRUB 2 gives them.
    """
    boot, core = patched(boot_image, core_image, partition)
    with disk.open("r+b") as file:
        file.write(boot)
        file.seek(partition.start)
        file.write(core)


def patched(boot_image: bytes, core_image: bytes, partition: GptPartition) -> tuple[bytes, bytes]:
    """GRUB's two images, told where they stand. Raises BuildError when they aren't what they should be."""
    if len(boot_image) != SECTOR or boot_image[510:] != b"\x55\xaa":
        raise BuildError("GRUB's boot.img is not a boot sector", code="boot-loader")
    if not SECTOR < len(core_image) <= partition.size:
        raise BuildError(
            f"GRUB's core.img has {len(core_image)} bytes; the BIOS boot partition has {partition.size}",
            code="boot-loader",
        )
    first = partition.start // SECTOR
    sectors = -(-len(core_image) // SECTOR)
    boot = bytearray(boot_image)
    struct.pack_into("<Q", boot, BOOT_KERNEL_SECTOR, first)
    boot[BOOT_DRIVE_CHECK : BOOT_DRIVE_CHECK + 2] = NO_OPERATIONS
    core = bytearray(core_image)
    struct.pack_into("<QH", core, CORE_BLOCKLIST, first + 1, sectors - 1)
    return bytes(boot[:BOOT_CODE_SIZE]), bytes(core)


def write_efi_system(disk: Path, loaders: Path, config: str, *, vendor: str, volume_id: str, work: Path) -> None:
    """Make the EFI system partition: shim and GRUB at the removable path and in the vendor's folder, and its config.

    `loaders` holds `shim<arch>.efi`, `grub<arch>.efi` and `mm<arch>.efi`; `volume_id` is such as `1A2B-3C4D`.
    """
    tree = work / "esp"
    suffix = next(loaders.glob("shim*.efi")).name.removeprefix("shim")
    removable, own = tree / "EFI/BOOT", tree / "EFI" / vendor
    for folder in (removable, own):
        folder.mkdir(parents=True)
        for name in ("grub", "mm"):
            (folder / (name + suffix)).write_bytes((loaders / (name + suffix)).read_bytes())
    shim = (loaders / ("shim" + suffix)).read_bytes()
    (removable / ("BOOT" + suffix.upper())).write_bytes(shim)
    (own / ("shim" + suffix)).write_bytes(shim)
    # The signed GRUB's built-in prefix is the vendor's folder; newer ones look beside themselves as well
    for folder in (removable, own):
        (folder / "grub.cfg").write_text(config)
    image = f"{disk}@@{EFI_SYSTEM.start}"
    geometry = ["-T", str(EFI_SYSTEM.size // SECTOR), "-H", str(EFI_SYSTEM.start // SECTOR), "-h", "255", "-s", "63"]
    process.run(
        ["mformat", "-i", image, *geometry, "-F", "-c", "1", "-N", volume_id.replace("-", ""), "-v", "EFI", "::"]
    )
    process.run(["mcopy", "-i", image, "-s", "-Q", "-m", tree / "EFI", "::/"])
    # mformat describes the volume as a partition of itself, which GRUB's tools complain about at every upgrade
    with disk.open("r+b") as file:
        for sector in FAT_BOOT_SECTORS:
            file.seek(EFI_SYSTEM.start + sector * SECTOR + PARTITION_TABLE.start)
            file.write(bytes(PARTITION_TABLE.stop - PARTITION_TABLE.start))


def check_boot(export: Path) -> None:
    """Make sure that the system can start: a menu entry, a kernel, and an initramfs that finds its disk.

    `export` is what the finishing script left. Raises BuildError naming what is missing: a disk without it would be
    found out only when a VM doesn't start.
    """
    menu = (export / "grub.cfg").read_text()
    if "\nmenuentry " not in menu or "\n    linux " not in menu or "\n    initrd " not in menu:
        raise BuildError("GRUB's menu has no entry that starts a kernel", code="boot-menu")
    missing = missing_modules((export / "initramfs").read_text(), (export / "builtin").read_text())
    if missing:
        raise BuildError(
            f"the initramfs lacks drivers that Azure's machines need: {', '.join(missing)}",
            code="boot-initramfs",
            hint="the kernel package may have split its modules: add the package that has them to `packages`",
        )


def missing_modules(initramfs: str, builtin: str) -> list[str]:
    """The drivers needed to start that are neither in the initramfs nor part of the kernel."""
    present = {_module(line) for line in (initramfs + "\n" + builtin).splitlines() if ".ko" in line}
    return [name for name in BOOT_MODULES if name not in present]


def _module(path: str) -> str:
    """A kernel module's name from its file's: modprobe treats `-` and `_` alike, and files may be compressed."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")
