from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.disk import partitions
from builder.disk.partitions import GptPartition, grow_last, read_table, repair_gpt, write_gpt
from builder.errors import BuildError

MIB = partitions.MIB
SECTOR = partitions.SECTOR
SIZE = 64 * MIB
BOOTABLE = [
    GptPartition(14, 1 * MIB, 3 * MIB, partitions.TYPE_BIOS_BOOT),
    GptPartition(15, 4 * MIB, 16 * MIB, partitions.TYPE_EFI_SYSTEM, name="esp"),
    GptPartition(1, 20 * MIB, 43 * MIB, partitions.TYPE_ROOT_X64, name="root", attributes=1 << 59),
]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    write_gpt(path, SIZE, BOOTABLE)
    return path


def test_gpt_round_trip(disk: Path) -> None:
    table = read_table(disk)
    assert table is not None
    assert table.kind == "gpt"
    assert not table.from_backup
    by_number = {part.number: part for part in table.partitions}
    assert set(by_number) == {1, 14, 15}
    for wanted in BOOTABLE:
        found = by_number[wanted.number]
        assert (found.start, found.size, found.type) == (wanted.start, wanted.size, wanted.type)
        assert (found.name, found.attributes) == (wanted.name, wanted.attributes)
    assert len({part.partuuid for part in table.partitions}) == 3


def test_gpt_is_deterministic_or_as_given(tmp_path: Path, disk: Path) -> None:
    again = tmp_path / "again.raw"
    write_gpt(again, SIZE, BOOTABLE)
    assert again.read_bytes() == disk.read_bytes()
    guid = "11111111-2222-3333-4444-555555555555"
    write_gpt(again, SIZE, [GptPartition(1, MIB, MIB, guid=guid)], disk_guid=guid)
    table = read_table(again)
    assert table is not None
    assert table.identity == guid
    assert [part.partuuid for part in table.partitions] == [guid]


def test_boot_code_stays(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.write(b"\xeb" * 440)
    write_gpt(disk, SIZE, BOOTABLE)
    assert disk.read_bytes()[:440] == b"\xeb" * 440


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, list[GptPartition]]:
    numbers = draw(st.lists(st.integers(1, 128), min_size=1, max_size=8, unique=True))
    position, parts = partitions.FIRST_USABLE, []
    for number in numbers:
        start = position + draw(st.integers(0, 5000))
        count = draw(st.integers(1, 20000))
        name = draw(st.text(st.characters(codec="utf-16-le", exclude_characters="\0"), max_size=18))
        parts.append(
            GptPartition(number, start * SECTOR, count * SECTOR, name=name, attributes=draw(st.integers(0, 7)))
        )
        position = start + count
    return (position + partitions.FIRST_USABLE + draw(st.integers(0, 4000))) * SECTOR, parts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(layouts())
def test_any_layout_survives_the_loss_of_the_primary(tmp_path: Path, layout: tuple[int, list[GptPartition]]) -> None:
    size, wanted = layout
    path = tmp_path / "disk.raw"
    path.unlink(missing_ok=True)
    write_gpt(path, size, wanted)
    first = read_table(path)
    assert first is not None
    found = {(part.number, part.start, part.size, part.name, part.attributes) for part in first.partitions}
    assert found == {(part.number, part.start, part.size, part.name, part.attributes) for part in wanted}
    with path.open("r+b") as file:
        file.seek(SECTOR)
        file.write(bytes(partitions.FIRST_USABLE * SECTOR - SECTOR))
    second = read_table(path)
    assert second is not None
    assert second.from_backup
    assert second.partitions == first.partitions


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([GptPartition(1, 0, MIB)], "overlaps"),
        ([GptPartition(1, MIB, 2 * MIB), GptPartition(2, 2 * MIB, MIB)], "overlaps"),
        ([GptPartition(1, MIB, SIZE)], "leaves the disk"),
        ([GptPartition(1, MIB + 1, MIB)], "whole sectors"),
        ([GptPartition(1, MIB, 0)], "whole sectors"),
        ([GptPartition(1, MIB, MIB), GptPartition(1, 2 * MIB, MIB)], "same number"),
        ([GptPartition(129, MIB, MIB)], "1 to 128"),
        ([GptPartition(1, MIB, MIB, name="x" * 37)], "36 characters"),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, parts: list[GptPartition], message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        write_gpt(tmp_path / "disk.raw", SIZE, parts)
    assert caught.value.code == "partition-layout"
    assert not (tmp_path / "disk.raw").exists()


def test_both_tables_broken(disk: Path) -> None:
    with disk.open("r+b") as file:
        for sector in (1, SIZE // SECTOR - 1):
            file.seek(sector * SECTOR + 60)
            file.write(b"damage")
    with pytest.raises(BuildError, match="backup") as caught:
        read_table(disk)
    assert caught.value.code == "partition-table"
    assert caught.value.hint


def test_damaged_entries_are_noticed(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(2 * SECTOR + 40)
        file.write(b"\xff" * 8)
    table = read_table(disk)
    assert table is not None
    assert table.from_backup
    assert next(part for part in table.partitions if part.number == 1).size == 43 * MIB


def test_sectors_of_4096_bytes(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096) + b"EFI PART" + bytes(MIB))
    with pytest.raises(BuildError, match="4096"):
        read_table(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"text file\n" * 1000, bytes(MIB)])
def test_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(content)
    assert read_table(path) is None


def mbr_sector(*entries: tuple[int, int, int, int], identity: int = 0xCAFE0001) -> bytes:
    data = bytearray(SECTOR)
    struct.pack_into("<I", data, 440, identity)
    for index, (flags, kind, first, count) in enumerate(entries):
        struct.pack_into("<B3sB3sII", data, 446 + index * 16, flags, b"", kind, b"", first, count)
    data[510:] = b"\x55\xaa"
    return bytes(data)


def write_mbr_disk(path: Path) -> None:
    """One primary of 10 MiB, an extended partition with two logical ones, then a primary."""
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(mbr_sector((0x80, 0x83, 2048, 20480), (0, 0x05, 24576, 40960), (0, 0x83, 69632, 20480)))
        file.seek(24576 * SECTOR)
        file.write(mbr_sector((0, 0x82, 2048, 4096), (0, 0x05, 8192, 8192)))
        file.seek((24576 + 8192) * SECTOR)
        file.write(mbr_sector((0, 0x83, 2048, 6144)))


def test_mbr_with_logical_partitions(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    write_mbr_disk(path)
    table = read_table(path)
    assert table is not None
    assert table.kind == "mbr"
    assert [(part.number, part.start // SECTOR, part.size // SECTOR, part.type) for part in table.partitions] == [
        (1, 2048, 20480, "83"),
        (3, 69632, 20480, "83"),
        (5, 24576 + 2048, 4096, "82"),
        (6, 24576 + 8192 + 2048, 6144, "83"),
    ]
    assert table.partitions[0].partuuid == "cafe0001-01"
    assert table.partitions[0].bootable


def test_circle_of_extended_boot_records_ends(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(mbr_sector((0, 0x05, 2048, 40960)))
        file.seek(2048 * SECTOR)
        file.write(mbr_sector((0, 0x83, 1, 1), (0, 0x05, 2048, 10)))
        file.seek(4096 * SECTOR)
        file.write(mbr_sector((0, 0x83, 1, 1), (0, 0x05, 2048, 10)))
    table = read_table(path)
    assert table is not None
    assert len(table.partitions) <= 128


def test_boot_sector_of_a_file_system_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    data = bytearray(mbr_sector((0x80, 0x83, 2048, 20480)) + bytes(MIB))
    data[82:90] = b"FAT32   "
    path.write_bytes(data)
    assert read_table(path) is None


def test_grow_gpt(disk: Path) -> None:
    before = read_table(disk)
    new_size = 256 * MIB
    with disk.open("r+b") as file:
        file.truncate(new_size)
    grown = grow_last(disk, new_size)
    after = read_table(disk)
    assert before is not None
    assert after is not None
    assert grown.number == 1
    assert grown.start == 20 * MIB
    assert grown.start + grown.size == new_size - MIB
    assert after.identity == before.identity
    assert [part.partuuid for part in after.partitions] == [part.partuuid for part in before.partitions]
    with disk.open("r+b") as file:
        file.seek(SECTOR)
        file.write(bytes(SECTOR))
    backup = read_table(disk)
    assert backup is not None
    assert backup.from_backup
    assert backup.partitions == after.partitions


def test_grow_to_the_same_size_changes_nothing(disk: Path) -> None:
    before = disk.read_bytes()
    grow_last(disk, SIZE)
    assert disk.read_bytes() == before


def test_grow_mbr(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    write_mbr_disk(path)
    with path.open("r+b") as file:
        file.truncate(2 * SIZE)
    grown = grow_last(path, 2 * SIZE)
    assert (grown.number, grown.start + grown.size) == (3, 2 * SIZE)


def test_grow_needs_a_table(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    with pytest.raises(BuildError, match="no partition table") as caught:
        grow_last(path, MIB)
    assert caught.value.code == "no-partition-table"


def broken_primary(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SECTOR + 16)
        file.write(b"damage")


@pytest.mark.parametrize("added", [0, MIB // 2, MIB])
@pytest.mark.parametrize("broken", [False, True])
def test_repair_puts_both_tables_in_place(disk: Path, added: int, broken: bool) -> None:
    before = read_table(disk)
    whole = disk.read_bytes()
    assert before is not None
    if broken:
        broken_primary(disk)
    with disk.open("r+b") as file:
        file.truncate(SIZE + added)
    assert repair_gpt(disk, SIZE) == (broken or added > 0)
    assert read_table(disk) == before
    assert disk.read_bytes()[MIB : 63 * MIB] == whole[MIB : 63 * MIB]
    broken_primary(disk)
    backup = read_table(disk)
    assert backup is not None
    assert backup.from_backup
    assert backup.partitions == before.partitions
    assert repair_gpt(disk, SIZE + added)
    assert read_table(disk) == before


def test_repair_leaves_what_it_does_not_know(tmp_path: Path, disk: Path) -> None:
    """A disk without a GPT, and one on which the backup would overwrite a partition."""
    plain = tmp_path / "plain.raw"
    plain.write_bytes(bytes(MIB))
    assert not repair_gpt(plain, MIB - SECTOR)
    with disk.open("r+b") as file:
        file.truncate(63 * MIB)
    before = disk.read_bytes()
    assert not repair_gpt(disk, SIZE)
    assert disk.read_bytes() == before
