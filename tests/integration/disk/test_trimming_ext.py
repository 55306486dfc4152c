"""What ext filesystems keep of deleted files outside of free blocks must not travel; nor what swap files hold."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.disk import ext
from builder.disk.capture import write_fixed_vhd
from builder.disk.export import exported
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted
from builder.disk.partitions import GptPartition, write_gpt
from builder.disk.system import opened_system
from builder.disk.volumes import find_volumes
from builder.errors import BuildError
from tests.integration.disk.conftest import MIB, ROOT_UUID, as_layer, gpt_disk, root_files, write_tree
from tests.integration.disk.test_trimming import occurrences, trimmed_layer

NAME = b"~deleted-name~"
LINK = b"~deleted-link-target~"
ATTRIBUTE = b"~deleted-attribute~"
CONTENT = b"~deleted-content~"
KEPT = b"~kept-content~"
MARKERS = (NAME, LINK, ATTRIBUTE, CONTENT)
START = MIB
TRANSACTION = re.compile(r"sequence \d+, type \d")


def ext_disk(raw: Path, options: Sequence[str], size: int = 320 * MIB, journal_data: bool = False) -> DiskLayer:
    """A disk with one ext filesystem, made as the options of mke2fs say."""
    part = GptPartition(1, START, size - 2 * MIB)
    write_gpt(raw, size, [part])
    folder = raw.with_suffix(".mount")
    folder.mkdir()
    with loop_device(raw, offset=part.start, size=part.size) as device:
        subprocess.run(["mke2fs", "-q", "-F", "-U", ROOT_UUID, *options, str(device)], check=True)
        if journal_data:
            subprocess.run(["tune2fs", "-o", "journal_data", str(device)], check=True, stdout=subprocess.DEVNULL)
        with mounted(device, folder, type="ext4"):
            write_tree(folder, root_files())
    return as_layer(raw)


def leave_traces(disk: DiskLayer, work: Path) -> None:
    """Files of several sizes with marked names, attributes and link targets, deleted once they are on the disk.

    With their folder: what directory blocks in use have behind their last entry is another matter.
    """
    with opened_system([disk], folder=work, writable=True) as system:
        live, gone = system.root / "srv", system.root / "gone"
        live.mkdir()
        gone.mkdir()
        for number in range(300):
            (live / f"live-{number}").write_bytes(KEPT * (4 + number))
            path = gone / f"{NAME.decode()}-{number}"
            path.write_bytes(CONTENT * (3 if number % 2 else 300))
            os.setxattr(path, "user.note", ATTRIBUTE)
            # Longer than what an inode holds
            (gone / f"link-{number}").symlink_to(LINK.decode() * 5)
        subprocess.run(["sync", "-f", str(live)], check=True)
    with opened_system([disk], folder=work, writable=True) as system:
        shutil.rmtree(system.root / "gone")


def log_of_journal(top: DiskLayer, work: Path) -> str:
    """What debugfs finds in the journal, after e2fsck found nothing wrong."""
    with exported(top, folder=work, writable=False) as raw:
        volume = find_volumes(top, raw)[0]
        with loop_device(raw, offset=volume.start, size=volume.size, read_only=True) as device:
            check = subprocess.run(["e2fsck", "-fn", str(device)], capture_output=True, text=True, check=False)
            assert check.returncode == 0, check.stdout + check.stderr
            log = subprocess.run(
                ["debugfs", "-R", "logdump -O", str(device)], capture_output=True, text=True, check=True
            )
            return log.stdout


@pytest.mark.parametrize(
    ("options", "journal_data"),
    [
        ("-t ext3", False),
        ("-t ext3 -b 1024 -J size=80", False),
        ("-t ext4", False),
        ("-t ext4", True),
        ("-t ext4 -b 1024 -O ^64bit", True),
        ("-t ext4 -O inline_data", False),
        ("-t ext4 -O inline_data -I 1024", True),
        ("-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode,inline_data", False),
        ("-t ext4 -b 1024 -C 16384 -O bigalloc,^resize_inode", False),
        ("-t ext4 -O ^metadata_csum,uninit_bg", False),
        ("-t ext4 -O ^has_journal,inline_data", False),
        ("-t ext2 -I 256", False),
    ],
)
def test_nothing_deleted_is_kept(tmp_path: Path, work: Path, options: str, journal_data: bool) -> None:
    disk = ext_disk(tmp_path / "disk.raw", options.split(), journal_data=journal_data)
    leave_traces(disk, work)
    before, after = tmp_path / "before.vhd", tmp_path / "after.vhd"
    write_fixed_vhd(disk.path, before)
    assert occurrences(before, ATTRIBUTE) > 0  # else the test shows nothing
    assert TRANSACTION.search(log_of_journal(disk, work)) or "has_journal" in options or "ext2" in options
    top = trimmed_layer(disk, work)
    write_fixed_vhd(top.path, after)
    assert {marker: occurrences(after, marker) for marker in MARKERS} == dict.fromkeys(MARKERS, 0)
    assert not TRANSACTION.search(log_of_journal(top, work))
    with opened_system([top], folder=work, writable=True) as system:
        live = {path.name: path.read_bytes() for path in (system.root / "srv").iterdir()}
        assert live == {f"live-{number}": KEPT * (4 + number) for number in range(300)}
        for number in range(300):  # inodes that were cleared, and the journal, serve again
            (system.root / "srv" / f"new-{number}").write_bytes(b"new")
    log_of_journal(top, work)


SWAP_UUID = "33333333-3333-4333-8333-333333333333"
SWAP_SIZE = 4 * MIB


def make_swap(path: Path) -> None:
    """A swap file in use: written, but for its last MiB, which has blocks that were never written."""
    with path.open("wb") as file:
        file.write(CONTENT * ((SWAP_SIZE - MIB) // len(CONTENT)))
        file.truncate(SWAP_SIZE - MIB)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, SWAP_SIZE)
    subprocess.run(["mkswap", "-q", "-U", SWAP_UUID, str(path)], check=True)


def extents(path: Path) -> list[str]:
    """Where a file's blocks are, whether they were written or not."""
    shown = subprocess.run(["filefrag", "-v", "-s", str(path)], check=True, capture_output=True, text=True).stdout
    return [line for line in shown.splitlines() if re.match(r" *[0-9]+:", line)]


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs"])
def test_swap_files_are_emptied_but_stay_swap(tmp_path: Path, work: Path, type: str) -> None:
    fstab = "/swap.img none swap sw 0 0\n/link none swap sw 0 0\n/out none swap sw 0 0\n/plain none swap sw 0 0\n"
    outside = tmp_path / "host"
    make_swap(outside)
    there = outside.read_bytes()
    fstab += f"{outside} none swap sw 0 0\n/missing none swap sw 0 0\n/srv none swap sw 0 0\n/pipe none swap sw 0 0\n"
    disk = as_layer(gpt_disk(tmp_path / "disk.raw", type, root_files(fstab)))
    with opened_system([disk], folder=work, writable=True) as system:
        root = system.root
        for name in ("swap.img", "linked"):
            (root / name).touch()
            if type == "btrfs":
                subprocess.run(["chattr", "+C", str(root / name)], check=True)
            make_swap(root / name)
        (root / "srv").mkdir()
        (root / "link").symlink_to("/linked")
        (root / "out").symlink_to(f"/../../../../../..{outside}")
        (root / "plain").write_bytes(KEPT * 1000)
        os.mkfifo(root / "pipe")
        subprocess.run(["sync", "-f", str(root)], check=True)
        before = extents(root / "swap.img"), (root / "swap.img").read_bytes()[:4096]
    top = trimmed_layer(disk, work)
    vhd = tmp_path / "after.vhd"
    captured = write_fixed_vhd(top.path, vhd)
    # What mkswap left of the header pages
    assert occurrences(vhd, CONTENT) <= 2 * 4096 // len(CONTENT)
    assert occurrences(vhd, KEPT) == 1000
    assert captured.data_bytes < 2 * MIB + (0 if type == "ext4" else 2 * MIB)
    assert outside.read_bytes() == there
    with opened_system([top], folder=work, writable=False) as system:
        swap = system.root / "swap.img"
        content = swap.read_bytes()
        assert (extents(swap), content[:4096]) == before
        assert content[4096:] == bytes(SWAP_SIZE - 4096)
        assert (system.root / "plain").read_bytes() == KEPT * 1000


def test_a_journal_to_be_replayed_is_left_alone(tmp_path: Path, work: Path) -> None:
    disk = ext_disk(tmp_path / "disk.raw", ["-t", "ext4"])
    leave_traces(disk, work)
    with exported(disk, folder=work, writable=True) as raw:
        volume = find_volumes(disk, raw)[0]
        with raw.open("r+b") as file:
            file.seek(volume.start + 1024 + 0x60)
            (features,) = struct.unpack("<I", file.read(4))
            file.seek(-4, os.SEEK_CUR)
            file.write(struct.pack("<I", features | 0x4))
        with pytest.raises(BuildError, match="journal was not replayed") as caught:
            ext.clear_deleted(volume)
    assert caught.value.code == "filesystem-trim"
    vhd = tmp_path / "after.vhd"
    write_fixed_vhd(disk.path, vhd)
    assert occurrences(vhd, NAME) > 0


def test_nothing_is_cleared_when_a_step_fails(tmp_path: Path, work: Path) -> None:
    disk = as_layer(gpt_disk(tmp_path / "disk.raw"))
    done: list[str] = []
    with pytest.raises(KeyError), opened_system([disk], folder=work, writable=True) as system:
        system.after_unmount.append(lambda: done.append("cleared"))
        raise KeyError
    with opened_system([disk], folder=work, writable=True) as system:
        root = system.root
        system.after_unmount.append(lambda: done.append("mounted" if (root / "etc").exists() else "unmounted"))
    assert done == ["unmounted"]
