"""Disk files of every format and layout: what is wrong is named; without root, bytes are looked at all the same."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.disk import vhd
from builder.disk.mounts import loop_device, mounted, sync_filesystem
from builder.disk.partitions import TYPE_BIOS_BOOT, TYPE_EFI_SYSTEM, TYPE_SWAP, GptPartition, read_table, write_gpt
from builder.guest.inspection.initramfs import module_names
from builder.guest.inspection.inspecting import inspect_disk
from builder.guest.inspection.layout import read_layout
from builder.guest.inspection.unpacking import Unreadable
from tests.integration.disk.conftest import as_layer, gpt_disk, root_files, wait_until_nothing_is_left

MIB = 1024 * 1024
SIZE = 32 * MIB
NOBODY = 65534


def legacy(raw: Path, size: int = SIZE, *parts: GptPartition) -> Path:
    """A disk that BIOS starts: boot code, and a partition with what it loads."""
    core = GptPartition(14, MIB, MIB, TYPE_BIOS_BOOT)
    write_gpt(raw, size, [core, *parts])
    with raw.open("r+b") as file:
        file.write(b"\xeb\x63GRUB")
        file.seek(core.start)
        file.write(b"core")
    return raw


def fixed(raw: Path) -> Path:
    """A raw disk of whole MiB made a fixed VHD."""
    size = raw.stat().st_size
    with raw.open("ab") as file:
        file.write(vhd.make_footer(size, content_digest="test"))
    return raw


def found_in(path: Path) -> list[str]:
    return [finding.rule for finding in inspect_disk(path).findings]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return legacy(tmp_path_factory.mktemp("disk") / "disk.raw")


# An empty disk: what is on it is missing, whatever its format
EMPTY = ["root-missing"]
FORMATS = {
    "raw": ("raw", ""),
    "qcow2": ("qcow2", ""),
    "dynamic VHD": ("vpc", "subformat=dynamic,force_size=on"),
    "VHDX": ("vhdx", ""),
    "VMDK": ("vmdk", "subformat=monolithicSparse"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_named_and_looked_into(tmp_path: Path, raw: Path, name: str) -> None:
    format, options = FORMATS[name]
    disk = tmp_path / "a,b.img"
    words = ["qemu-img", "convert", "-f", "raw", "-O", format, *(["-o", options] if options else [])]
    subprocess.run([*words, str(raw), str(disk)], check=True)
    found = inspect_disk(disk)
    assert [item.rule for item in found.findings] == ["disk-format", *EMPTY]
    assert name in found.findings[0].message
    assert found.facts["size"].endswith(f"({SIZE} bytes)")
    assert found.facts["starts as"] == "Generation 1"


def patched(path: Path, at: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(data)
    return path


def longer(path: Path) -> Path:
    footer = path.read_bytes()[-512:]
    os.truncate(path, SIZE + 4096)
    with path.open("ab") as file:
        file.write(footer)
    return path


def shorter(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: SIZE - MIB] + data[-512:])
    return path


def truncated(path: Path, length: int) -> Path:
    os.truncate(path, length)
    return path


DAMAGE: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "a good one": (lambda path: path, EMPTY),
    "checksum": (lambda path: patched(path, -512 + 24, b"\1"), ["vhd-checksum", *EMPTY]),
    "footer away from the size": (longer, ["vhd-length", "vhd-alignment", "partition-backup", *EMPTY]),
    "cut off": (shorter, ["vhd-cut-off"]),
    "no footer": (lambda path: patched(path, -512, bytes(512)),
                  ["disk-format", "vhd-alignment", "partition-backup", *EMPTY]),
    "backup table": (lambda path: patched(path, SIZE - 512, bytes(512)), ["partition-backup", *EMPTY]),
    "primary table": (lambda path: patched(path, 512, bytes(512)), ["partition-primary", *EMPTY]),
    "first sectors": (lambda path: patched(path, 440, bytes(1024 - 440)), ["partition-primary", *EMPTY]),
    "footer cut off": (lambda path: truncated(path, SIZE + 100), ["vhd-footer", *EMPTY]),
    "bytes after the footer": (lambda path: truncated(path, SIZE + MIB), ["vhd-length", *EMPTY]),
    "both tables": (lambda path: patched(patched(path, SIZE - 512, bytes(512)), 512, bytes(512)), ["partition-table"]),
    "no table": (lambda path: patched(path, 0, bytes(SIZE)), ["partition-table"]),
}  # fmt: skip
MENDED = {
    "checksum": ["vhd-checksum"],
    "footer away from the size": ["partition-backup", "vhd-alignment", "vhd-length"],
    "no footer": ["disk-format", "partition-backup", "vhd-alignment"],
    "backup table": ["partition-backup"],
    "primary table": ["partition-primary"],
    "first sectors": ["partition-primary"],
    "footer cut off": ["vhd-footer"],
    "bytes after the footer": ["vhd-length"],
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_of_a_vhd_is_named(tmp_path: Path, raw: Path, case: str) -> None:
    disk = tmp_path / "disk.vhd"
    shutil.copyfile(raw, disk)
    damage, expected = DAMAGE[case]
    assert sorted(found_in(damage(fixed(disk)))) == sorted(expected)


@pytest.mark.parametrize("case", MENDED)
def test_bytes_are_mended_on_a_copy(tmp_path: Path, raw: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    disk, target = tmp_path / "disk.vhd", tmp_path / "disk-fixed.vhd"
    shutil.copyfile(raw, disk)
    DAMAGE[case][0](fixed(disk))
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    assert invoke(["inspect", str(disk), "--fix"]) == 1, "an empty disk stays one"
    said = capsys.readouterr().out
    assert sorted(re.findall(r"^  mended    ([a-z-]+):", said, re.MULTILINE)) == MENDED[case]
    assert found_in(target) == EMPTY
    assert vhd.read_footer(target).size % MIB == 0
    table = read_table(target)
    assert table is not None and [part.number for part in table.partitions] == [14]
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before


def with_signature(raw: Path, at: int, signature: bytes) -> Path:
    return patched(legacy(raw, SIZE, GptPartition(1, 4 * MIB, 24 * MIB)), 4 * MIB + at, signature)


LVM = b"LABELONE" + bytes(16) + b"LVM2 001"
LAYOUTS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "LUKS": (lambda raw: with_signature(raw, 0, b"LUKS\xba\xbe" + struct.pack(">H", 2)), ["root-encrypted"]),
    "LVM": (lambda raw: with_signature(raw, 512, LVM), ["root-lvm"]),
    "no way to start": (lambda raw: made(raw, GptPartition(1, MIB, 16 * MIB)), ["boot-none", *EMPTY]),
    "odd partition": (lambda raw: legacy(raw, SIZE, GptPartition(2, 4 * MIB + 512, MIB)),
                      [*EMPTY, "partition-alignment"]),
    "no loader": (lambda raw: efi(raw, "::/EFI/debian"), ["boot-none", *EMPTY]),
    "an EFI partition without a filesystem": (
        lambda raw: made(raw, GptPartition(1, MIB, 16 * MIB, TYPE_EFI_SYSTEM)), ["boot-none", *EMPTY]),
    "a loader": (lambda raw: efi(raw, "::/EFI/BOOT"), EMPTY),
}  # fmt: skip


def made(raw: Path, *parts: GptPartition) -> Path:
    write_gpt(raw, SIZE, parts)
    return raw


def efi(raw: Path, folder: str) -> Path:
    write_gpt(raw, 64 * MIB, [GptPartition(1, MIB, 40 * MIB, TYPE_EFI_SYSTEM)])
    image = f"{raw}@@{MIB}"
    subprocess.run(
        ["mformat", "-i", image, "-T", str(40 * MIB // 512), "-h", "255", "-s", "63", "-F", "::"], check=True
    )
    subprocess.run(["mmd", "-i", image, "::/EFI", folder], check=True)
    subprocess.run(["mcopy", "-i", image, "-", f"{folder}/BOOTX64.EFI"], input=b"MZ", check=True)
    return raw


@pytest.fixture
def small_files(tmp_path: Path) -> Iterator[Path]:
    """A folder whose filesystem takes no file above 16 GiB."""
    backing, folder = tmp_path / "backing", tmp_path / "small"
    folder.mkdir()
    with backing.open("wb") as file:
        file.truncate(16 * MIB)
    subprocess.run(["mkfs.ext2", "-q", "-F", "-b", "1024", str(backing)], check=True)
    with loop_device(backing, offset=0, size=16 * MIB) as device, mounted(device, folder, type="ext2"):
        yield folder


def test_what_is_too_large_is_told_before_the_work(
    tmp_path: Path, small_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("33t", 33 * 1024**4), ("20g", 20 * 1024**3)):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / name), str(size)], check=True)
    assert invoke(["inspect", str(tmp_path / "33t"), "--fix"]) == 1
    said = capsys.readouterr().err
    assert "error[disk-not-mendable]: 33t can't be mended: it has 33,792 GiB, and Azure takes 32,767 at most" in said
    assert invoke(["inspect", str(tmp_path / "20g"), "--fix", "--output", str(small_files / "out.vhd")]) == 1
    assert (
        f"error[disk-not-mendable]: the filesystem of {small_files} takes no file of 20 GiB" in capsys.readouterr().err
    )
    assert [path.name for path in small_files.iterdir()] == ["lost+found"]


def test_what_a_killed_fix_left_goes_with_the_next(tmp_path: Path, raw: Path) -> None:
    """Killed while it looks at its own copy: the copy's folder stands, with the disk in it."""
    disk = tmp_path / "disk.raw"
    shutil.copyfile(raw, disk)
    script = (
        "import os, signal, sys\n"
        "from builder.guest.inspection import mending\n"
        "mending.write_fixed_vhd = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from builder.cli.app import invoke\n"
        "invoke(['inspect', sys.argv[1], '--fix'])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(disk)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".build-fix-*/os.qcow2"))) == 1
    assert wait_until_nothing_is_left(tmp_path) == []
    assert invoke(["inspect", str(disk), "--fix"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk-fixed.vhd", "disk.raw"]


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(tmp_path: Path, case: str) -> None:
    make, expected = LAYOUTS[case]
    found = inspect_disk(fixed(make(tmp_path / "disk.vhd")))
    assert [item.rule for item in found.findings] == expected
    assert case not in ("LUKS", "LVM") or found.findings[0].place == "partition 1"


def test_a_system_with_nothing_in_it(tmp_path: Path) -> None:
    raw = gpt_disk(tmp_path / "disk.raw", files=root_files("/dev/sda3 none swap sw 0 0\n"))
    found = inspect_disk(fixed(raw))
    assert [item.rule for item in found.findings] == [
        "boot-none",
        "fstab-device-name",
        "kernel-missing",
        "provisioning-none",
        "boot-line",
        "agent-missing",
        "ssh",
        "left-over",
    ]


def test_two_systems_and_swap(tmp_path: Path) -> None:
    from tests.integration.disk.conftest import fill

    parts = [GptPartition(1, MIB, 100 * MIB), GptPartition(2, 102 * MIB, 100 * MIB),
             GptPartition(3, 204 * MIB, 8 * MIB, TYPE_SWAP)]  # fmt: skip
    raw = tmp_path / "disk.raw"
    write_gpt(raw, 240 * MIB, parts)
    for part in parts[:2]:
        fill(raw, part.start, part.size, "ext4", root_files())
    found = inspect_disk(fixed(raw))
    assert ("root-missing", "several") in [(item.rule, item.message.split()[2]) for item in found.findings]


def test_a_journal_of_xfs_is_told(tmp_path: Path) -> None:
    """A disk that is copied while its machine runs: xfs doesn't say so in its superblock."""
    raw, copy = tmp_path / "disk.raw", tmp_path / "copy.raw"
    gpt_disk(raw, "xfs", size=400 * MIB)
    mount = tmp_path / "mount"
    mount.mkdir()
    with loop_device(raw, offset=MIB, size=398 * MIB) as device, mounted(device, mount, type="xfs"):
        (mount / "etc/new").write_text("x")
        descriptor = os.open(mount, os.O_RDONLY)
        sync_filesystem(descriptor)
        os.close(descriptor)
        os.sync()
        subprocess.run(["cp", "--sparse=always", str(raw), str(copy)], check=True)
    assert "filesystem-unclean" not in found_in(fixed(raw))
    assert "filesystem-unclean" in found_in(fixed(copy))


def test_what_stands_on_the_efi_system_partition(tmp_path: Path) -> None:
    raw = efi(tmp_path / "disk.raw", "::/EFI/redhat")
    image = f"{raw}@@{MIB}"
    subprocess.run(["mmd", "-i", image, "::/EFI/BOOT", "::/EFI/Linux", "::/loader", "::/loader/entries"], check=True)
    files = {
        "/EFI/BOOT/BOOTX64.EFI": b"MZ",
        "/EFI/redhat/grub.cfg": b"set a=b\n",
        "/EFI/redhat/grubenv": b"kernelopts=ro\n",
        "/loader/entries/a b.conf": b"options ro\r\n",
        "/loader/other.conf": b"no",
    }
    for path, content in files.items():
        subprocess.run(["mcopy", "-i", image, "-", f"::{path}"], input=content, check=True)
    found = read_layout(raw, 64 * MIB).efi
    assert found is not None
    assert found.settings == {
        "/EFI/redhat/grub.cfg": "set a=b\n",
        "/EFI/redhat/grubenv": "kernelopts=ro\n",
        "/loader/entries/a b.conf": "options ro\r\n",
    }
    assert (found.fallback_architectures, found.kernels, found.unread) == (("x64",), False, "")
    subprocess.run(["mcopy", "-i", image, "-", "::/EFI/Linux/a-6.1.efi"], input=b"MZ", check=True)
    again = read_layout(raw, 64 * MIB).efi
    assert again is not None
    assert again.kernels


def test_layers_and_archives_are_refused(tmp_path: Path, raw: Path) -> None:
    layer = as_layer(shutil.copyfile(raw, tmp_path / "disk.raw")).path
    assert found_in(layer) == ["disk-unreadable"]
    assert found_in(Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "disk.raw"))) == ["disk-unreadable"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_without_root_bytes_are_looked_at(open_folder: Path, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, other = open_folder / "disk.vhd", open_folder / "disk.qcow2"
    shutil.copyfile(raw, plain)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(other)], check=True)
    patched(fixed(plain), -512 + 24, b"\1")
    # What a command imports may be out of nobody's reach: it is loaded before
    for disk in (plain, other):
        invoke(["inspect", str(disk)])
    capsys.readouterr()
    os.seteuid(NOBODY)
    try:
        assert invoke(["inspect", str(plain)]) == 1
        text = capsys.readouterr().out
        assert invoke(["inspect", str(other)]) == 1
        other_text = capsys.readouterr().out
        assert invoke(["inspect", str(plain), "--fix"]) == 1
        fix_error = capsys.readouterr().err
    finally:
        os.seteuid(0)
    assert "error[vhd-checksum]" in text
    assert "starts as   Generation 1" in text
    assert "not looked at: the operating system: root is needed" in text
    assert "error[disk-format]" in other_text
    assert "not looked at: partitions and operating system: root is needed" in other_text
    assert "error[needs-root]" in fix_error
    assert sorted(path.name for path in open_folder.iterdir()) == ["disk.qcow2", "disk.vhd"]


def packed(folder: Path, module: str, program: str) -> bytes:
    """An archive with one module, packed by a program."""
    (folder / "kernel").mkdir(parents=True)
    (folder / f"kernel/{module}.ko.xz").write_bytes(b"driver" * 100)
    names = f"kernel\nkernel/{module}.ko.xz\n".encode()
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names, cwd=folder, check=True,
                             capture_output=True).stdout  # fmt: skip
    return subprocess.run(program.split(), input=archive, check=True, capture_output=True).stdout


PROGRAMS = ["zstd -q -c", "zstd -q -c --no-check --long=31", "lz4 -l -q -c", "xz -c --check=crc32", "cat"]


@pytest.mark.parametrize("first", PROGRAMS)
@pytest.mark.parametrize("second", [*PROGRAMS, "lz4 -q -c", "gzip -c"])
def test_an_initramfs_of_several_archives(tmp_path: Path, first: str, second: str) -> None:
    before, after = packed(tmp_path / "1", "hv_vmbus", first), packed(tmp_path / "2", "nvme", second)
    for padding in (-len(before) % 512, 0 if "lz4" not in first else 4):
        data = before + bytes(padding) + after
        assert module_names(io.BytesIO(data)) == {"hv_vmbus", "nvme"}
    assert module_names(io.BytesIO(before + after + bytes(512))) == {"hv_vmbus", "nvme"} or second == "lz4 -q -c"


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_initramfs_that_was_cut_off(tmp_path: Path, program: str) -> None:
    data = packed(tmp_path / "1", "hv_vmbus", program)
    with pytest.raises(Unreadable):
        module_names(io.BytesIO(data[:-100]))
