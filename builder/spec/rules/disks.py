"""Rules about disks: their numbers, sizes and mounts."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import Diagnostic
from builder.model.spec import GIB, ImageSpec, KeyPath
from builder.spec.rules.base import destinations_of, finding, normal_path
from builder.spec.rules.files import NOT_KEPT
from builder.spec.units import size_text

TIB = 1024 * GIB
SMALLEST = GIB
# By generation. A BIOS reads a partition table that ends below 2 TiB; Azure's largest OS disk has 4,095 GiB
LARGEST_OS = {1: 2 * TIB - GIB, 2: 4 * TIB - GIB}
LARGEST_DATA = 32 * TIB - GIB
# Azure Compute Gallery copies replicas of disks up to this size; larger ones only without copying (shallow)
LARGEST_REPLICA = 2 * TIB
LARGEST_BLOB = 8 * TIB
# Parts of the system: they must be there before data disks are mounted
SYSTEM = ("/", "/bin", "/boot", "/boot/efi", "/etc", "/lib", "/lib64", "/root", "/sbin", "/usr", *NOT_KEPT)


def lun_once(image: ImageSpec) -> Iterator[Diagnostic]:
    """A LUN stands for one data disk."""
    seen: dict[int, int] = {}
    for index, disk in enumerate(image.disks.data):
        if disk.lun in seen:
            path = ("disks", "data", index, "lun")
            yield finding(image, path, "duplicate-lun", f"LUN {disk.lun} is already used by data disk {seen[disk.lun]}")
        seen.setdefault(disk.lun, index)


def disk_sizes(image: ImageSpec) -> Iterator[Diagnostic]:
    """Sizes that Azure's managed disks can have."""
    if image.disks.os_size is not None:
        largest = LARGEST_OS[image.os.generation]
        yield from _size(image, ("disks", "os", "size"), image.disks.os_size, largest, "an OS disk")
    for index, disk in enumerate(image.disks.data):
        yield from _size(image, ("disks", "data", index, "size"), disk.size, LARGEST_DATA, "a data disk")


def _size(image: ImageSpec, path: KeyPath, size: int, largest: int, what: str) -> Iterator[Diagnostic]:
    if not SMALLEST <= size <= largest:
        limits = f"{what} has between {size_text(SMALLEST)} and {size_text(largest)}"
        if what == "an OS disk":
            limits += f" in generation {image.os.generation}"
        yield finding(image, path, "disk-size", f"{size_text(size)} is not possible: {limits}")


def destination_sizes(image: ImageSpec) -> Iterator[Diagnostic]:
    """What destinations can hold: gallery replicas up to 2 TiB, page blobs up to 8 TiB."""
    sizes: dict[KeyPath, int] = {
        ("disks", "data", index, "size"): disk.size for index, disk in enumerate(image.disks.data)
    }
    if image.disks.os_size is not None:
        sizes["disks", "os", "size"] = image.disks.os_size
    copied = any(not destination.values["shallow"] for destination in destinations_of(image, "gallery"))
    for path, size in sizes.items():
        if copied and size > LARGEST_REPLICA:
            message = f"a gallery copies disks up to {size_text(LARGEST_REPLICA)}, not of {size_text(size)}"
            yield finding(image, path, "disk-size", message, "publish with `shallow: true`, or make the disk smaller")
        if size > LARGEST_BLOB and any(destinations_of(image, "blob")):
            yield finding(image, path, "disk-size", f"a page blob holds at most {size_text(LARGEST_BLOB)}")


def mounts(image: ImageSpec) -> Iterator[Diagnostic]:
    """Data disks are mounted at absolute paths, each once, and never over the system itself."""
    seen: set[str] = set()
    for index, disk in enumerate(image.disks.data):
        path = ("disks", "data", index)
        if disk.filesystem is None:
            for key, value in (("mount", disk.mount), ("label", disk.label)):
                if value is not None:
                    help = "write `filesystem: ext4`"
                    yield finding(image, (*path, key), "mount", f"`{key}` needs a `filesystem`", help)
        if disk.mount is None:
            continue
        where, normal = (*path, "mount"), normal_path(disk.mount)
        if not disk.mount.startswith("/") or ".." in disk.mount.split("/"):
            yield finding(image, where, "mount", f"'{disk.mount}' must be absolute, without '..'")
        elif normal in SYSTEM or normal.startswith(tuple(f"{folder}/" for folder in NOT_KEPT)):
            yield finding(image, where, "mount", f"'{disk.mount}' is part of the system: a data disk can't be there")
        elif normal in seen:
            yield finding(image, where, "duplicate-mount", f"'{disk.mount}' is already another data disk's")
        elif normal == "/mnt":
            message = "Azure's agents mount a VM's temporary disk at /mnt: the data disk would be hidden"
            yield finding(image, where, "mount", message, "mount it at another path, such as /data", severity="warning")
        seen.add(normal)


def windows_data_disks(image: ImageSpec) -> Iterator[Diagnostic]:
    """Linux filesystems are of no use to Windows: its data disks are formatted by a step."""
    if image.os.family != "windows":
        return
    for index, disk in enumerate(image.disks.data):
        if disk.filesystem is not None:
            path = ("disks", "data", index, "filesystem")
            help = "leave the disk blank and format it in a `script` step"
            yield finding(image, path, "windows-disk", f"Windows has no {disk.filesystem}", help)


def os_image_alone(image: ImageSpec) -> Iterator[Diagnostic]:
    """An OS image holds no data disks: what steps put on them would be lost without a word."""
    if image.capture == "osImage" and image.disks.data:
        message = "an OS image holds no data disks: their content would be lost"
        yield finding(image, ("capture", "kind"), "os-image", message, "write `vmImage`, or remove `disks.data`")
