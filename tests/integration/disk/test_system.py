"""Finding and opening the system on a disk, whatever its layout; and what is said when there is none."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from builder.disk import layers, sizing
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted
from builder.disk.partitions import TYPE_LVM, GptPartition, write_gpt
from builder.disk.system import opened_system
from builder.errors import BuildError
from tests.integration.disk.conftest import (
    DATA_UUID,
    ELF_X64,
    MIB,
    OTHER_UUID,
    as_layer,
    fill,
    gpt_disk,
    left_behind,
    root_files,
    wait_until_nothing_is_left,
)

SIZE = 320 * MIB


def mbr_disk(raw: Path, type: str = "ext4") -> Path:
    """A small primary partition without a system, and the root in a logical one."""
    with raw.open("wb") as file:
        file.truncate(SIZE)
    script = (
        "label: dos\nstart=2048,size=32768,type=83\nstart=34816,size=600000,type=5\nstart=36864,size=500000,type=83\n"
    )
    subprocess.run(["sfdisk", "-q", str(raw)], input=script.encode(), check=True)
    fill(raw, 2048 * 512, 32768 * 512, "ext4", {"notes": b"no system here\n"})
    fill(raw, 36864 * 512, 500000 * 512, type, root_files())
    return raw


def whole_disk(raw: Path) -> Path:
    with raw.open("wb") as file:
        file.truncate(SIZE)
    fill(raw, 0, SIZE, "ext4", root_files())
    return raw


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, int | None]] = {
    "gpt, ext4": (gpt_disk, "ext4", 1),
    "gpt, xfs": (lambda raw: gpt_disk(raw, "xfs"), "xfs", 1),
    "gpt, btrfs": (lambda raw: gpt_disk(raw, "btrfs"), "btrfs", 1),
    "gpt, btrfs in @": (lambda raw: gpt_disk(raw, "btrfs", subvolume="@"), "btrfs", 1),
    "gpt, btrfs in @rootfs": (lambda raw: gpt_disk(raw, "btrfs", subvolume="@rootfs"), "btrfs", 1),
    "mbr, logical": (mbr_disk, "ext4", 5),
    "no table": (whole_disk, "ext4", None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("writable", [False, True], ids=["read", "write"])
def test_root_is_found(tmp_path: Path, work: Path, layout: str, writable: bool) -> None:
    make, type, number = LAYOUTS[layout]
    disk = as_layer(make(tmp_path / "disk.raw"))
    with opened_system([disk], folder=work, writable=writable) as system:
        assert system.os_release["ID"] == "debian"
        assert system.os_release["PRETTY_NAME"] == "Debian GNU/Linux 12 (bookworm)"
        assert system.architecture == "x64"
        assert system.tree.read_text("/etc/hostname") == "guest\n"
        (root,) = system.filesystems
        assert root.volume.content is not None
        assert (root.volume.content.type, root.volume.number) == (type, number)
        assert system.notes == ()
        if writable:
            (system.root / "etc/hostname").write_text("changed\n")
        else:
            with pytest.raises(OSError, match="Read-only"):
                (system.root / "etc/hostname").write_text("changed\n")
    with opened_system([disk], folder=work, writable=False) as system:
        assert system.tree.read_text("/etc/hostname") == ("changed\n" if writable else "guest\n")


def test_fstab_is_followed(tmp_path: Path, work: Path) -> None:
    fstab = f"""# what a guest says
UUID=11111111-1111-4111-8111-111111111111 / ext4 defaults 0 1
LABEL=nowhere /missing ext4 nofail 0 2
UUID={OTHER_UUID} /boot ext4 defaults 0 2
/dev/disk/azure/scsi1/lun3-part1 /data\\040files xfs nofail 0 2
UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1
/dev/sda4 none swap sw 0 0
tmpfs /tmp tmpfs defaults 0 0
"""
    raw = tmp_path / "disk.raw"
    parts = [
        GptPartition(1, 120 * MIB, 150 * MIB),
        GptPartition(2, MIB, 64 * MIB),
        GptPartition(3, 65 * MIB, 34 * MIB, name="esp"),
    ]
    write_gpt(raw, SIZE, parts)
    fill(raw, parts[0].start, parts[0].size, "ext4", {**root_files(fstab), "data files/.keep": b"", "boot/.keep": b""})
    hides = "what is mounted on /boot hides .keep in that folder: no step sees that, and nothing cleans it"
    fill(raw, parts[1].start, parts[1].size, "ext4", {"vmlinuz": b"kernel", "efi/.keep": b""})
    esp = tmp_path / "esp"
    subprocess.run(["mkfs.vfat", "-C", "-i", "ABCD1234", str(esp), str(34 * 1024)], check=True, capture_output=True)
    with raw.open("r+b") as file:
        file.seek(parts[2].start)
        file.write(esp.read_bytes())
    data = DiskLayer(tmp_path / "data-3.qcow2", 3)
    sizing.create_data_disk(data, size=320 * MIB, folder=work, filesystem="xfs", identity=DATA_UUID, label="d")
    disk = as_layer(raw)
    with opened_system([disk, data], folder=work, writable=True) as system:
        assert [item.target for item in system.filesystems] == ["/", "/boot", "/data files"]
        assert system.tree.read_bytes("/boot/vmlinuz") == b"kernel"
        (system.root / "data files" / "row").write_text("1\n")
        assert any("/missing" in note for note in system.notes)
        assert hides in system.notes
        assert any("/boot/efi" in note and "vfat" in note for note in system.notes)
    with opened_system([disk, data], folder=work, writable=False) as system:
        assert system.tree.read_text("/data files/row") == "1\n"


def crafted(raw: Path, content: bytes, at: int = 0, type: str = "") -> Path:
    """A disk with one partition that begins with given bytes."""
    write_gpt(raw, 64 * MIB, [GptPartition(1, MIB, 62 * MIB, **({"type": type} if type else {}))])
    with raw.open("r+b") as file:
        file.seek(MIB + at)
        file.write(content)
    return raw


def two_roots(raw: Path) -> Path:
    parts = [GptPartition(1, MIB, 100 * MIB), GptPartition(2, 101 * MIB, 100 * MIB)]
    write_gpt(raw, SIZE, parts)
    for part in parts:
        fill(raw, part.start, part.size, "ext4", root_files())
    return raw


def blank(raw: Path) -> Path:
    with raw.open("wb") as file:
        file.truncate(64 * MIB)
    return raw


def damaged_root(raw: Path) -> Path:
    """An ext4 whose group descriptors and root folder are gone."""
    gpt_disk(raw, size=64 * MIB)
    with raw.open("r+b") as file:
        file.seek(MIB + 4096)
        file.write(b"\xa5" * 8 * MIB)
    return raw


def beyond_the_end(raw: Path) -> Path:
    gpt_disk(raw, size=64 * MIB)
    with raw.open("r+b") as file:
        file.truncate(32 * MIB)
    return raw


def debugged(raw: Path, request: str) -> Path:
    """A disk with an ext4 that was changed by hand."""
    gpt_disk(raw, size=64 * MIB)
    subprocess.run(["debugfs", "-w", "-R", request, f"{raw}?offset={MIB}"], check=True, capture_output=True)
    return raw


LVM = b"LABELONE" + bytes(16) + b"LVM2 001"
UNUSABLE: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "nothing": (blank, "no-partition-table", "no partition table"),
    "no system": (lambda raw: gpt_disk(raw, files={"a": b"b"}, size=64 * MIB), "no-root-filesystem", "no Linux root"),
    "luks": (lambda raw: crafted(raw, b"LUKS\xba\xbe\x00\x02"), "encrypted-disk", "LUKS"),
    "bitlocker": (lambda raw: crafted(raw, b"\xeb\x58\x90-FVE-FS-"), "encrypted-disk", "BitLocker"),
    "windows": (lambda raw: crafted(raw, b"\xeb\x52\x90NTFS    "), "windows-disk", "Windows"),
    "lvm": (lambda raw: crafted(raw, LVM, at=512, type=TYPE_LVM), "lvm-disk", "logical volume"),
    "two systems": (two_roots, "several-roots", "partition 1 .* and partition 2"),
    "damaged": (damaged_root, "filesystem-broken", "partition 1 of disk os"),
    "error flag": (
        lambda raw: debugged(raw, "set_super_value state 3"),
        "filesystem-broken",
        r"partition 1 of disk os \(ext4\) is damaged: its superblock",
    ),
    "lost os-release": (
        lambda raw: debugged(raw, "clri /etc/os-release"),
        "filesystem-broken",
        r"partition 1 of disk os \(ext4\) is damaged: /etc/os-release",
    ),
    "cut off": (beyond_the_end, "partition-table", "beyond the disk's end"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_disks(tmp_path: Path, work: Path, case: str) -> None:
    make, code, message = UNUSABLE[case]
    disk = as_layer(make(tmp_path / "disk.raw"))
    with pytest.raises(BuildError, match=message) as caught, opened_system([disk], folder=work, writable=True):
        pass
    assert caught.value.code == code
    assert caught.value.hint
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("writable", [False, True], ids=["read", "write"])
def test_damage_found_while_reading(tmp_path: Path, work: Path, writable: bool) -> None:
    disk = as_layer(debugged(tmp_path / "disk.raw", "clri /etc/hostname"))
    with (
        pytest.raises(BuildError, match=r"partition 1 of disk os .* is damaged: /etc/hostname") as caught,
        opened_system([disk], folder=work, writable=writable) as system,
    ):
        system.tree.read_text("/etc/hostname")
    assert caught.value.code == "filesystem-broken"
    assert "e2fsck" in (caught.value.hint or "")


def test_fstab_never_hides_the_root(tmp_path: Path, work: Path) -> None:
    fstab = b"UUID=%s /.. ext4\nUUID=%s /self ext4\nUUID=%s /caf\xe9 ext4\n" % ((OTHER_UUID.encode(),) * 3)
    raw = tmp_path / "disk.raw"
    parts = [GptPartition(1, MIB, 64 * MIB), GptPartition(2, 65 * MIB, 32 * MIB)]
    write_gpt(raw, 98 * MIB, parts)
    fill(raw, parts[0].start, parts[0].size, "ext4", {**root_files(), "etc/fstab": fstab})
    with loop_device(raw, offset=MIB, size=64 * MIB) as device, mounted(device, work, type="ext4"):
        (work / "self").symlink_to("/")
    fill(raw, parts[1].start, parts[1].size, "ext4", {"other": b""})
    with opened_system([as_layer(raw)], folder=work, writable=True) as system:
        assert [item.target for item in system.filesystems] == ["/"]
        assert not system.tree.exists("/other")
        assert [note.split(" ", 1)[0] for note in system.notes] == ["/..", "/self", "/caf\ufffd"]


def dirty_disk(raw: Path, type: str) -> DiskLayer:
    """A disk copied while it was mounted, with a change that is only in its journal."""
    gpt_disk(raw, type)
    copy = raw.with_name("copy.raw")
    mount = raw.with_name("mount")
    mount.mkdir()
    with (
        loop_device(raw, offset=MIB, size=SIZE - 2 * MIB) as device,
        mounted(device, mount, type=type, options=["nouuid"] if type == "xfs" else []),
    ):
        (mount / "etc/new").write_text("new\n")
        # Reaches the journal, not yet its place
        with (mount / "etc/new").open("rb") as file:
            os.fsync(file.fileno())
        subprocess.run(["cp", "--sparse=always", str(raw), str(copy)], check=True)
    return as_layer(copy)


@pytest.mark.parametrize("type", ["ext4", "xfs"])
def test_dirty_journal(tmp_path: Path, work: Path, type: str) -> None:
    disk = dirty_disk(tmp_path / "disk.raw", type)
    with opened_system([disk], folder=work, writable=False) as system:
        assert system.tree.read_text("/etc/hostname") == "guest\n"
        assert any("not unmounted cleanly" in note and "journal" in note for note in system.notes)
    with opened_system([disk], folder=work, writable=True) as system:
        assert system.tree.read_text("/etc/new") == "new\n"
        if type == "ext4":
            assert any("its journal was replayed" in note for note in system.notes)
    with opened_system([disk], folder=work, writable=False) as system:
        assert system.notes == ()
        assert system.tree.read_text("/etc/new") == "new\n"


def test_an_older_state_of_a_btrfs_opens(tmp_path: Path, work: Path) -> None:
    """The kernel remembers the newest state of a btrfs that it has seen, and refuses older ones."""
    old = as_layer(gpt_disk(tmp_path / "disk.raw", "btrfs"))
    new = DiskLayer(tmp_path / "new.qcow2")
    layers.create(new.path, backing=old.path)
    for _ in range(2):
        with opened_system([new], folder=work, writable=True) as system:
            (system.root / "file").write_text("new")
    with opened_system([old], folder=work, writable=False) as system:
        assert not system.tree.exists("/file")


def test_host_disk_full(tmp_path: Path, work: Path) -> None:
    """The guest sees I/O errors; the user must be told the reason."""
    base = as_layer(gpt_disk(tmp_path / "disk.raw"))
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
    try:
        disk = DiskLayer(small / "os.qcow2")
        layers.create(disk.path, backing=base.path)
        with (
            pytest.raises(BuildError, match="disk is full") as caught,
            opened_system([disk], folder=work, writable=True) as system,
        ):
            (system.root / "big").write_bytes(b"x" * 100 * MIB)
        assert caught.value.code == "disk-full"
        assert str(small) in caught.value.message
        # A step's own error is replaced by its cause
        layers.create(disk.path, backing=base.path)
        with (
            pytest.raises(BuildError) as caught,
            opened_system([disk], folder=work, writable=True) as system,
        ):
            (system.root / "big").write_bytes(b"x" * 100 * MIB)
            raise BuildError("the step failed", code="step-failed")
        assert caught.value.code == "disk-full"
        assert isinstance(caught.value.__cause__, BuildError)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_failing_step_keeps_its_error(tmp_path: Path, work: Path) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", size=64 * MIB))
    with pytest.raises(BuildError) as caught, opened_system([disk], folder=work, writable=True):
        raise BuildError("the step failed", code="step-failed")
    assert caught.value.code == "step-failed"


OPEN_AND_WAIT = """
import sys, threading
from pathlib import Path
from typing import NoReturn
from builder.disk.layers import DiskLayer
from builder.disk.system import opened_system

with opened_system([DiskLayer(Path(sys.argv[1]))], folder=Path(sys.argv[2]), writable=True) as system:
    with (system.root / "file").open("wb") as file:
        print("open", flush=True)
        while True:
            file.write(b"x" * 65536)
            file.flush()
            if file.tell() > 30_000_000:
                file.seek(0)
"""


OPEN_AND_RUN = """
import sys
from pathlib import Path
from typing import NoReturn
from builder import process
from builder.disk.layers import DiskLayer
from builder.disk.system import opened_system

with opened_system([DiskLayer(Path(sys.argv[1]))], folder=Path(sys.argv[2]), writable=True) as system:
    step = "while :; do dd if=/dev/zero of=file bs=1M count=30 conv=notrunc 2>/dev/null; done"
    with process.daemon(["sh", "-c", f"cd {system.root} && echo > started && {step}"]) as running:
        while not (system.root / "started").exists():
            pass
        print("open", flush=True)
        running.wait()
"""


@pytest.mark.parametrize(
    ("type", "program"),
    [("ext4", OPEN_AND_WAIT), ("xfs", OPEN_AND_WAIT), ("btrfs", OPEN_AND_WAIT), ("ext4", OPEN_AND_RUN)],
    ids=["ext4", "xfs", "btrfs", "step"],
)
def test_killed_in_the_middle(tmp_path: Path, work: Path, type: str, program: str) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", type))
    command = [sys.executable, "-c", program, str(disk.path), str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert left_behind(tmp_path)  # else the test shows nothing
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert wait_until_nothing_is_left(tmp_path) == []
    # What is below can be used again at once
    again = DiskLayer(tmp_path / "again.qcow2")
    layers.create(again.path, backing=tmp_path / "os-base.qcow2")
    with opened_system([again], folder=work, writable=True) as system:
        assert system.os_release["ID"] == "debian"


def test_hostile_links_stay_inside(tmp_path: Path, work: Path) -> None:
    files = {**root_files("UUID=" + OTHER_UUID + " /mnt/data ext4 defaults 0 2\n")}
    raw = gpt_disk(tmp_path / "disk.raw", files=files, size=128 * MIB)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data").mkdir()
    mount = tmp_path / "mount"
    mount.mkdir()
    with loop_device(raw, offset=MIB, size=126 * MIB) as device, mounted(device, mount, type="ext4"):
        (mount / "mnt").symlink_to(f"../../../../../../..{outside}")
        (mount / "etc/hostname").unlink()
        (mount / "etc/hostname").symlink_to("/../../../../etc/hostname")
    data_raw = tmp_path / "data.raw"
    with data_raw.open("wb") as file:
        file.truncate(64 * MIB)
    fill(data_raw, 0, 64 * MIB, "ext4", {"file": b"data"})
    disks = [as_layer(raw), as_layer(data_raw, lun=0)]
    with opened_system(disks, folder=work, writable=True) as system:
        assert not system.tree.exists("/etc/hostname")
        assert [item.target for item in system.filesystems] == ["/"]
        assert list((outside / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("header", "architecture"),
    [
        (ELF_X64, "x64"),
        (ELF_X64[:18] + struct.pack("<H", 183), "arm64"),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HH", 3, 21), "elf-21"),
        (b"#!/bin/sh\n", "unknown"),
    ],
)
def test_architecture(tmp_path: Path, work: Path, header: bytes, architecture: str) -> None:
    files = {**root_files(), "usr/bin/sh": header}
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", files=files, size=64 * MIB))
    with opened_system([disk], folder=work, writable=False) as system:
        assert system.architecture == architecture


def test_a_twin_that_the_kernel_refuses_is_no_broken_disk(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    # Linux before 6.7 answers so where newer kernels mount both
    monkeypatch.setattr("builder.disk.system.mounted", refused)
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", "btrfs"))
    with (
        pytest.raises(BuildError, match="another btrfs with the same UUID") as caught,
        opened_system([disk], folder=work, writable=True),
    ):
        pass
    assert caught.value.code == "filesystem-twin"
