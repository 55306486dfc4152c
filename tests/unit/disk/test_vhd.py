from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.disk import vhd
from builder.errors import BuildError

MIB = vhd.MIB
GIB = 1024 * MIB
DIGEST = "sha256:" + "ab" * 32

whole_sizes = st.integers(min_value=1, max_value=64 * 1024 * 1024).map(lambda count: count * MIB)


# Worked out by hand from the specification's appendix
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1 * MIB, (30, 4, 17)),
        (100 * MIB, (1003, 12, 17)),
        (1 * GIB, (2080, 16, 63)),
        (30 * GIB, (62415, 16, 63)),
        (32 * GIB, (16448, 16, 255)),
        (127 * GIB, (65278, 16, 255)),
        (4095 * GIB, (65535, 16, 255)),
    ],
)
def test_geometry(size: int, expected: tuple[int, int, int]) -> None:
    found = vhd.geometry(size)
    assert (found.cylinders, found.heads, found.sectors) == expected


@given(whole_sizes)
def test_geometry_fits_the_fields_and_the_disk(size: int) -> None:
    found = vhd.geometry(size)
    assert found.size <= size
    assert 0 < found.cylinders <= 0xFFFF
    assert 4 <= found.heads <= 16
    assert found.sectors in {17, 31, 63, 255}


@given(whole_sizes, st.binary(min_size=1).map(bytes.hex))
def test_round_trip(size: int, digest: str) -> None:
    data = vhd.make_footer(size, content_digest=digest)
    assert len(data) == vhd.FOOTER_SIZE
    footer = vhd.parse_footer(data)
    assert footer.size == size
    assert footer.type == vhd.VhdType.FIXED
    assert footer.geometry == vhd.geometry(size)
    assert footer.creator == "win "
    assert vhd.make_footer(size, content_digest=digest) == data


@given(whole_sizes, st.integers(min_value=8, max_value=511), st.integers(min_value=1, max_value=255))
def test_every_changed_byte_is_noticed(size: int, position: int, change: int) -> None:
    data = bytearray(vhd.make_footer(size, content_digest=DIGEST))
    data[position] ^= change
    with pytest.raises(BuildError) as caught:
        vhd.parse_footer(bytes(data))
    assert caught.value.code == "vhd-checksum"
    assert caught.value.hint


@pytest.mark.parametrize("size", [0, -MIB, MIB - 512, MIB + 1, GIB + 512])
def test_sizes_that_azure_refuses(size: int) -> None:
    with pytest.raises(BuildError) as caught:
        vhd.make_footer(size, content_digest=DIGEST)
    assert caught.value.code == "vhd-size"


@pytest.mark.parametrize(("size", "whole"), [(0, 0), (1, MIB), (MIB, MIB), (4 * GIB + 700 * 1024, 4 * GIB + MIB)])
def test_whole_mib(size: int, whole: int) -> None:
    assert vhd.whole_mib(size) == whole


def test_other_content_is_another_disk() -> None:
    one = vhd.parse_footer(vhd.make_footer(GIB, content_digest="one"))
    two = vhd.parse_footer(vhd.make_footer(GIB, content_digest="two"))
    assert one.identity != two.identity


def test_time_is_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert vhd.parse_footer(vhd.make_footer(GIB, content_digest=DIGEST)).timestamp == vhd.EPOCH
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert vhd.parse_footer(vhd.make_footer(GIB, content_digest=DIGEST)).timestamp == 1700000000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "tomorrow")
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH"):
        vhd.make_footer(GIB, content_digest=DIGEST)


def footer_of_type(number: int) -> bytes:
    data = bytearray(vhd.make_footer(MIB, content_digest=DIGEST))
    data[60:64] = struct.pack(">I", number)
    data[64:68] = struct.pack(">I", vhd.checksum(bytes(data)))
    return bytes(data)


def test_unknown_type() -> None:
    assert vhd.parse_footer(footer_of_type(3)).type == vhd.VhdType.DYNAMIC
    with pytest.raises(BuildError) as caught:
        vhd.parse_footer(footer_of_type(7))
    assert caught.value.code == "vhd-type"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "vhd-footer"),
        (b"hello\n" * 200, "vhd-footer"),
        (bytes(MIB) + footer_of_type(3), "vhd-type"),
        (bytes(MIB - 512) + footer_of_type(2), "vhd-truncated"),
    ],
)
def test_files_that_are_no_fixed_vhd(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(content)
    with pytest.raises(BuildError) as caught:
        vhd.read_footer(path)
    assert caught.value.code == code
    assert caught.value.hint


def test_read_footer(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(MIB) + footer_of_type(2))
    assert vhd.read_footer(path).size == MIB
