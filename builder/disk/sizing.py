"""Making data disks, and growing disks with what is on them."""

from __future__ import annotations

import uuid
from pathlib import Path

from builder.disk import filesystems, layers, partitions
from builder.disk.export import exported
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, private_mounts
from builder.errors import BuildError

MIB = 1024 * 1024
# Room before the first partition (alignment) and after the last (the backup table)
_MARGIN = MIB


def create_data_disk(
    disk: DiskLayer, *, size: int, folder: Path, filesystem: str | None, identity: str, label: str | None = None
) -> None:
    """Make a new data disk of `size` bytes at `disk.path`: a GPT with one partition that holds `filesystem`.

    The filesystem gets the UUID `identity`, from which the partition's and the disk's are derived. With `filesystem`
    None the disk stays blank, without a table. `folder` is for temporary files. Raises BuildError for a size that isn't
    whole MiB or too small, a label that is too long, and what `exported` raises.
    """
    if size % MIB or size < 16 * MIB:
        raise BuildError(
            f"disk {disk.name} can't have {size} bytes", code="disk-size", hint="give whole MiB, at least 16"
        )
    layers.create(disk.path, size=size)
    if filesystem is None:
        return
    private_mounts()
    own = uuid.UUID(identity)
    part = partitions.GptPartition(1, _MARGIN, size - 2 * _MARGIN, name=label or "", guid=str(uuid.uuid5(own, "1")))
    with exported(disk, folder=folder, writable=True) as raw:
        partitions.write_gpt(raw, size, [part], disk_guid=str(uuid.uuid5(own, "disk")))
        with loop_device(raw, offset=part.start, size=part.size) as device:
            filesystems.make(device, type=filesystem, identity=identity, label=label)


def grow_disk(disk: DiskLayer, size: int, *, folder: Path) -> None:
    """Grow a disk to `size` bytes, with its partition table, its last partition and the filesystem in that.

    Does nothing when it has that size. Raises BuildError: "disk-shrink" for a smaller one, "partition-layout" when the
    last partition is not the one to be grown (no ext2-4, xfs or btrfs), "no-partition-table", and what `exported` does.
    """
    present = layers.virtual_size(disk.path)
    if size == present:
        return
    if size < present:
        raise BuildError(
            f"disk {disk.name} has {present // MIB} MiB and can't be made smaller ({size // MIB} MiB)",
            code="disk-shrink",
            hint=f"ask for {-(-present // (1024 * MIB))}GiB or more, or leave the size out",
        )
    private_mounts()
    layers.resize(disk.path, size)
    mount = folder / f"{disk.name}.grow"
    mount.mkdir(parents=True, exist_ok=True)
    with exported(disk, folder=folder, writable=True) as raw:
        part = partitions.grow_last(raw, size)
        content = filesystems.identify(raw, part.start)
        if content is None or content.type not in filesystems.MOUNTABLE:
            held = content.type if content else "nothing known"
            raise BuildError(
                f"disk {disk.name} can't be grown: its last partition ({part.number}) holds {held}",
                code="partition-layout",
                hint="leave the disk's size out, or give a source whose root partition is the last one",
            )
        with loop_device(raw, offset=part.start, size=part.size) as device:
            filesystems.grow(device, type=content.type, folder=mount)
    mount.rmdir()
