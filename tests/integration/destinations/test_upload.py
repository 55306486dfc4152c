"""Disk files of every format become fixed VHDs with the same content."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.destinations.upload import vhd_source
from builder.disk import vhd
from builder.disk.contents import content_digest
from builder.errors import BuildError

MIB = 1024 * 1024
SIZE = 64 * MIB
FORMATS = {
    "raw": ("raw", ""),
    "qcow2": ("qcow2", ""),
    "vhdx": ("vhdx", ""),
    "vmdk": ("vmdk", "subformat=monolithicSparse"),
    "dynamic VHD": ("vpc", "subformat=dynamic,force_size=on"),
    "fixed VHD": ("vpc", "subformat=fixed,force_size=on"),
}


def make_raw(folder: Path, size: int) -> Path:
    raw = folder / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", str(raw)], check=True)
    return raw


def convert(raw: Path, name: str) -> Path:
    kind, options = FORMATS[name]
    found = raw.parent / f"disk.{kind}.image"
    words = ["qemu-img", "convert", "-f", "raw", "-O", kind, *(["-o", options] if options else [])]
    subprocess.run([*words, str(raw), str(found)], check=True)
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_file_is_a_fixed_vhd_with_its_content(tmp_path: Path, name: str) -> None:
    raw = make_raw(tmp_path, SIZE)
    work = tmp_path / "work"
    work.mkdir()

    with vhd_source(convert(raw, name), work=work) as disk:
        footer = vhd.parse_footer(disk.read(disk.size - vhd.FOOTER_SIZE, vhd.FOOTER_SIZE))
        assert (footer.size, footer.type, disk.size) == (SIZE, vhd.VhdType.FIXED, SIZE + vhd.FOOTER_SIZE)
        assert content_digest(disk.path) == content_digest(raw)
        data = sum(end - start for start, end in disk.extents())
        assert data < SIZE // 4, "what is empty isn't read"
        assert all(disk.read(start, end - start) for start, end in disk.extents())

    assert list(work.iterdir()) == []


def test_a_size_that_azure_refuses_is_rounded_up(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, SIZE + 512 * 1024)

    with vhd_source(convert(raw, "fixed VHD"), work=tmp_path) as disk:
        assert disk.size == SIZE + MIB + vhd.FOOTER_SIZE


def test_what_is_no_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no disk\n")

    for name, code in (("notes.txt", "not-a-disk"), ("missing.vhd", "source-missing")):
        with pytest.raises(BuildError) as caught, vhd_source(tmp_path / name, work=tmp_path):
            pass
        assert caught.value.code == code


def test_a_file_that_is_cut_off_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = convert(make_raw(tmp_path, SIZE), "fixed VHD")

    with vhd_source(file, work=tmp_path) as disk:
        with file.open("r+b") as writing:
            writing.truncate(MIB)
        with pytest.raises(BuildError, match="cut off"):
            disk.read(2 * MIB, MIB)
