"""The captured VHD: the same content as the layer, the same bytes each time, sparse, whole or not there."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import threading
from pathlib import Path

import pytest

from builder.disk import layers, vhd
from builder.disk.capture import write_fixed_vhd
from builder.disk.contents import content_digest
from builder.disk.importing import import_disk
from builder.errors import BuildError, Interrupted
from tests.integration.disk.conftest import MIB

SIZE = 4096 * MIB


def write_at(layer: Path, at: int, data: bytes) -> None:
    source = layer.with_suffix(".data")
    source.write_bytes(data)
    command = f"write -q -s {source} {at} {len(data)}"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(layer)], check=True)


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A chain of three layers on a 4 GiB disk: data, data over data, zeros over data, small clusters on top."""
    content = random.Random(7)
    base, middle, top = (tmp_path / name for name in ("base.qcow2", "middle.qcow2", "top.qcow2"))
    layers.create(base, size=SIZE)
    write_at(base, 0, content.randbytes(3 * MIB + 512))
    write_at(base, SIZE - MIB, content.randbytes(MIB))
    write_at(base, 2048 * MIB - 4096, content.randbytes(8192))
    write_at(base, 100 * MIB, bytes(2 * MIB))
    layers.create(middle, backing=base)
    write_at(middle, MIB + 1024, content.randbytes(70_000 // 512 * 512))
    layers.create(top, backing=middle, cluster_size=4096)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -z {2 * MIB} 512k", str(top)], check=True)
    write_at(top, 2 * MIB + 8192, content.randbytes(512))
    return top


def compared(layer: Path, target: Path) -> str:
    command = ["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", str(layer), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-vhd.FOOTER_SIZE, os.SEEK_END)
        return file.read()


def test_capture(tmp_path: Path, layer: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "os.vhd"
    captured = write_fixed_vhd(layer, target, progress=lambda done, total: seen.append((done, total)))
    assert compared(layer, target) == "Images are identical."
    assert captured.size == SIZE
    assert vhd.read_footer(target).size == SIZE
    assert target.stat().st_size == SIZE + 512
    assert target.stat().st_blocks * 512 <= captured.data_bytes + 64 * 1024
    assert captured.data_bytes < 5 * MIB
    assert captured.digest == content_digest(target)
    assert seen[-1][0] == seen[-1][1] > 0
    assert seen == sorted(seen)


def test_same_content_same_bytes(tmp_path: Path, layer: Path) -> None:
    first = write_fixed_vhd(layer, tmp_path / "one.vhd")
    flat = tmp_path / "flat.qcow2"
    import_disk(tmp_path / "one.vhd", flat)
    second = write_fixed_vhd(flat, tmp_path / "two.vhd")
    assert second == first
    one, two = tmp_path / "one.vhd", tmp_path / "two.vhd"
    assert content_digest(one) == content_digest(two) == first.digest
    assert last_bytes(one) == last_bytes(two)
    write_at(flat, 3000 * MIB, b"x" * 512)
    assert write_fixed_vhd(flat, tmp_path / "three.vhd").digest != first.digest


def test_compressed_clusters(tmp_path: Path, layer: Path) -> None:
    packed = tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", str(layer), str(packed)], check=True)
    write_at(packed, 50 * MIB, b"y" * 65536)
    target = tmp_path / "os.vhd"
    captured = write_fixed_vhd(packed, target)
    assert compared(packed, target) == "Images are identical."
    assert captured.digest == content_digest(target)
    assert sorted(path.name for path in tmp_path.glob("build-*")) == []


def test_qemu_reads_our_footer(tmp_path: Path) -> None:
    """QEMU must see the exact size, at sizes where CHS would round."""
    for size in (3, 30, 1023, 4096, 127 * 1024):
        path = tmp_path / f"{size}.vhd"
        with path.open("wb") as file:
            file.truncate(size * MIB)
            file.seek(size * MIB)
            file.write(vhd.make_footer(size * MIB, content_digest="x"))
        out = subprocess.run(["qemu-img", "info", "-f", "vpc", str(path)], capture_output=True, text=True, check=True)
        assert f"({size * MIB} bytes)" in out.stdout


def test_qemus_footer_has_our_geometry(tmp_path: Path) -> None:
    for size in (64, 4096, 30 * 1024):
        path = tmp_path / "q.vhd"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", str(path), f"{size}M"],
            check=True,
        )
        footer = vhd.read_footer(path)
        assert footer.size == size * MIB
        assert footer.type == vhd.VhdType.FIXED


def test_odd_size_is_refused_first(tmp_path: Path) -> None:
    odd = tmp_path / "odd.qcow2"
    layers.create(odd, size=MIB + 512)
    with pytest.raises(BuildError) as caught:
        write_fixed_vhd(odd, tmp_path / "os.vhd")
    assert caught.value.code == "vhd-size"
    assert not (tmp_path / "os.vhd").exists()


def test_interrupted(tmp_path: Path, layer: Path) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        write_fixed_vhd(layer, tmp_path / "os.vhd", progress=lambda done, total: stop.set(), stop=stop)
    assert not (tmp_path / "os.vhd").exists()


def test_full_disk(tmp_path: Path, layer: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(BuildError) as caught:
            write_fixed_vhd(layer, small / "os.vhd")
        assert caught.value.code == "disk-full"
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_memory_stays_small(tmp_path: Path) -> None:
    """A disk in many small pieces: 20,000 extents."""
    raw, layer = tmp_path / "pieces.raw", tmp_path / "pieces.qcow2"
    with raw.open("wb") as file:
        file.truncate(SIZE)
        for number in range(20_000):
            os.pwrite(file.fileno(), bytes([1 + number % 250]) * 4096, number * 65536)
    options = ["-S", "4k", "-o", "cluster_size=4096"]
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(layer)], check=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    captured = write_fixed_vhd(layer, tmp_path / "os.vhd")
    assert captured.data_bytes == 20_000 * 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
