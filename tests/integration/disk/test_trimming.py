"""What was deleted in the guest must not be in the captured disk, not even in a corner of a cluster."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path

import pytest

from builder import process
from builder.disk import layers, trimming
from builder.disk.capture import write_fixed_vhd
from builder.disk.export import exported
from builder.disk.filesystems import Content
from builder.disk.layers import DiskLayer
from builder.disk.partitions import GptPartition, write_gpt
from builder.disk.system import opened_system
from builder.disk.volumes import Volume, find_volumes
from tests.integration.disk.conftest import MIB, as_layer, fill, gpt_disk, root_files

DELETED = b"~deleted-secret~"
KEPT = b"~kept-content~"


def occurrences(path: Path, marker: bytes) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count, at = 0, data.find(marker)
        while at >= 0:
            count, at = count + 1, data.find(marker, at + 1)
        return count


def leave_secrets(disk: DiskLayer, work: Path) -> None:
    """Small files, secret and live ones in turn, and a large one; the secrets are deleted once they are on the disk."""
    with opened_system([disk], folder=work, writable=True) as system:
        folder = system.root / "srv"
        folder.mkdir()
        for number in range(400):
            (folder / f"live-{number}").write_bytes(KEPT.ljust(5000, b"k"))
            (folder / f"dead-{number}").write_bytes(DELETED.ljust(5000, b"d"))
        (folder / "large").write_bytes((DELETED * 256) * 4096)
        subprocess.run(["sync", "-f", str(folder)], check=True)
    with opened_system([disk], folder=work, writable=True) as system:
        for path in (system.root / "srv").glob("dead-*"):
            path.unlink()
        (system.root / "srv" / "large").unlink()


def trimmed_layer(disk: DiskLayer, work: Path) -> DiskLayer:
    with exported(disk, folder=work, writable=False) as raw:
        finest = trimming.cluster_size_for(disk, find_volumes(disk, raw))
    top = DiskLayer(disk.path.with_name("trimmed.qcow2"))
    layers.create(top.path, backing=disk.path, cluster_size=finest)
    with opened_system([top], folder=work, writable=True) as system:
        assert trimming.trim(system) > 0
    return top


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs"])
def test_deleted_content_does_not_travel(tmp_path: Path, work: Path, type: str) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", type))
    leave_secrets(disk, work)
    before = tmp_path / "before.vhd"
    write_fixed_vhd(disk.path, before)
    assert occurrences(before, DELETED) > 400  # else the test shows nothing
    top = trimmed_layer(disk, work)
    after = tmp_path / "after.vhd"
    captured = write_fixed_vhd(top.path, after)
    assert occurrences(after, DELETED) == 0
    assert occurrences(after, KEPT) == 400
    assert captured.data_bytes < 40 * MIB
    # The pages freed are few, so the layer must be small too
    assert top.path.stat().st_size < 16 * MIB
    with opened_system([top], folder=work, writable=False) as system:
        assert len(list((system.root / "srv").iterdir())) == 400


def test_small_blocks_at_an_odd_sector(tmp_path: Path, work: Path) -> None:
    """ext4 uses blocks of 1 KiB on small disks, and old installers start partitions at sector 63."""
    raw = tmp_path / "disk.raw"
    part = GptPartition(1, 63 * 512, 200 * MIB)
    write_gpt(raw, 208 * MIB, [part])
    fill(raw, part.start, part.size, "ext4", root_files())
    disk = as_layer(raw)
    leave_secrets(disk, work)
    top = trimmed_layer(disk, work)
    assert layers.cluster_size(top.path) == 512
    vhd = tmp_path / "after.vhd"
    write_fixed_vhd(top.path, vhd)
    assert (occurrences(vhd, DELETED), occurrences(vhd, KEPT)) == (0, 400)


def test_swap_is_emptied_but_stays_swap(tmp_path: Path, work: Path) -> None:
    raw = tmp_path / "disk.raw"
    parts = [GptPartition(1, MIB, 200 * MIB), GptPartition(2, 201 * MIB, 16 * MIB)]
    write_gpt(raw, 220 * MIB, parts)
    fill(raw, parts[0].start, parts[0].size, "ext4", root_files())
    area = tmp_path / "swap"
    area.write_bytes(DELETED * (16 * MIB // len(DELETED)))
    subprocess.run(["mkswap", "-q", "-U", "33333333-3333-4333-8333-333333333333", str(area)], check=True)
    with raw.open("r+b") as file:
        file.seek(parts[1].start)
        file.write(area.read_bytes())
    top = trimmed_layer(as_layer(raw), work)
    vhd = tmp_path / "after.vhd"
    write_fixed_vhd(top.path, vhd)
    assert occurrences(vhd, DELETED) < 4096 // len(DELETED)  # what mkswap left in the header page
    with opened_system([top], folder=work, writable=False) as system:
        swap = next(volume for volume in system.volumes if volume.number == 2)
        assert swap.content is not None
        assert (swap.content.type, swap.content.uuid) == ("swap", "33333333-3333-4333-8333-333333333333")


def test_coarse_clusters_are_refused(tmp_path: Path, work: Path) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw"))
    with opened_system([disk], folder=work, writable=True) as system, pytest.raises(ValueError, match="too large"):
        trimming.trim(system)


@pytest.mark.parametrize(
    ("gib", "block", "cluster", "warned"),
    [(128, 512, 512, False), (129, 512, 1024, True), (513, 1024, 2048, True), (8193, 4096, 8192, True)],
)
def test_large_disks(tmp_path: Path, gib: int, block: int, cluster: int, warned: bool) -> None:
    """A layer with clusters too small for its disk can't be made at all."""
    disk = DiskLayer(tmp_path / "os.qcow2")
    layers.create(disk.path, size=gib * 1024 * MIB)
    volumes = [Volume(disk, tmp_path / "raw", 1, MIB, 100 * MIB, Content("ext4", block_size=block))]
    assert trimming.cluster_size_for(disk, volumes) == cluster
    note = trimming.coarse_note(disk, volumes)
    assert (note is not None and "may stay" in note) == warned
    top = tmp_path / "top.qcow2"
    layers.create(top, backing=disk.path, cluster_size=cluster)
    assert layers.virtual_size(top) == gib * 1024 * MIB
    if warned:
        with pytest.raises(process.CommandFailed):
            layers.create(top, backing=disk.path, cluster_size=cluster // 2)
