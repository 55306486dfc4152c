"""Where boot code goes on a disk, and what an unbootable system is told by."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.machines.local.bootloader import BIOS_BOOT, check_boot, layout, missing_modules, patched, write_bios_boot
from builder.model.spec import GIB, MIB

BOOT_IMAGE = bytes(range(256)) + bytes(254) + b"\x55\xaa"


@given(st.integers(min_value=2 * GIB // MIB, max_value=4096 * GIB // MIB), st.sampled_from(["x64", "arm64"]))
def test_partitions_fill_the_disk_and_never_overlap(mebibytes: int, architecture: str) -> None:
    parts = sorted(layout(mebibytes * MIB, architecture), key=lambda part: part.start)
    assert all(part.start % MIB == 0 and part.size % MIB == 0 for part in parts)
    assert all(one.start + one.size <= two.start for one, two in pairwise(parts))
    assert parts[-1].start + parts[-1].size == (mebibytes - 1) * MIB
    assert parts[-1].number == 1


def test_only_x64_has_a_bios_boot_partition() -> None:
    assert [part.number for part in layout(4 * GIB, "x64")] == [1, 14, 15]
    assert [part.number for part in layout(4 * GIB, "arm64")] == [1, 15]


@given(st.binary(min_size=513, max_size=5000))
def test_boot_code_says_where_the_core_is(core_image: bytes) -> None:
    boot, core = patched(BOOT_IMAGE, core_image, BIOS_BOOT)
    assert len(boot) == 440
    assert struct.unpack_from("<Q", boot, 0x5C) == (2048,)
    assert boot[0x66:0x68] == b"\x90\x90"
    start, count = struct.unpack_from("<QH", core, 0x1F4)
    assert start == 2049
    assert count * 512 < len(core_image) <= (count + 1) * 512
    assert core[:0x1F4] == core_image[:0x1F4]
    assert core[0x1FE:] == core_image[0x1FE:]


def test_the_partition_table_survives_the_boot_code(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xee" * (5 * MIB))
    write_bios_boot(disk, BOOT_IMAGE, b"c" * 2000)
    data = disk.read_bytes()
    assert data[440:MIB] == b"\xee" * (MIB - 440)
    assert data[MIB + 600 : MIB + 2000] == b"c" * 1400
    assert data[MIB + 2000 :] == b"\xee" * (4 * MIB - 2000)


@pytest.mark.parametrize(
    ("boot", "core"),
    [
        (BOOT_IMAGE[:-1], b"c" * 2000),
        (BOOT_IMAGE[:-2] + b"\0\0", b"c" * 2000),
        (BOOT_IMAGE, b"c" * 512),
        (BOOT_IMAGE, b"c" * (3 * MIB + 1)),
    ],
)
def test_images_of_another_shape_are_refused(boot: bytes, core: bytes) -> None:
    with pytest.raises(BuildError):
        patched(boot, core, BIOS_BOOT)


INITRAMFS = """\
usr/lib/modules/6.1/kernel/drivers/hv/hv_vmbus.ko
usr/lib/modules/6.1/kernel/drivers/scsi/hv_storvsc.ko.zst
usr/lib/modules/6.1/kernel/drivers/net/hyperv/hv_netvsc.ko
usr/lib/modules/6.1/kernel/drivers/virtio/virtio-pci.ko.xz
usr/lib/modules/6.1/kernel/drivers/block/virtio_blk.ko
usr/lib/modules/6.1/kernel/drivers/scsi/virtio_scsi.ko
usr/lib/modules/6.1/hv_storvsc
"""
BUILTIN = "kernel/fs/ext4/ext4.ko\nkernel/drivers/nvme/host/nvme.ko\n"
MENU = "set timeout=1\nmenuentry 'Debian' {\n    search\n    linux /vmlinuz ro\n    initrd /initrd.img\n}\n"


def export(tmp_path: Path, *, menu: str = MENU, initramfs: str = INITRAMFS, builtin: str = BUILTIN) -> Path:
    for name, text in {"grub.cfg": menu, "initramfs": initramfs, "builtin": builtin}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_system_that_can_start_passes(tmp_path: Path) -> None:
    check_boot(export(tmp_path))


def test_a_driver_may_be_in_the_kernel_or_in_the_initramfs() -> None:
    assert missing_modules(INITRAMFS, BUILTIN) == []
    assert missing_modules(INITRAMFS, "") == ["nvme", "ext4"]


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    without = INITRAMFS.replace("hv_storvsc.ko", "other.ko")
    with pytest.raises(BuildError, match="hv_storvsc"):
        check_boot(export(tmp_path, initramfs=without))


@pytest.mark.parametrize("menu", ["", MENU.replace("menuentry", "submenu"), MENU.replace("linux", "chainloader")])
def test_a_menu_without_a_kernel_is_found(tmp_path: Path, menu: str) -> None:
    with pytest.raises(BuildError, match="menu"):
        check_boot(export(tmp_path, menu=menu))
