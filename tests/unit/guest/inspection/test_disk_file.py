"""What a VHD's footer and length tell, without root and without any program."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.disk import vhd
from builder.disk.partitions import GptPartition, write_gpt
from builder.errors import BuildError
from builder.guest.inspection.disk_file import look_at

MIB = 1024**2
SIZE = 4 * MIB


def footer(size: int = SIZE, kind: int = 2) -> bytes:
    data = bytearray(vhd.make_footer(vhd.whole_mib(size), content_digest="test"))
    data[40:56] = struct.pack(">QQ", size, size)
    data[60:64] = struct.pack(">I", kind)
    data[64:68] = struct.pack(">I", vhd.checksum(bytes(data)))
    return bytes(data)


def broken_checksum() -> bytes:
    return footer()[:24] + b"\1" + footer()[25:]


CASES: dict[str, tuple[Callable[[], bytes], list[str], int]] = {
    "good": (lambda: bytes(SIZE) + footer(), [], SIZE),
    "checksum": (lambda: bytes(SIZE) + broken_checksum(), ["vhd-checksum"], SIZE),
    "no whole MiB": (lambda: bytes(SIZE + 512) + footer(SIZE + 512), ["vhd-alignment"], SIZE + 512),
    "longer": (lambda: bytes(SIZE + MIB) + footer(), ["vhd-length"], SIZE + MIB),
    "longer and odd": (lambda: bytes(SIZE + 512) + footer(), ["vhd-length", "vhd-alignment"], SIZE + 512),
    "shorter": (lambda: bytes(SIZE - MIB) + footer(), ["vhd-cut-off"], SIZE),
    "footer cut off": (lambda: bytes(SIZE) + footer()[:300], ["vhd-footer"], SIZE),
    "footer cut off, odd": (lambda: bytes(SIZE + 512) + footer()[:8], ["vhd-footer", "vhd-alignment"], SIZE + 512),
    "one byte after the footer": (lambda: bytes(SIZE) + footer() + b"\n", ["vhd-length"], SIZE),
    "filled up to a block": (lambda: bytes(SIZE) + footer() + bytes(MIB - 512), ["vhd-length"], SIZE),
    "a footer of another size within": (lambda: bytes(SIZE) + footer(SIZE - 512) + bytes(1024), ["disk-unreadable"], 0),
    "end of a dynamic one": (lambda: bytes(SIZE) + footer(kind=3), ["disk-unreadable"], 0),
    "unknown type": (lambda: bytes(SIZE) + footer(kind=9), ["disk-unreadable"], 0),
    "a copied dynamic one": (lambda: footer(kind=4) + bytes(SIZE) + footer(kind=4), ["disk-unreadable"], 0),
    "text": (lambda: b"name: web\n" * 2000, ["disk-unreadable"], 0),
    "compressed": (lambda: b"\x1f\x8b" + bytes(5000), ["disk-unreadable"], 0),
    "empty": (lambda: b"", ["disk-unreadable"], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_footers_and_lengths(tmp_path: Path, case: str) -> None:
    make, expected, size = CASES[case]
    path = tmp_path / "disk.vhd"
    path.write_bytes(make())
    file = look_at(path)
    assert [finding.rule for finding in file.findings] == expected
    assert file.size == size
    assert (file.recognized is None) == bool({"vhd-cut-off", "disk-unreadable"} & set(expected))


@pytest.mark.parametrize(("size", "expected"), [(SIZE, []), (SIZE + 512, ["vhd-alignment"])])
def test_a_raw_disk_has_the_wrong_format(tmp_path: Path, size: int, expected: list[str]) -> None:
    path = tmp_path / "disk.vhd"
    write_gpt(path, size, [GptPartition(1, MIB, MIB)])
    file = look_at(path)
    assert [finding.rule for finding in file.findings] == ["disk-format", *expected]
    assert file.kind == "raw disk"
    assert "there is no footer at its end" in file.findings[0].message
    assert file.is_plain


def test_no_file(tmp_path: Path) -> None:
    gone = tmp_path / "gone.vhd"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = {
        gone: f"there is no file {gone}",
        tmp_path: f"{tmp_path} is a folder",
        pipe: f"{pipe} is no ordinary file",
    }
    for path, message in told.items():
        with pytest.raises(BuildError) as caught:
            look_at(path)
        assert (caught.value.code, caught.value.message) == ("disk-missing", message)
