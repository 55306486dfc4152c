"""Freeing in the layer what is free in the guest's filesystems, so that deleted content doesn't travel.

A layer frees whole clusters only. The layer that is trimmed must therefore have clusters as small as the filesystems'
blocks (`cluster_size_for`), or a freed block would survive in a cluster that is partly in use. On very large disks
qcow2 can't have clusters that small: `coarse_note` says so.

What ext filesystems keep outside of free blocks is cleared once they are unmounted: see disk/ext.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from builder.disk import ext, filesystems, fstab, layers
from builder.disk.clearing import clear, overwrite
from builder.disk.contents import data_ranges, joined
from builder.disk.filesystems import MOUNTABLE
from builder.disk.layers import DiskLayer
from builder.disk.mounts import EVERYTHING, fstrim, sync_filesystem
from builder.disk.system import MountedFilesystem, OpenedSystem
from builder.disk.volumes import Volume
from builder.errors import BuildError

MIB = 1024 * 1024
LARGEST_CLUSTER = layers.CLUSTER_SIZE


def cluster_size_for(disk: DiskLayer, volumes: Iterable[Volume]) -> int:
    """The cluster size that the layer to be trimmed needs: the finest block that a filesystem of the disk can free.

    For a disk that is too large for clusters so small, the smallest that reach its end.
    """
    return max(_finest_block(disk, volumes), layers.smallest_cluster_size(layers.virtual_size(disk.path)))


def coarse_note(disk: DiskLayer, volumes: Iterable[Volume]) -> str | None:
    """What a person should know about a disk whose freed blocks can't all be let go of; None when they can."""
    finest, smallest = _finest_block(disk, volumes), layers.smallest_cluster_size(layers.virtual_size(disk.path))
    if smallest <= finest:
        return None
    return (
        f"disk {disk.name} is so large that its layers free no less than {smallest} bytes at once, but its filesystems "
        f"use blocks of {finest}: parts of deleted files may stay in the image"
    )


def _finest_block(disk: DiskLayer, volumes: Iterable[Volume]) -> int:
    finest = LARGEST_CLUSTER
    for volume in volumes:
        if volume.disk == disk and volume.content is not None and volume.content.type in (*MOUNTABLE, "swap"):
            # A partition that starts at an odd sector shifts its blocks against the clusters
            alignment = volume.start & -volume.start or LARGEST_CLUSTER
            finest = min(finest, volume.content.block_size, alignment)
    return max(finest, layers.SMALLEST_CLUSTER)


def trim(system: OpenedSystem) -> int:
    """Free what is free in the mounted filesystems, and what is in swap areas. Returns the bytes told to be free.

    What filesystems keep of deleted files elsewhere is cleared when the system is closed. The system must be open for
    writing, on layers with clusters as `cluster_size_for` says (ValueError otherwise). Raises BuildError
    ("filesystem-trim") for a filesystem that can't be trimmed.
    """
    for disk in {volume.disk for volume in system.volumes}:
        if layers.cluster_size(disk.path) > cluster_size_for(disk, system.volumes):
            raise ValueError(f"the clusters of layer {disk.path} are too large to be trimmed")
    # Before the filesystems: what one that copies on write lets go of by that is free then
    _empty_swap_files(system)
    done: set[Path] = set()
    total = 0
    for filesystem in system.filesystems:
        if filesystem.device not in done:
            total += _trim_filesystem(filesystem)
            done.add(filesystem.device)
            if filesystem.volume.content is not None and filesystem.volume.content.type in ext.TYPES:
                system.after_unmount.append(partial(ext.clear_deleted, filesystem.volume))
    return total + sum(_trim_swap(volume) for volume in system.volumes if _is_swap(volume))


def _trim_filesystem(filesystem: MountedFilesystem) -> int:
    volume = filesystem.volume
    folder = os.open(filesystem.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(folder)
        return fstrim(filesystem.folder, _ranges(volume))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise
        raise BuildError(
            f"{volume.name} can't tell which of its blocks are free: deleted content would stay in the image",
            code="filesystem-trim",
            hint="use ext4, xfs or btrfs",
        ) from error
    finally:
        os.close(folder)


def _ranges(volume: Volume) -> Sequence[tuple[int, int]]:
    """The parts of a filesystem where the disk holds anything. Freeing holes again would only fill the layer's tables.

    A btrfs has its own addresses, which aren't the disk's: it is trimmed as a whole.
    """
    # It may have been grown since it was mounted
    content = filesystems.identify(volume.raw, volume.start)
    if content is None or content.type == "btrfs":
        return [EVERYTHING]
    size = min(content.size or volume.size, volume.size)
    return [(first, last - first) for first, last in _data_of(volume, size)]


def _data_of(volume: Volume, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a volume, in whole MiB, that hold data of its first `size` bytes."""
    descriptor = os.open(volume.raw, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = data_ranges(descriptor, volume.start, volume.start + size)
        ranges = ((start - volume.start, end - volume.start) for start, end in found)
        for first, last in joined(ranges, alignment=MIB, gap=1):
            yield first, min(last, size)
    finally:
        os.close(descriptor)


def _is_swap(volume: Volume) -> bool:
    return volume.content is not None and volume.content.type == "swap"


def _trim_swap(volume: Volume) -> int:
    """Empty a swap area but for its header page: it holds what was in some machine's memory."""
    assert volume.content is not None  # the caller asked
    page = volume.content.block_size
    descriptor = os.open(volume.raw, os.O_RDWR | os.O_CLOEXEC)
    try:
        cluster = layers.cluster_size(volume.disk.path)
        return clear(descriptor, volume.start + page, volume.start + volume.size, cluster=cluster)
    finally:
        os.close(descriptor)


def _empty_swap_files(system: OpenedSystem) -> None:
    """Empty the files that the guest's fstab uses as swap, as `_trim_swap` does for partitions."""
    tree = system.tree
    for entry in fstab.entries_of(tree):
        if entry.type == "swap" and entry.device.startswith("/") and tree.is_file(entry.device):
            with tree.opened(entry.device, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
                _empty_swap_file(descriptor, entry.device)


def _empty_swap_file(descriptor: int, path: str) -> None:
    """Write zeros over what isn't zero, but for the header page. What was never written stays so.

    The kernel refuses swap files with holes, so none is made; the capture leaves zeros out all the same.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        content = filesystems.identify_open(file, 0)
    if content is None or content.type != "swap":
        return
    try:
        # The very file that was looked at, whatever its name leads to now
        writing = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise BuildError(
            f"the swap file {path} can't be emptied: it may not be written",
            code="filesystem-trim",
            hint=f"chattr -i {path}, or remove it and its line in {fstab.PATH}",
        ) from error
    try:
        for start, end in list(data_ranges(writing, content.block_size, status.st_size)):
            overwrite(writing, start, end)
        os.fsync(writing)
    finally:
        os.close(writing)
