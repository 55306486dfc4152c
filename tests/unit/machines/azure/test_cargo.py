"""Files that go as a disk: the archive, and the bytes of its disk."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from builder.disk.vhd import parse_footer
from builder.machines.azure.cargo import HEADER, SMALLEST, Cargo, CargoDisk
from builder.model.spec import MIB


@pytest.mark.parametrize("length", [1, 21 * MIB])
def test_a_disk_holds_its_mark_and_its_archive(tmp_path: Path, length: int) -> None:
    import random

    (tmp_path / "large").write_bytes(random.Random(3).randbytes(length))
    cargo = Cargo.pack({"one/large": tmp_path / "large", "two": b"2"}, tmp_path)
    with cargo.archive.open("rb") as file:
        disk = CargoDisk(cargo, file.fileno())
        held = disk.size - 512
        assert held >= SMALLEST
        assert held % MIB == 0
        image = b"".join(disk.read(at, min(3 * MIB + 5, disk.size - at)) for at in range(0, disk.size, 3 * MIB + 5))
        spans = list(disk.extents())
    assert len(image) == disk.size
    assert parse_footer(image[-512:]).size == held
    assert image.startswith(cargo.mark.encode() + b"\n")
    with tarfile.open(fileobj=io.BytesIO(image[HEADER : HEADER + cargo.size])) as archive:
        assert {entry.name: entry.size for entry in archive} == {"one/large": length, "two": 1}
    outside = bytearray(image)
    for start, end in spans:
        outside[start:end] = bytes(end - start)
    assert not any(outside)


def test_what_is_packed_twice_is_the_same(tmp_path: Path) -> None:
    """A disk that an earlier try left is gone on with."""
    (tmp_path / "other").mkdir()
    made = [Cargo.pack({"a": b"1" * 5000}, folder) for folder in (tmp_path, tmp_path / "other")]
    assert made[0].sha256 == made[1].sha256
    assert made[0].archive.read_bytes()[4:8] == bytes(4), "no time is in it"
