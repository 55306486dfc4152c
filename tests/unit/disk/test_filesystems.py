"""Superblocks by hand; `tests/integration/disk/test_filesystems.py` compares with what the real tools make."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.disk import filesystems
from builder.disk.filesystems import Content
from builder.errors import BuildError


def placed(*parts: tuple[int, bytes]) -> bytes:
    data = bytearray(128 * 1024)
    for at, content in parts:
        data[at : at + len(content)] = content
    return bytes(data)


def ext(compatible: int, incompatible: int) -> bytes:
    return placed(
        (1024 + 0x38, b"\x53\xef"), (1024 + 0x5C, struct.pack("<II", compatible, incompatible)), (1024 + 0x78, b"root")
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(128 * 1024), None),
        (b"just text\n" * 500, None),
        (b"", None),
        (ext(0, 0), Content("ext2", label="root", block_size=1024)),
        (ext(4, 0), Content("ext3", label="root", block_size=1024)),
        (ext(4, 0x40), Content("ext4", label="root", block_size=1024)),
        (ext(4, 0x44), Content("ext4", label="root", block_size=1024, dirty=True)),
        (
            ext(4, 0x40)[: 1024 + 0x3A] + b"\x02" + ext(4, 0x40)[1024 + 0x3B :],
            Content("ext4", label="root", block_size=1024, broken=True),
        ),
        (placed((0, b"LUKS\xba\xbe\x00\x02"), (24, b"crypt")), Content("luks", label="crypt")),
        (placed((3, b"-FVE-FS-"), (510, b"\x55\xaa")), Content("bitlocker")),
        (placed((3, b"NTFS    "), (72, bytes(range(8)))), Content("ntfs", "0706050403020100")),
        (placed((512, b"LABELONE"), (536, b"LVM2 001")), Content("lvm")),
        (placed((65536 - 10, b"SWAPSPACE2")), Content("swap", block_size=65536)),
        # What replaced it counts, not what is left of it
        (ext(4, 0x40)[: 64 * 1024] + bytes(64 * 1024), Content("ext4", label="root", block_size=1024)),
        (placed((0, b"LUKS\xba\xbe\x00\x01"), (1024 + 0x38, b"\x53\xef")), Content("luks")),
    ],
)
def test_identify(tmp_path: Path, data: bytes, expected: Content | None) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096) + data)
    assert filesystems.identify(path, 4096) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 128 * 1024 - 600), st.binary(min_size=1, max_size=600)), max_size=6))
def test_hostile_superblocks_raise_nothing(tmp_path: Path, noise: list[tuple[int, bytes]]) -> None:
    path = tmp_path / "disk"
    for magic in ((1080, b"\x53\xef"), (0, b"XFSB"), (0x10040, b"_BHRfS_M"), (510, b"\x55\xaa")):
        path.write_bytes(placed(*noise, magic))
        filesystems.identify(path)


def test_long_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="12 bytes") as caught:
        filesystems.make(tmp_path / "disk", type="xfs", identity="", label="thirteen-long")
    assert caught.value.code == "filesystem-label"


def test_what_can_not_grow(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="can't grow vfat"):
        filesystems.grow(tmp_path, type="vfat", folder=tmp_path)
