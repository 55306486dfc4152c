"""qcow2 layers: one per disk and step, each naming its parent by a relative path, so that the store can be moved."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from builder import process
from builder.errors import BuildError

CLUSTER_SIZE = 64 * 1024
SMALLEST_CLUSTER = 512
# QEMU takes a first-level table of 32 MiB at most (block/qcow2.h, QCOW_MAX_L1_SIZE), with entries of 8 bytes
_MOST_TABLES = 32 * 1024 * 1024 // 8
# Backing files that are as many would be a circle
_DEEPEST_CHAIN = 256
_PACKAGE = "qemu-utils"


@dataclass(frozen=True)
class DiskLayer:
    """A disk of a machine: the OS disk (`lun` None) or a data disk, and the top layer that holds its present state."""

    path: Path
    lun: int | None = None

    @property
    def name(self) -> str:
        """What the disk is called in files and messages."""
        return "os" if self.lun is None else f"data-{self.lun}"


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of a disk that holds data. `start` and `length` in bytes of the disk.

    The bytes stand in `file` at `offset`; both are None when they are stored compressed.
    """

    start: int
    length: int
    file: Path | None
    offset: int | None


def qemu_img() -> str:
    """The path of qemu-img. Raises BuildError when it isn't installed."""
    return process.find_program("qemu-img", package=_PACKAGE, why="work on disk layers")


def _local(path: Path) -> str:
    """A file's name for QEMU in its own folder; without a slash, a name with a colon would be taken for an address."""
    return f"./{path.name}"


def create(
    path: Path, *, backing: Path | None = None, size: int | None = None, cluster_size: int = CLUSTER_SIZE
) -> None:
    """Make a new layer at `path`, on top of `backing` or blank.

    `size` in bytes; None takes the backing layer's. `cluster_size` in bytes, a power of 2 from 512: what is freed in
    the guest is freed here in whole clusters. Raises BuildError when there is neither `backing` nor `size`.
    """
    if backing is None and size is None:
        raise BuildError(f"a blank layer needs a size: {path}", code="layer-size")
    command = [qemu_img(), "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster_size},lazy_refcounts=on"]
    if backing is not None:
        if not backing.exists():
            raise BuildError(
                f"the layer below {path.name} is missing: {backing}",
                code="layer-missing",
                hint="run `build gc`, then build again: what can't be reused is made anew",
            )
        command += ["-b", os.path.relpath(backing, path.parent), "-F", "qcow2"]
    process.run([*command, _local(path), *([] if size is None else [str(size)])], cwd=path.parent)


def resize(path: Path, size: int) -> None:
    """Grow a layer's virtual size to `size` bytes."""
    process.run([qemu_img(), "resize", "-q", "-f", "qcow2", _local(path), str(size)], cwd=path.parent)


def virtual_size(path: Path) -> int:
    """The size in bytes of the disk that a layer shows. Raises BuildError ("layer-broken") when it is no qcow2."""
    return int(struct.unpack_from(">Q", _header(path), 24)[0])


def cluster_size(path: Path) -> int:
    """The size in bytes of a layer's clusters."""
    return 1 << int(struct.unpack_from(">I", _header(path), 20)[0])


def smallest_cluster_size(size: int) -> int:
    """The smallest clusters in bytes that a layer of a disk of `size` bytes can have: finer ones can't reach its end.

    Each table of clusters fills a cluster with entries of 8 bytes, so that the reach grows by the square.
    """
    cluster = SMALLEST_CLUSTER
    while cluster * (cluster // 8) * _MOST_TABLES < size:
        cluster *= 2
    return cluster


def chain(path: Path) -> list[Path]:
    """The layer, its parent, and so on down to the one without a parent."""
    found = [path]
    while (below := _backing(found[-1])) is not None:
        found.append(below)
        if len(found) > _DEEPEST_CHAIN:
            raise BuildError(f"the layers below {path} make a circle", code="layer-broken", hint="remove them")
    return found


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(104)
    except FileNotFoundError as error:
        raise BuildError(f"the layer {path} is missing", code="layer-missing", hint="run `build gc`") from error
    if len(data) < 72 or data[:4] != b"QFI\xfb":
        raise BuildError(f"{path} is not a qcow2 layer", code="layer-broken", hint="remove it and build again")
    return data


def _backing(path: Path) -> Path | None:
    offset, length = struct.unpack_from(">QI", _header(path), 8)
    if not offset:
        return None
    with path.open("rb") as file:
        file.seek(offset)
        return Path(os.path.normpath(path.parent / os.fsdecode(file.read(length))))


def extents(path: Path) -> list[Extent]:
    """The ranges of the disk that hold data, in order, whichever layer of the chain has them. Holes are left out."""
    files = chain(path)
    found: list[Extent] = []

    def line(text: str) -> None:
        text = text.strip().removeprefix("[").rstrip(",]")
        if not text:
            return
        item = json.loads(text)
        if item["zero"] or not item["data"]:
            return
        offset = item.get("offset")
        file = None if offset is None else files[item["depth"]]
        here = Extent(item["start"], item["length"], file, offset)
        found[-1:] = _joined(found[-1], here) if found else [here]

    # Read line by line: the map of a fragmented disk is too long to be parsed at once in little memory
    process.stream([qemu_img(), "map", "--output=json", "-f", "qcow2", _local(path)], on_line=line, cwd=path.parent)
    return found


def _joined(one: Extent, two: Extent) -> list[Extent]:
    adjacent = one.start + one.length == two.start and one.file == two.file
    if adjacent and one.offset is not None and two.offset == one.offset + one.length:
        return [Extent(one.start, one.length + two.length, one.file, one.offset)]
    if adjacent and one.offset is None:
        return [Extent(one.start, one.length + two.length, None, None)]
    return [one, two]


def check(path: Path, format: str = "qcow2") -> None:
    """Check the own tables of a layer, or of another format's file that names no other file.

    Leaked clusters are no error. Raises BuildError ("layer-broken").
    """
    try:
        process.run([qemu_img(), "check", "-q", "-f", format, _local(path)], cwd=path.parent, ok=(0, 3))
    except process.CommandFailed as error:
        raise BuildError(
            f"{path.name} is damaged: its cluster tables are not consistent",
            code="layer-broken",
            hint="copy or make the file again",
            detail=error.detail,
        ) from error
