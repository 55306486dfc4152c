from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.disk import vhd
from builder.disk.contents import BLOCK, CHUNK, content_digest, data_ranges, read_contents
from builder.disk.layers import Extent
from builder.errors import BuildError

SIZE = 4 * CHUNK


def expected(content: bytes) -> str:
    """The digest by its definition, written down a second time."""
    whole = hashlib.sha256(len(content).to_bytes(8, "big"))
    for index in range(len(content) // CHUNK):
        chunk = content[index * CHUNK : (index + 1) * CHUNK]
        if any(chunk):
            whole.update(index.to_bytes(8, "big") + hashlib.sha256(chunk).digest())
    return "sha256:" + whole.hexdigest()


@st.composite
def layouts(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Extents that don't overlap: (start, length, which of two files, fill byte)."""
    found, position = [], 0
    while position < SIZE and len(found) < 12:
        start = position + draw(st.integers(0, CHUNK))
        length = draw(st.integers(1, CHUNK + 5000))
        if start + length > SIZE:
            break
        found.append((start, length, draw(st.integers(0, 1)), draw(st.sampled_from([0, 0, 1, 255]))))
        position = start + length
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts())
def test_copy_is_the_content(tmp_path: Path, layout: list[tuple[int, int, int, int]]) -> None:
    content = bytearray(SIZE)
    files = [tmp_path / "one", tmp_path / "two"]
    stored = [bytearray(b"junk"), bytearray(b"more junk")]
    extents = []
    for start, length, which, fill in layout:
        content[start : start + length] = bytes([fill]) * length
        extents.append(Extent(start, length, files[which], len(stored[which])))
        stored[which] += bytes([fill]) * length
    for file, data in zip(files, stored, strict=True):
        file.write_bytes(data)
    whole = tmp_path / "whole"
    whole.write_bytes(content)
    seen: list[int] = []
    sources: dict[Path | None, int] = {file: os.open(file, os.O_RDONLY) for file in files}
    found = read_contents(extents, SIZE, sources=sources, progress=lambda done, total: seen.append(done))
    for descriptor in sources.values():
        os.close(descriptor)
    assert found.digest == expected(bytes(content)) == content_digest(whole)
    blocks = [content[at : at + BLOCK] for at in range(0, SIZE, BLOCK)]
    assert found.data_bytes == sum(BLOCK for block in blocks if any(block))
    assert seen == sorted(seen)
    assert (seen or [0])[-1] == sum(extent.length for extent in extents)


def test_holes_and_zeros_are_the_same(tmp_path: Path) -> None:
    holes, zeros = tmp_path / "holes", tmp_path / "zeros"
    zeros.write_bytes(bytes(SIZE))
    with holes.open("wb") as file:
        file.truncate(SIZE)
    assert content_digest(holes) == content_digest(zeros)
    with holes.open("wb") as file:
        file.truncate(2 * SIZE)
    assert content_digest(holes) != content_digest(zeros)


def test_the_footer_is_no_content(tmp_path: Path) -> None:
    raw, disk = tmp_path / "disk.raw", tmp_path / "disk.vhd"
    raw.write_bytes(b"data".ljust(SIZE, b"\0"))
    disk.write_bytes(raw.read_bytes() + vhd.make_footer(SIZE, content_digest="x"))
    assert content_digest(raw) == content_digest(disk)
    disk.write_bytes(disk.read_bytes()[CHUNK:])
    with pytest.raises(BuildError):
        content_digest(disk)


def test_failure_of_a_worker_is_told(tmp_path: Path) -> None:
    extents = [Extent(index * CHUNK, CHUNK, tmp_path / "gone", 0) for index in range(4)]
    closed = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="directory"):
        read_contents(extents, SIZE, sources={tmp_path / "gone": closed})
    os.close(closed)


def test_data_ranges(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(SIZE)
        os.pwrite(file.fileno(), b"x" * 4096, CHUNK)
        os.pwrite(file.fileno(), b"x" * 8192, 3 * CHUNK)
    with path.open("rb") as file:
        assert list(data_ranges(file.fileno(), 0, SIZE)) == [
            (CHUNK, CHUNK + 4096),
            (3 * CHUNK, 3 * CHUNK + 8192),
        ]
        assert list(data_ranges(file.fileno(), CHUNK + 1024, 3 * CHUNK + 512)) == [
            (CHUNK + 1024, CHUNK + 4096),
            (3 * CHUNK, 3 * CHUNK + 512),
        ]
        assert list(data_ranges(file.fileno(), CHUNK + 4096, 2 * CHUNK)) == []
