"""Freeing in the layer what is free in the guest's filesystems, so that deleted content doesn't travel.

A layer frees whole clusters only. The layer that is trimmed must therefore have clusters as small as the filesystems'
blocks (`cluster_size_for`), or a freed block would survive in a cluster that is partly in use. On very large disks
qcow2 can't have clusters that small: `coarse_note` says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from builder.disk import filesystems, layers
from builder.disk.contents import data_ranges
from builder.disk.filesystems import MOUNTABLE
from builder.disk.layers import DiskLayer
from builder.disk.mounts import EVERYTHING, fstrim, sync_filesystem
from builder.disk.system import MountedFilesystem, OpenedSystem
from builder.disk.volumes import Volume
from builder.errors import BuildError

MIB = 1024 * 1024
LARGEST_CLUSTER = layers.CLUSTER_SIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h


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

    The system must be open for writing, on layers with clusters as `cluster_size_for` says (ValueError otherwise).
    Raises BuildError ("filesystem-trim") for a filesystem that can't be trimmed.
    """
    for disk in {volume.disk for volume in system.volumes}:
        if layers.cluster_size(disk.path) > cluster_size_for(disk, system.volumes):
            raise ValueError(f"the clusters of layer {disk.path} are too large to be trimmed")
    done: set[Path] = set()
    total = 0
    for filesystem in system.filesystems:
        if filesystem.device not in done:
            total += _trim_filesystem(filesystem)
            done.add(filesystem.device)
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
    return [(first - volume.start, last - first) for first, last in _data_of(volume, size)]


def _data_of(volume: Volume, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of the raw disk, in whole MiB of the volume, that hold data of the volume's first `size` bytes."""
    descriptor = os.open(volume.raw, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pending: tuple[int, int] | None = None
        for start, end in data_ranges(descriptor, volume.start, volume.start + size):
            first = volume.start + (start - volume.start) // MIB * MIB
            last = min(volume.start - (volume.start - end) // MIB * MIB, volume.start + size)
            if pending is not None and first <= pending[1]:
                pending = (pending[0], max(pending[1], last))
            else:
                if pending is not None:
                    yield pending
                pending = (first, last)
        if pending is not None:
            yield pending
    finally:
        os.close(descriptor)


def _is_swap(volume: Volume) -> bool:
    return volume.content is not None and volume.content.type == "swap"


def _trim_swap(volume: Volume) -> int:
    """Empty a swap area but for its header page: it holds what was in some machine's memory."""
    assert volume.content is not None  # the caller asked
    page = volume.content.block_size
    total = 0
    descriptor = os.open(volume.raw, os.O_RDWR | os.O_CLOEXEC)
    try:
        for start, end in list(data_ranges(descriptor, volume.start + page, volume.start + volume.size)):
            length = end - start
            if _LIBC.fallocate(descriptor, _PUNCH_HOLE, ctypes.c_long(start), ctypes.c_long(length)):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), os.fspath(volume.raw))
            total += length
    finally:
        os.close(descriptor)
    return total
