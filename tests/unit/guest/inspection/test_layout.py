"""Layouts to findings, and layouts of small raw disks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.disk.filesystems import Content
from builder.disk.partitions import TYPE_BIOS_BOOT, GptPartition, repair_gpt, write_gpt
from builder.guest.inspection.efi_partition import EfiPartition
from builder.guest.inspection.layout import (
    GIB,
    Layout,
    check_architecture,
    check_layout,
    check_root,
    check_size,
    read_layout,
)
from tests.unit.guest.inspection.facts import volume

MIB = 1024**2
SIZE = 8 * MIB
X64 = "/EFI/BOOT/BOOTX64.EFI"


def layout(**more: Any) -> Layout:
    return Layout(**{"table": "gpt", "size": GIB, "bios": True, **more})


CASES: dict[str, tuple[Layout, list[str], tuple[int, ...]]] = {
    "BIOS": (layout(), [], (1,)),
    "UEFI": (layout(bios=False, efi=EfiPartition((X64,))), [], (2,)),
    "both": (layout(efi=EfiPartition((X64,))), [], (1, 2)),
    "Arm64": (layout(bios=False, efi=EfiPartition(("/EFI/BOOT/BOOTAA64.EFI",))), [], (2,)),
    "neither": (layout(bios=False), ["boot-none"], ()),
    "no fallback": (layout(efi=EfiPartition(("/EFI/UBUNTU/SHIMX64.EFI",))), ["boot-fallback"], (1,)),
    "UEFI, no fallback": (layout(bios=False, efi=EfiPartition(("/EFI/DEBIAN/SHIMX64.EFI",))),
                          ["boot-none"], ()),
    "unread": (layout(bios=False, efi=EfiPartition(unread="mdir is not installed")), [], (2,)),
    "no table": (layout(table=None), ["partition-table"], (1,)),
    "broken table": (layout(table=None, table_broken="broken"), ["partition-table"], (1,)),
    "backup": (layout(backup_broken=True), ["partition-backup"], (1,)),
    "primary": (layout(primary_broken="it is broken"), ["partition-primary"], (1,)),
    "an EFI partition of another kind": (layout(bios=False, efi=EfiPartition(wrong="ext4")), ["boot-none"], ()),
    "odd start": (layout(partition_starts=((1, MIB), (2, 63 * 512))), ["partition-alignment"], (1,)),
    "too large for BIOS": (layout(size=2049 * GIB), ["size-limit"], (1,)),
    "large for BIOS": (layout(size=1024 * GIB), ["size-advice"], (1,)),
    "large for UEFI": (layout(size=2049 * GIB, bios=False, efi=EfiPartition((X64,))), [], (2,)),
    "too large for one of both": (layout(size=3072 * GIB, efi=EfiPartition((X64,))),
                                  ["size-generation"], (1, 2)),
    "large, and nobody knows for what": (layout(size=3072 * GIB, table=None), ["partition-table", "size-generation"],
                                         (1,)),
    "very large": (layout(size=4097 * GIB, bios=False, efi=EfiPartition((X64,))), ["size-advice"], (2,)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_layouts(case: str) -> None:
    facts, expected, generations = CASES[case]
    assert [finding.rule for finding in check_layout(facts)] == expected
    assert facts.generations == generations


AA64 = "/EFI/BOOT/BOOTAA64.EFI"


@pytest.mark.parametrize(
    ("architecture", "facts", "missing"),
    [
        ("x64", layout(efi=EfiPartition((AA64,))), ""),
        ("x64", layout(bios=False, efi=EfiPartition((AA64,))), "BOOTX64.EFI"),
        ("x64", layout(bios=False, efi=EfiPartition((X64, AA64))), ""),
        ("x64", layout(bios=False, efi=EfiPartition(unread="no mtools")), ""),
        # What has no loader at all has another finding
        ("x64", layout(bios=False), ""),
        ("x64", layout(bios=False, efi=EfiPartition()), ""),
        ("arm64", layout(efi=EfiPartition((X64,))), "BOOTAA64.EFI"),
        ("arm64", layout(), "BOOTAA64.EFI"),
        ("arm64", layout(efi=EfiPartition(("/EFI/DEBIAN/GRUBAA64.EFI",))), "BOOTAA64.EFI"),
        ("arm64", layout(efi=EfiPartition((AA64,))), ""),
        ("riscv64", layout(efi=EfiPartition((X64,))), ""),
    ],
)
def test_the_systems_processor_and_the_loaders(architecture: str, facts: Layout, missing: str) -> None:
    found = check_architecture(facts, architecture)
    assert [item.rule for item in found] == (["boot-architecture"] if missing else [])
    assert all(missing in item.message for item in found)


def test_no_disk_is_larger_than_azures() -> None:
    assert [finding.rule for finding in check_size(32768 * GIB, (2,))] == ["size-limit"]
    assert check_size(1023 * GIB, ()) == []


@pytest.mark.parametrize(
    ("kind", "rule"), [("luks", "root-encrypted"), ("bitlocker", "root-encrypted"), ("lvm", "root-lvm")]
)
def test_what_a_root_may_be_hidden_in(kind: str, rule: str) -> None:
    found = check_root([volume(1, Content("vfat")), volume(2, Content(kind))])
    assert [(item.rule, item.place) for item in found] == [(rule, "partition 2")]
    assert ("manage-bde" in found[0].to_do()) == (kind == "bitlocker")


def test_no_root() -> None:
    assert [item.rule for item in check_root([volume(1, Content("vfat"))])] == ["root-missing"]


def gpt(path: Path, code: bytes = b"", core: bytes = b"", attributes: int = 0) -> Layout:
    write_gpt(
        path, SIZE, [GptPartition(1, MIB, MIB, TYPE_BIOS_BOOT), GptPartition(2, 2 * MIB, MIB, attributes=attributes)]
    )
    with path.open("r+b") as file:
        file.write(code)
        file.seek(MIB)
        file.write(core)
    return read_layout(path, SIZE)


def test_bios_needs_code_and_what_it_loads(tmp_path: Path) -> None:
    assert gpt(tmp_path / "1", b"\xeb\x63", b"core").bios
    assert not gpt(tmp_path / "2", b"\xeb\x63").bios
    assert not gpt(tmp_path / "3", b"", b"core").bios
    assert gpt(tmp_path / "4", b"\xeb\x63", attributes=4).bios


def test_the_old_partition_table(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    sector = bytearray(512)
    sector[446:462] = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    sector[510:] = b"\x55\xaa"
    for code, active, expected in ((b"", 0, False), (b"\xfa", 0, False), (b"\xfa", 0x80, True), (b"xxGRUB", 0, True)):
        sector[:440] = code.ljust(440, b"\0")
        sector[446] = active
        path.write_bytes(bytes(sector).ljust(SIZE, b"\0"))
        found = read_layout(path, SIZE)
        assert (found.table, found.bios, found.backup_broken) == ("mbr", expected, False)


def test_the_backup_table(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    assert not gpt(path).backup_broken
    with path.open("r+b") as file:
        file.truncate(SIZE + MIB)
    assert read_layout(path, SIZE + MIB).backup_broken, "the disk has grown"
    assert not read_layout(path, SIZE).backup_broken
    for at in (512, SIZE - 512):
        gpt(path)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes(512))
        found = read_layout(path, SIZE)
        assert (bool(found.primary_broken), found.backup_broken) == (at == 512, at != 512)


# What stands in the first sector: bytes of it by place, and whether --fix may write another one
ENTRY = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (2048).to_bytes(4, "little")
FIRST_SECTORS: dict[str, tuple[dict[int, bytes], str, bool]] = {
    "protective": ({}, "", True),
    "a hybrid one": ({462: ENTRY}, "", True),
    "wiped": ({0: bytes(512)}, "no protective boot record", True),
    "wiped with the primary": ({0: bytes(1024)}, "and is broken itself", True),
    "an MBR in its place": ({446: ENTRY}, "partitions of its own", False),
}


@pytest.mark.parametrize("case", FIRST_SECTORS)
def test_the_start_of_a_gpt_disk(tmp_path: Path, case: str) -> None:
    path = tmp_path / "disk"
    patches, message, mendable = FIRST_SECTORS[case]
    gpt(path, b"\xeb\x63", b"core")
    with path.open("r+b") as file:
        for at, data in patches.items():
            file.seek(at)
            file.write(data)
    first = path.read_bytes()[:512]
    found = [item for item in check_layout(read_layout(path, SIZE)) if item.rule == "partition-primary"]
    assert [(item.severity, item.mendable) for item in found] == ([("error", mendable)] if message else [])
    assert all(message in item.message for item in found)
    assert repair_gpt(path, SIZE) == (mendable and bool(message))
    assert mendable or path.read_bytes()[:512] == first, "another's table is left alone"
    assert not mendable or not read_layout(path, SIZE).primary_broken


def test_a_broken_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    write_gpt(path, SIZE, [GptPartition(1, MIB, 6 * MIB)])
    with path.open("r+b") as file:
        file.truncate(4 * MIB)
    found = read_layout(path, 4 * MIB)
    assert found.table is None
    assert "goes beyond the disk's end" in found.table_broken
