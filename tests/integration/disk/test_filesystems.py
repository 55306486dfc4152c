"""What we read in superblocks against what the tools that made them say, and what tools think of our tables."""

from __future__ import annotations

import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from builder.disk import filesystems, layers, sizing
from builder.disk.export import exported
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted, unmount
from builder.disk.partitions import GptPartition, grow_last, read_table, write_gpt
from builder.disk.system import opened_system
from builder.disk.volumes import find_volumes
from builder.errors import BuildError
from tests.integration.disk.conftest import DATA_UUID, MIB, as_layer, fill, gpt_disk, left_behind, root_files

MADE = {
    "ext4": ["mkfs.ext4", "-q", "-L", "data"],
    "ext4, small blocks": ["mkfs.ext4", "-q", "-b", "1024", "-L", "data"],
    "ext3": ["mkfs.ext3", "-q"],
    "ext2": ["mkfs.ext2", "-q"],
    "xfs": ["mkfs.xfs", "-q", "-L", "data"],
    "btrfs": ["mkfs.btrfs", "-q", "-L", "data"],
    "vfat": ["mkfs.vfat", "-n", "DATA"],
    "small vfat": ["mkfs.vfat", "-F", "16", "-n", "DATA"],
    "swap": ["mkswap", "-q", "-L", "data"],
}


def blkid(path: Path) -> dict[str, str]:
    out = subprocess.run(["blkid", "-p", "-o", "export", str(path)], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in out.splitlines())


@pytest.mark.parametrize("case", MADE)
def test_identify_agrees_with_blkid(tmp_path: Path, case: str) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(320 * MIB)
    subprocess.run([*MADE[case], str(path)], check=True, capture_output=True)
    found = filesystems.identify(path)
    said = blkid(path)
    assert found is not None
    assert (found.type, found.uuid, found.label) == (said["TYPE"], said["UUID"], said.get("LABEL", ""))
    if found.type in filesystems.MOUNTABLE:
        assert found.block_size == (int(said["BLOCK_SIZE"]) if "ext" in case else 4096)
        assert 300 * MIB < found.size <= 320 * MIB


def test_tools_accept_our_table(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    parts = [GptPartition(14, MIB, 3 * MIB), GptPartition(1, 20 * MIB, 43 * MIB, name="root")]
    write_gpt(path, 64 * MIB, parts)
    for size in (64 * MIB, 200 * MIB):
        with path.open("r+b") as file:
            file.truncate(size)
        grow_last(path, size)
        checked = subprocess.run(["sgdisk", "-v", str(path)], capture_output=True, text=True, check=True).stdout
        assert "No problems found" in checked
        listed = subprocess.run(["sfdisk", "--verify", str(path)], capture_output=True, text=True, check=True)
        assert "No errors detected" in listed.stdout


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs"])
def test_disks_grow_with_their_filesystem(tmp_path: Path, work: Path, type: str) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", type))
    sizing.grow_disk(disk, 1024 * MIB, folder=work)
    assert layers.virtual_size(disk.path) == 1024 * MIB
    with opened_system([disk], folder=work, writable=True) as system:
        (root,) = system.filesystems
        assert root.volume.size > 1000 * MIB
        assert root.volume.content is not None
        assert root.volume.content.size > 1000 * MIB
        assert system.tree.read_text("/etc/hostname") == "guest\n"
    before = disk.path.stat().st_mtime_ns
    sizing.grow_disk(disk, 1024 * MIB, folder=work)
    assert disk.path.stat().st_mtime_ns == before
    with pytest.raises(BuildError) as caught:
        sizing.grow_disk(disk, 512 * MIB, folder=work)
    assert caught.value.code == "disk-shrink"


def test_a_root_that_is_not_last_can_not_grow(tmp_path: Path, work: Path) -> None:
    raw = tmp_path / "disk.raw"
    parts = [GptPartition(1, MIB, 100 * MIB), GptPartition(2, 101 * MIB, 10 * MIB)]
    write_gpt(raw, 128 * MIB, parts)
    fill(raw, parts[0].start, parts[0].size, "ext4", root_files())
    disk = as_layer(raw)
    with pytest.raises(BuildError, match="last partition") as caught:
        sizing.grow_disk(disk, 256 * MIB, folder=work)
    assert caught.value.code == "partition-layout"


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs"])
def test_data_disks(tmp_path: Path, work: Path, type: str) -> None:
    disk = DiskLayer(tmp_path / "data-0.qcow2", 0)
    sizing.create_data_disk(disk, size=400 * MIB, folder=work, filesystem=type, identity=DATA_UUID, label="data")
    with exported(disk, folder=work, writable=False) as raw:
        (volume,) = find_volumes(disk, raw)
        table = read_table(raw)
        assert volume.content is not None
        assert (volume.content.type, volume.content.uuid, volume.content.label) == (type, DATA_UUID, "data")
        assert table is not None
        assert len({table.identity, volume.partuuid, DATA_UUID}) == 3
    blank = DiskLayer(tmp_path / "data-1.qcow2", 1)
    sizing.create_data_disk(blank, size=64 * 1024 * MIB, folder=work, filesystem=None, identity=DATA_UUID)
    assert layers.extents(blank.path) == []
    assert blank.path.stat().st_size < MIB


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs"])
def test_two_builds_make_equal_disks_at_once(tmp_path: Path, work: Path, type: str) -> None:
    disks = [DiskLayer(tmp_path / f"data-{number}.qcow2", 0) for number in range(2)]
    make = partial(sizing.create_data_disk, size=512 * MIB, folder=work, filesystem=type, identity=DATA_UUID)
    make(disks[0])
    with exported(disks[0], folder=work, writable=False) as raw, loop_device(raw, offset=MIB, size=510 * MIB):
        make(disks[1])
    for disk in disks:
        with exported(disk, folder=work, writable=False) as raw:
            content = filesystems.identify(raw, MIB)
            assert content is not None
            assert (content.type, content.uuid) == (type, DATA_UUID)


def test_a_layer_that_is_in_use(tmp_path: Path, work: Path) -> None:
    disk = DiskLayer(tmp_path / "os.qcow2")
    layers.create(disk.path, size=64 * MIB)
    other = tmp_path / "other"
    other.mkdir()
    with (
        exported(disk, folder=work, writable=True),
        pytest.raises(BuildError) as caught,
        exported(disk, folder=other, writable=True),
    ):
        pass
    assert caught.value.code == "export-failed"
    assert "another program" in (caught.value.hint or "")


def test_a_broken_layer(tmp_path: Path, work: Path) -> None:
    disk = DiskLayer(tmp_path / "os.qcow2")
    disk.path.write_bytes(b"QFI\xfb" + bytes(5000))
    with pytest.raises(BuildError) as caught, exported(disk, folder=work, writable=False):
        pass
    assert caught.value.code == "export-failed"
    assert caught.value.detail


def test_unmounting_waits_for_its_users(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(32 * MIB)
    filesystems.make(raw, type="ext4", identity=DATA_UUID)
    mount = tmp_path / "mount"
    mount.mkdir()
    with loop_device(raw, size=32 * MIB) as device, mounted(device, mount, type="ext4"):
        user = subprocess.Popen(["sleep", "60"], cwd=mount)
        ending = threading.Timer(0.3, user.kill)
        ending.start()
    assert user.wait() < 0
    assert left_behind(tmp_path) == []


def test_what_stays_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.disk.mounts.BUSY_SECONDS", 0.5)
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], check=True)
    with subprocess.Popen(["sleep", "60"], cwd=mount) as user:
        try:
            with pytest.raises(BuildError, match=rf"sleep \({user.pid}\)") as caught:
                unmount(mount)
        finally:
            user.kill()
    assert caught.value.code == "mount-busy"
    assert left_behind(tmp_path) == []
