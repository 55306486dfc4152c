"""The file that holds a disk: what it is, and whether Azure would take it. Reads bytes only; needs no root."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import process
from builder.disk import importing, layers, vhd
from builder.disk.importing import Recognized
from builder.disk.layers import DiskLayer
from builder.errors import BuildError
from builder.guest.inspection.rules import DiskFinding

PLACE = "file"
SECTOR = 512
FIXED = "fixed VHD"
# How far from the file's end a footer is looked for: what copies files in blocks may have filled up the last one
FOOTER_SEARCH = 4 * vhd.MIB
# What a person calls the formats that `recognize` tells, by QEMU's driver
NAMES = {"raw": "raw disk", "qcow2": "qcow2", "vpc": "dynamic VHD", "vhdx": "VHDX", "vmdk": "VMDK"}
# What `recognize` says of a file that is no whole disk; everything else (a missing program) is no finding
UNREADABLE = frozenset(
    {"not-a-disk", "disk-file-refused", "disk-file-broken", "vhd-footer", "vhd-checksum", "vhd-type", "partition-table"}
)


@dataclass(frozen=True)
class DiskFile:
    """A disk file. `size` is the virtual size in bytes; `recognized` how QEMU has to open it (None: it can't be read).

    `kind` is what a person calls it.
    """

    path: Path
    length: int
    kind: str
    size: int
    recognized: Recognized | None
    findings: tuple[DiskFinding, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the file's own bytes are the disk's, from its start on."""
        return self.recognized is not None and self.recognized.options.get("driver") == "raw"


def look_at(path: Path) -> DiskFile:
    """Look at a disk file. Raises BuildError ("disk-missing") when there is none, or a program is missing."""
    if not path.is_file():
        message = f"there is no file {path}"
        if path.exists():
            message = f"{path} is a folder" if path.is_dir() else f"{path} is no ordinary file"
        raise BuildError(message, code="disk-missing", hint="give the path of a disk's file")
    length = path.stat().st_size
    try:
        with path.open("rb") as file:
            head = file.read(len(vhd.COOKIE))
            start = max(length - FOOTER_SEARCH, 0) // SECTOR * SECTOR
            file.seek(start)
            tail = file.read()
        if head != vhd.COOKIE:
            if tail[-vhd.FOOTER_SIZE :].startswith(vhd.COOKIE):
                return _with_footer(path, length, tail[-vhd.FOOTER_SIZE :])
            if (moved := _moved_footer(path, length, tail, start)) is not None:
                return moved
        return _other(path, length, importing.recognize(path))
    except BuildError as error:
        if error.code not in UNREADABLE:
            raise
        found = DiskFinding("disk-unreadable", PLACE, error.message, remedy=error.hint or "")
        return DiskFile(path, length, "unknown", 0, None, (found,))


def _with_footer(path: Path, length: int, tail: bytes) -> DiskFile:
    """A fixed VHD, or what is left of one."""
    data = length - vhd.FOOTER_SIZE
    # Whatever a wrong footer says: the data that is there
    whole = Recognized("vhd", {"driver": "raw", "size": str(data)})
    try:
        footer = vhd.parse_footer(tail)
    except BuildError as error:
        if error.code != "vhd-checksum":
            raise
        findings = [DiskFinding("vhd-checksum", PLACE, error.message), *alignment(data)]
        return DiskFile(path, length, FIXED, data, whole, tuple(findings))
    if footer.type != vhd.VhdType.FIXED:
        raise BuildError(
            f"{path.name} ends as a {footer.type.name.lower()} VHD but doesn't begin as one",
            code="disk-file-broken",
            hint="copy or export it again",
        )
    if data < footer.size:
        missing = f"{footer.size - data} bytes are missing: the footer tells of {footer.size}, the file has {data}"
        return DiskFile(path, length, FIXED, footer.size, None, (DiskFinding("vhd-cut-off", PLACE, missing),))
    if data > footer.size:
        message = f"the file has {data} bytes before its footer, which tells of {footer.size}"
        findings = [DiskFinding("vhd-length", PLACE, message), *alignment(data)]
        return DiskFile(path, length, FIXED, data, whole, tuple(findings))
    return DiskFile(path, length, FIXED, data, whole, tuple(alignment(data)))


def _moved_footer(path: Path, length: int, tail: bytes, start: int) -> DiskFile | None:
    """A fixed VHD whose footer is cut off in its middle or followed by more; None for a file that is none.

    `tail` are the file's last bytes, from its byte `start` on.
    """
    at = tail.rfind(vhd.COOKIE)
    data = start + at
    if at < 0 or data <= 0 or data % SECTOR:
        return None
    rest = length - data - vhd.FOOTER_SIZE
    if rest > 0:
        try:
            footer = vhd.parse_footer(tail[at : at + vhd.FOOTER_SIZE])
        except BuildError:
            return None  # those bytes are anything that happens to be on a disk
        if footer.type != vhd.VhdType.FIXED or footer.size != data:
            return None
        finding = DiskFinding("vhd-length", PLACE, f"there are {rest} bytes after its footer")
    else:
        missing = f"its last {-rest} bytes are missing: they are in the footer, all of the disk is there"
        finding = DiskFinding("vhd-footer", PLACE, missing)
    whole = Recognized("vhd", {"driver": "raw", "size": str(data)})
    return DiskFile(path, length, FIXED, data, whole, (finding, *alignment(data)))


def _other(path: Path, length: int, found: Recognized) -> DiskFile:
    kind = NAMES[found.options["driver"]]
    size = _virtual_size(path, length, found)
    message = f"{path.name} is a {kind}, not a {FIXED}"
    if found.options["driver"] == "raw" and path.suffix.lower() == ".vhd":
        message += ": there is no footer at its end, whatever its name says"
    findings = [DiskFinding("disk-format", PLACE, message), *alignment(size)]
    return DiskFile(path, length, kind, size, found, tuple(findings))


def _virtual_size(path: Path, length: int, found: Recognized) -> int:
    if found.options["driver"] == "raw":
        return length
    described = f"json:{json.dumps(_node(path, found))}"
    answer = process.run([layers.qemu_img(), "info", "--output=json", described])
    return int(json.loads(answer.output)["virtual-size"])


def alignment(size: int) -> list[DiskFinding]:
    """The finding for a size in bytes that Azure refuses."""
    if size % vhd.MIB == 0:
        return []
    message = f"the disk has {size} bytes; the next whole MiB is {vhd.whole_mib(size)}"
    return [DiskFinding("vhd-alignment", PLACE, message)]


def _node(path: Path, found: Recognized) -> dict[str, Any]:
    """The file as QEMU's block layer describes it."""
    options: dict[str, Any] = dict(found.options)
    if "size" in options:
        options["size"] = int(options["size"]) // SECTOR * SECTOR
    return {**options, "file": {"driver": "file", "filename": os.fspath(path.absolute())}}


def as_layer(file: DiskFile, folder: Path) -> DiskLayer:
    """The disk as a layer in `folder`, without copying it: a blank layer above the file, which is only read."""
    assert file.recognized is not None
    layer = folder / "disk.qcow2"
    node = _node(file.path, file.recognized)
    size = max(file.size // SECTOR, 1) * SECTOR
    words = [layers.qemu_img(), "create", "-q", "-f", "qcow2", "-b", f"json:{json.dumps(node)}", "-F", node["driver"]]
    process.run([*words, f"./{layer.name}", str(size)], cwd=folder)
    return DiskLayer(layer)
