"""What no clone may share on an EFI system partition: found and taken away by mtools, since it needn't be mounted."""

from __future__ import annotations

import os
import re
import struct

from builder import process
from builder.disk.contents import write_all
from builder.disk.volumes import Volume

# systemd-boot's (random-seed(7) of systemd): what the first random numbers of a boot are made from
RANDOM_SEED = "/loader/random-seed"
_CLUSTERS = re.compile(r"<(\d+)(?:-(\d+))?>")


def forget_random_seed(volume: Volume) -> bool:
    """Take the random seed off a FAT filesystem that is open for writing, its bytes included; whether there was one.

    Raises BuildError ("program-missing") without mtools, CommandFailed for a filesystem that they can't read.
    """
    for name in ("mdir", "mshowfat", "mdel"):
        process.find_program(name, package="mtools", why="look into the EFI system partition")
    image = f"{volume.raw}@@{volume.start}"
    path = f"::{RANDOM_SEED}"
    # How many sectors a track has is of no matter to what isn't a floppy
    env = {"MTOOLS_SKIP_CHECK": "1"}
    listing = process.run(["mdir", "-b", "-i", image, path], ok=(0, 1), env=env)
    if listing.exit_code and "not found" in listing.errors.lower():
        return False
    clusters = process.run(["mshowfat", "-i", image, path], env=env).output
    descriptor = os.open(volume.raw, os.O_RDWR | os.O_CLOEXEC)
    try:
        first, size = _cluster_layout(os.pread(descriptor, 512, volume.start))
        for match in _CLUSTERS.finditer(clusters.partition(path)[2]):
            begin, end = int(match[1]), int(match[2] or match[1]) + 1
            # Deleting it would only free them
            write_all(descriptor, bytes((end - begin) * size), volume.start + first + (begin - 2) * size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    process.run(["mdel", "-i", image, path], env=env)
    return True


def _cluster_layout(boot_sector: bytes) -> tuple[int, int]:
    """Where cluster 2 of a FAT filesystem begins, and how large a cluster is, in bytes (Microsoft's specification)."""
    sector, per_cluster, reserved, tables, root_entries = struct.unpack_from("<HBHBH", boot_sector, 11)
    (small,) = struct.unpack_from("<H", boot_sector, 22)
    (large,) = struct.unpack_from("<I", boot_sector, 36)
    root_sectors = -(-root_entries * 32 // sector)
    return (reserved + tables * (small or large) + root_sectors) * sector, per_cluster * sector
