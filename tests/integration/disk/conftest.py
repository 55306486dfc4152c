"""Small disks made by hand, and the check that every test leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.disk import filesystems, layers
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted, private_mounts
from builder.disk.partitions import TYPE_ROOT_X64, GptPartition, write_gpt

MIB = 1024 * 1024
LOOP_GET_STATUS64 = 0x4C05
ROOT_UUID = "11111111-1111-4111-8111-111111111111"
OTHER_UUID = "22222222-2222-4222-8222-222222222222"
DATA_UUID = "44444444-4444-4444-8444-444444444444"
# An ELF header as far as it matters: 64 bits, little-endian, x86-64
ELF_X64 = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62) + bytes(44)
OS_RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


def loop_names() -> dict[str, str]:
    """What each loop device in use says that it shows: the end of the path that it was given."""
    found = {}
    for state in Path("/sys/block").glob("loop*/loop"):
        device = Path("/dev", state.parent.name)
        status = bytearray(232)  # struct loop_info64
        try:
            with device.open("rb", buffering=0) as file:
                fcntl.ioctl(file, LOOP_GET_STATUS64, status)
        except OSError:
            continue  # freed meanwhile
        found[device.name] = os.fsdecode(bytes(status[56:120]).split(b"\0", 1)[0])
    return found


def left_behind(folder: Path) -> list[str]:
    """Mounts, loop devices and daemons that have to do with the folder of a test."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    loops = [f"{device}: {name}" for device, name in loop_names().items() if f"{folder.name}/" in name]
    daemons = subprocess.run(["pgrep", "-af", "qemu-storage-daemon"], capture_output=True, text=True, check=False)
    return [*mounts, *loops, *(line for line in daemons.stdout.splitlines() if str(folder) in line)]


def wait_until_nothing_is_left(folder: Path, seconds: float = 20) -> list[str]:
    """What is left after waiting for the kernel to clean up after a killed process."""
    deadline = time.monotonic() + seconds
    while (left := left_behind(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    assert os.geteuid() == 0, "these tests need root"
    private_mounts()
    yield
    assert left_behind(tmp_path) == []


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def root_files(fstab: str = "") -> dict[str, bytes]:
    return {
        "etc/os-release": OS_RELEASE,
        "etc/hostname": b"guest\n",
        "etc/fstab": fstab.encode(),
        "usr/bin/sh": ELF_X64,
    }


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if not (folder / "bin").exists() and (folder / "usr/bin").exists():
        (folder / "bin").symlink_to("usr/bin")


def fill(raw: Path, start: int, size: int, type: str, files: dict[str, bytes], *, subvolume: str = "") -> None:
    """Put a filesystem with files at a place of a raw disk."""
    identity = ROOT_UUID if "etc/os-release" in files else OTHER_UUID
    mount = raw.with_suffix(".mount")
    mount.mkdir(exist_ok=True)
    with loop_device(raw, offset=start, size=size) as device:
        filesystems.make(device, type=type, identity=identity)
        with mounted(device, mount, type=type, options=filesystems.MOUNT_ALWAYS.get(type, ())):
            top = mount
            if subvolume:
                subprocess.run(["btrfs", "-q", "subvolume", "create", str(mount / subvolume)], check=True)
                top = mount / subvolume
            write_tree(top, files)
    mount.rmdir()


def gpt_disk(
    raw: Path, type: str = "ext4", files: dict[str, bytes] | None = None, size: int = 320 * MIB, **options: str
) -> Path:
    """A raw disk with a GPT and one partition that fills it."""
    part = GptPartition(1, MIB, size - 2 * MIB, TYPE_ROOT_X64, name="root")
    write_gpt(raw, size, [part])
    fill(raw, part.start, part.size, type, root_files() if files is None else files, **options)
    return raw


def as_layer(raw: Path, lun: int | None = None) -> DiskLayer:
    """A raw disk as a layer with a blank one on top."""
    name = DiskLayer(raw, lun).name
    base = raw.with_name(f"{name}-base.qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(base)], check=True)
    top = raw.with_name(f"{name}.qcow2")
    layers.create(top, backing=base)
    return DiskLayer(top, lun)
