"""Disk files of every format become the same layer; what is no whole disk is refused with a reason."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import process
from builder.disk import contents, layers, vhd
from builder.disk.contents import content_digest
from builder.disk.importing import import_disk
from builder.disk.partitions import GptPartition, read_table, write_gpt
from builder.errors import BuildError
from tests.integration.disk.conftest import MIB

SIZE = 24 * MIB


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a partition of random bytes, with holes."""
    path = tmp_path_factory.mktemp("source") / "disk.raw"
    write_gpt(path, SIZE, [GptPartition(1, MIB, 20 * MIB)])
    content = random.Random(1)
    with path.open("r+b") as file:
        for at in range(MIB, 20 * MIB, 3 * MIB):
            file.seek(at)
            file.write(content.randbytes(300_000))
    return path


def converted(raw: Path, target: Path, format: str, options: str = "") -> Path:
    words = ["qemu-img", "convert", "-f", "raw", "-O", format, *(["-o", options] if options else [])]
    subprocess.run([*words, str(raw), str(target)], check=True)
    return target


def converted_back(layer: Path) -> Path:
    raw = layer.with_suffix(".check")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(layer), str(raw)], check=True)
    return raw


def content_of(layer: Path) -> str:
    return content_digest(converted_back(layer))


FORMATS = {
    "raw": ("raw", "raw", ""),
    "qcow2": ("qcow2", "qcow2", ""),
    "old qcow2": ("qcow2", "qcow2", "compat=0.10"),
    "fixed VHD": ("vhd", "vpc", "subformat=fixed,force_size=on"),
    "dynamic VHD": ("vhd", "vpc", "subformat=dynamic,force_size=on"),
    "VHDX": ("vhdx", "vhdx", ""),
    "VMDK": ("vmdk", "vmdk", "subformat=monolithicSparse"),
    "stream VMDK": ("vmdk", "vmdk", "subformat=streamOptimized"),
}


@pytest.mark.parametrize("case", FORMATS)
def test_formats(tmp_path: Path, raw: Path, case: str) -> None:
    name, format, options = FORMATS[case]
    # A name that is hard on option parsers, and that says nothing of the format
    source = converted(raw, tmp_path / "a,b=c:d.img", format, options)
    target = tmp_path / "os.qcow2"
    assert import_disk(source, target) == name
    assert layers.virtual_size(target) == SIZE
    assert layers.chain(target) == [target]
    assert content_of(target) == content_digest(raw)
    assert target.stat().st_blocks * 512 < 6 * MIB


def test_compressed_qcow2(tmp_path: Path, raw: Path) -> None:
    source = tmp_path / "c.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(source)], check=True)
    import_disk(source, tmp_path / "os.qcow2", "qcow2")
    assert content_of(tmp_path / "os.qcow2") == content_digest(raw)


LIKE_A_LAYER = "cluster_size=65536,lazy_refcounts=on"


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (LIKE_A_LAYER, True),
        ("cluster_size=65536", True),
        ("cluster_size=4096", False),
        ("cluster_size=65536,compat=0.10", False),
        ("cluster_size=65536,extended_l2=on", False),
        ("cluster_size=65536,refcount_bits=64", False),
        ("cluster_size=65536,compression_type=zstd", False),
    ],
)
def test_a_qcow2_like_a_layer_is_copied(
    tmp_path: Path, raw: Path, options: str, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.qcow2"
    process.run(["qemu-img", "convert", "-O", "qcow2", "-o", options, raw, source])
    done: list[Path] = []
    plain = contents.copy_sparse
    monkeypatch.setattr(contents, "copy_sparse", lambda *paths, **options: (done.append(paths[0]), plain(*paths)))
    target = tmp_path / "layer.qcow2"
    import_disk(source, target)
    assert bool(done) is copied
    process.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, target])


def test_snapshots_inside_a_qcow2_do_not_come_along(tmp_path: Path, raw: Path) -> None:
    source = tmp_path / "source.qcow2"
    process.run(["qemu-img", "convert", "-O", "qcow2", "-o", LIKE_A_LAYER, raw, source])
    process.run(["qemu-img", "snapshot", "-c", "before", source])
    target = tmp_path / "layer.qcow2"
    import_disk(source, target)
    assert "before" not in process.run(["qemu-img", "snapshot", "-l", target]).output
    process.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, target])


def test_size_becomes_whole_mib(tmp_path: Path, raw: Path) -> None:
    source = tmp_path / "odd.raw"
    subprocess.run(["cp", "--sparse=always", str(raw), str(source)], check=True)
    os.truncate(source, SIZE + 700 * 1024)
    import_disk(source, tmp_path / "os.qcow2")
    assert layers.virtual_size(tmp_path / "os.qcow2") == SIZE + MIB


def patched(path: Path, at: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(data)
    return path


def truncated(path: Path, size: int) -> Path:
    os.truncate(path, size)
    return path


@pytest.mark.parametrize("format", ["raw", "qcow2"])
@pytest.mark.parametrize("broken", [False, True])
def test_gpt_of_an_odd_size_is_put_right(tmp_path: Path, format: str, broken: bool) -> None:
    source = tmp_path / "odd.raw"
    write_gpt(source, SIZE + 700 * 1024, [GptPartition(1, MIB, 20 * MIB)])
    if broken:
        patched(source, 512 + 16, b"damage")
    if format != "raw":
        source = converted(source, tmp_path / "odd.img", format)
    target = tmp_path / "target" / "os.qcow2"
    target.parent.mkdir()
    import_disk(source, target)
    assert list(target.parent.iterdir()) == [target]
    raw = converted_back(target)
    assert raw.stat().st_size == SIZE + MIB
    said = subprocess.run(["sgdisk", "--verify", str(raw)], capture_output=True, text=True, check=True).stdout
    assert "No problems found" in said
    table = read_table(raw)
    assert table is not None
    assert not table.from_backup
    assert [(part.start, part.size) for part in table.partitions] == [(MIB, 20 * MIB)]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def on_secret(raw: Path, path: Path) -> Path:
    """A qcow2 whose backing file is a file of this host."""
    secret = written(path.with_name("secret"), b"root:*:\n" * 4096)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(path)], check=True)
    return path


def external_data(raw: Path, path: Path) -> Path:
    options = f"data_file={path.with_name('secret.raw')},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(path), "1M"], check=True)
    return path


def layered_vmdk(raw: Path, path: Path) -> Path:
    below = converted(raw, path.with_name("below.vmdk"), "vmdk")
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", "-b", str(below), "-F", "vmdk", str(path)], check=True)
    return path


def differencing_vhd(raw: Path, path: Path) -> Path:
    converted(raw, path, "vpc", "subformat=dynamic,force_size=on")
    data = bytearray(path.read_bytes())
    for at in (0, len(data) - 512):
        data[at + 60 : at + 64] = struct.pack(">I", 4)
        data[at + 64 : at + 68] = struct.pack(">I", vhd.checksum(bytes(data[at : at + 512])))
    return written(path, bytes(data))


def fixed(raw: Path, path: Path) -> Path:
    return converted(raw, path, "vpc", "subformat=fixed,force_size=on")


def dynamic(raw: Path, path: Path) -> Path:
    return converted(raw, path, "vpc", "subformat=dynamic,force_size=on")


Make = Callable[[Path, Path], Path]
REFUSED: dict[str, tuple[Make, str, str]] = {
    "empty": (lambda raw, path: written(path, b""), "not-a-disk", "empty"),
    "text": (lambda raw, path: written(path, b"name: web\n" * 2000), "not-a-disk", "no partition table"),
    "short text": (lambda raw, path: written(path, b"hello"), "not-a-disk", "no partition table"),
    "zeros": (lambda raw, path: written(path, bytes(MIB)), "not-a-disk", "no partition table"),
    "gzip": (lambda raw, path: written(path, b"\x1f\x8b\x08" + bytes(500)), "not-a-disk", "compressed"),
    "QED": (lambda raw, path: converted(raw, path, "qed"), "not-a-disk", "QED"),
    "VDI": (lambda raw, path: converted(raw, path, "vdi"), "not-a-disk", "VDI"),
    "Parallels": (lambda raw, path: converted(raw, path, "parallels"), "not-a-disk", "Parallels"),
    "raw, cut off": (lambda raw, path: truncated(converted(raw, path, "raw"), 10 * MIB), "partition-table", "beyond"),
    "qcow2, cut off": (
        lambda raw, path: truncated(converted(raw, path, "qcow2"), MIB),
        "disk-file-broken",
        "cut off",
    ),
    "qcow2, header only": (
        lambda raw, path: truncated(converted(raw, path, "qcow2"), 700),
        "disk-file-broken",
        "cut off",
    ),
    "qcow2, damaged tables": (
        lambda raw, path: patched(converted(raw, path, "qcow2"), 3 * 65536, b"\x80" + bytes(6) + b"\x07" * 9),
        "disk-file-broken",
        "damaged",
    ),
    "qcow2 on a file of the host": (on_secret, "disk-file-refused", "on top of another file"),
    "qcow2 with outside data": (external_data, "disk-file-refused", "another file"),
    "VMDK on another": (layered_vmdk, "disk-file-refused", "on top of another file"),
    "VMDK, cut off": (lambda raw, path: truncated(converted(raw, path, "vmdk"), MIB), "disk-file-broken", "cut off"),
    "stream VMDK, cut off": (
        lambda raw, path: truncated(converted(raw, path, "vmdk", "subformat=streamOptimized"), MIB),
        "disk-file-broken",
        "cut off",
    ),
    "VMDK descriptor": (
        lambda raw, path: converted(raw, path, "vmdk", "subformat=monolithicFlat"),
        "disk-file-refused",
        "other files",
    ),
    "VHD, broken checksum": (lambda raw, path: patched(fixed(raw, path), -400, b"\xff"), "vhd-checksum", "checksum"),
    "VHD, too short": (
        lambda raw, path: written(path, fixed(raw, path).read_bytes()[MIB:]),
        "vhd-truncated",
        "footer",
    ),
    "dynamic VHD, cut off": (
        lambda raw, path: truncated(dynamic(raw, path), 2 * MIB),
        "vhd-footer",
        "no VHD footer",
    ),
    "dynamic VHD, broken checksum": (
        lambda raw, path: patched(dynamic(raw, path), 100, b"\xff"),
        "vhd-checksum",
        "checksum",
    ),
    "differencing VHD": (differencing_vhd, "disk-file-refused", "on top of another file"),
    "VHDX, cut off": (
        lambda raw, path: truncated(converted(raw, path, "vhdx"), 300 * 1024),
        "disk-file-broken",
        "can't be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, raw: Path, case: str) -> None:
    make, code, message = REFUSED[case]
    source = make(raw, tmp_path / "disk.img")
    target = tmp_path / "target" / "os.qcow2"
    target.parent.mkdir()
    with pytest.raises(BuildError, match=message) as caught:
        import_disk(source, target)
    assert caught.value.code == code
    assert caught.value.hint
    assert list(target.parent.iterdir()) == []


def test_another_format_than_was_said(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(BuildError, match="is raw, not qcow2"):
        import_disk(raw, tmp_path / "os.qcow2", "qcow2")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        import_disk(tmp_path / "none.vhd", tmp_path / "os.qcow2")
    assert caught.value.code == "source-missing"


def test_full_disk(tmp_path: Path, raw: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(BuildError) as caught:
            import_disk(raw, small / "os.qcow2")
        assert caught.value.code == "disk-full"
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_layers_name_their_parents_relatively(tmp_path: Path, raw: Path) -> None:
    store = tmp_path / "store"
    for name in ("a", "b", "c"):
        (store / name).mkdir(parents=True)
    import_disk(raw, store / "a/os.qcow2")
    layers.create(store / "b/os.qcow2", backing=store / "a/os.qcow2")
    layers.create(store / "c/os.qcow2", backing=store / "b/os.qcow2", size=2 * SIZE, cluster_size=4096)
    moved = tmp_path / "moved"
    store.rename(moved)
    top = moved / "c/os.qcow2"
    assert layers.chain(top) == [top, moved / "b/os.qcow2", moved / "a/os.qcow2"]
    assert (layers.virtual_size(top), layers.cluster_size(top)) == (2 * SIZE, 4096)
    found = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", str(top)], capture_output=True, check=True).stdout
    )
    assert (found["backing-filename"], found["backing-filename-format"]) == ("../b/os.qcow2", "qcow2")
    assert {extent.file for extent in layers.extents(top)} == {moved / "a/os.qcow2"}


def test_missing_parent(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        layers.create(tmp_path / "os.qcow2", backing=tmp_path / "gone.qcow2")
    assert caught.value.code == "layer-missing"
    with pytest.raises(BuildError):
        layers.create(tmp_path / "os.qcow2")
