"""Turning somebody's disk file into a layer of ours. We decide what the file is: qemu-img is never let to guess.

A qcow2 or VMDK may name other files of this host as its content (a backing file, an extent): those are refused before
any other program opens it. Formats: QEMU's docs/interop/qcow2.txt, [MS-VHDX], VMware's "Virtual Disk Format 5.0".
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from builder import process
from builder.disk import contents, export, filesystems, layers, partitions, vhd, volumes
from builder.errors import BuildError, Interrupted

FORMATS = ("raw", "qcow2", "vhd", "vhdx", "vmdk")
_SECTOR = 512
_QCOW2_VERSIONS = (2, 3)
_QCOW2_LAZY_REFCOUNTS = 1
_QCOW2_EXTERNAL_DATA = 0x4
_VMDK_DESCRIPTOR_LIMIT = 64 * 1024
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
}
# Disk formats that nobody brings to Azure: by where their magic number stands (QEMU's block/{qed,vdi,parallels}.c)
_UNSUPPORTED = {
    (0, b"QED\0"): "QED",
    (64, b"\x7f\x10\xda\xbe"): "VDI (VirtualBox)",
    (0, b"WithoutFreeSpace"): "Parallels",
    (0, b"WithouFreSpacExt"): "Parallels",
}


@dataclass(frozen=True)
class Recognized:
    """What a disk file is: one of FORMATS, and how QEMU has to be told to open it."""

    format: str
    options: dict[str, str] = field(default_factory=dict)


def recognize(path: Path, *, tables: bool = True) -> Recognized:
    """Find out what a disk file is, by its content. Its name says nothing.

    Without `tables`, a file's own tables are not checked: then no program is run. Raises BuildError: "not-a-disk"
    (empty, text, an archive, nothing known), "disk-file-refused" (it names other files, or is encrypted),
    "disk-file-broken", and what `vhd.parse_footer` raises.
    """
    length = path.stat().st_size
    if length == 0:
        raise BuildError(f"{path.name} is empty", code="not-a-disk", hint="copy or download it again")
    with path.open("rb") as file:
        head = file.read(2048)
        file.seek(max(length - vhd.FOOTER_SIZE, 0))
        tail = file.read()
    for magic, name in _ARCHIVES.items():
        if head.startswith(magic):
            raise BuildError(f"{path.name} is compressed ({name})", code="not-a-disk", hint="unpack it first")
    for (at, magic), name in _UNSUPPORTED.items():
        if head.startswith(magic, at):
            raise BuildError(
                f"{path.name} is of the format {name}, which build doesn't read",
                code="not-a-disk",
                hint="convert it: qemu-img convert -O qcow2",
            )
    for magic, recognized in _BY_MAGIC.items():
        if head.startswith(magic):
            return recognized(path, head, tables)
    if tail.startswith(vhd.COOKIE):
        footer = vhd.read_footer(path)
        # Read as raw up to the footer: QEMU's own driver may take the size from CHS
        return Recognized("vhd", {"driver": "raw", "size": str(footer.size)})
    return _raw(path, length)


def look(path: Path) -> None:
    """Raise BuildError for a disk file whose first and last bytes tell that no Linux can be imported from it.

    Raises what `recognize`, `volumes.find_volumes` and `volumes.no_root` raise. What only the whole file tells is left
    to `import_disk`: this takes no time and runs nothing, so that a plan can say it.
    """
    found = recognize(path, tables=False)
    if found.options["driver"] != "raw":
        return
    size = int(found.options.get("size", path.stat().st_size))
    there = volumes.find_volumes(layers.DiskLayer(path), path, size)
    if not any(volume.content and volume.content.type in filesystems.MOUNTABLE for volume in there):
        raise volumes.no_root(there)


def _qcow2(path: Path, head: bytes, tables: bool) -> Recognized:
    version, backing, _, _, _, encryption = struct.unpack_from(">IQIIQI", head, 4)
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if version not in _QCOW2_VERSIONS:
        raise BuildError(f"{path.name} is a qcow of version {version}", code="not-a-disk", hint="convert it to qcow2")
    if backing:
        raise refused(path, "it is only a layer on top of another file", "qemu-img convert -O qcow2")
    if features & _QCOW2_EXTERNAL_DATA:
        raise refused(path, "its data is in another file", "qemu-img convert -O qcow2")
    if encryption:
        raise refused(path, "it is encrypted", "qemu-img convert with its secret")
    if tables:
        _check_qcow2(path)
    return Recognized("qcow2", {"driver": "qcow2"})


def _check_tables(path: Path, format: str) -> None:
    try:
        layers.check(path, format)
    except BuildError as error:
        raise BuildError(
            f"{path.name} is damaged or was cut off: its tables don't agree with its data",
            code="disk-file-broken",
            hint="copy or download it again",
            detail=error.detail,
        ) from error


def _check_qcow2(path: Path) -> None:
    """Raise BuildError for inconsistent tables, and for data beyond the file's end, which QEMU takes for zeros."""
    _check_tables(path, "qcow2")
    length = path.stat().st_size
    for extent in layers.extents(path):
        if extent.offset is not None and extent.offset + extent.length > length + layers.cluster_size(path):
            raise truncated(path)


def _dynamic_vhd(path: Path, head: bytes, tables: bool) -> Recognized:
    footer = vhd.parse_footer(head[: vhd.FOOTER_SIZE])
    if footer.type == vhd.VhdType.DIFFERENCING:
        raise refused(path, "it is only a layer on top of another file", "Convert-VHD -VHDType Dynamic")
    with path.open("rb") as file:
        file.seek(-vhd.FOOTER_SIZE, os.SEEK_END)
        # The copy at the end is the original: without it the file was cut off
        vhd.parse_footer(file.read())
    return Recognized("vhd", {"driver": "vpc", "force_size_calc": "current_size"})


def _vhdx(path: Path, head: bytes, tables: bool) -> Recognized:
    return Recognized("vhdx", {"driver": "vhdx"})


def _vmdk(path: Path, head: bytes, tables: bool) -> Recognized:
    # struct SparseExtentHeader, little-endian: capacity at 12, then grain size, descriptor's offset and size in sectors
    capacity, _, offset, count = struct.unpack_from("<QQQQ", head, 12)
    if capacity == 0:
        raise refused(path, "its data is in other files", "qemu-img convert -O vmdk -o subformat=monolithicSparse")
    with path.open("rb") as file:
        file.seek(offset * _SECTOR)
        descriptor = file.read(min(count * _SECTOR, _VMDK_DESCRIPTOR_LIMIT)).split(b"\0", 1)[0].lower()
    if b"parentfilenamehint" in descriptor:
        raise refused(path, "it is only a layer on top of another file", "vmware-vdiskmanager -r, or qemu-img convert")
    # What is missing at the file's end would be read as zeros
    if tables:
        _check_tables(path, "vmdk")
    return Recognized("vmdk", {"driver": "vmdk"})


def _vmdk_descriptor(path: Path, head: bytes, tables: bool) -> Recognized:
    raise refused(path, "its data is in other files", "qemu-img convert -O qcow2")


_BY_MAGIC: dict[bytes, Callable[[Path, bytes, bool], Recognized]] = {
    b"QFI\xfb": _qcow2,
    b"vhdxfile": _vhdx,
    b"KDMV": _vmdk,
    b"# Disk DescriptorFile": _vmdk_descriptor,
    vhd.COOKIE: _dynamic_vhd,
}


def _raw(path: Path, length: int) -> Recognized:
    table = partitions.read_table(path)
    if table is None and filesystems.identify(path) is None:
        raise BuildError(
            f"{path.name} is not a disk: it has no partition table and no known format",
            code="not-a-disk",
            hint="give a raw disk, qcow2, VHD, VHDX or VMDK",
        )
    for part in table.partitions if table else ():
        if part.start + part.size > length:
            raise volumes.cut_off(path.name, part.number)
    return Recognized("raw", {"driver": "raw"})


def refused(path: Path, why: str, remedy: str) -> BuildError:
    """The error for a disk file that needs more than itself."""
    return BuildError(f"{path.name} can't be used: {why}", code="disk-file-refused", hint=f"make it whole: {remedy}")


def truncated(path: Path) -> BuildError:
    """The error for a disk file that was cut off."""
    return BuildError(
        f"{path.name} was cut off: data that its tables name is missing",
        code="disk-file-broken",
        hint="copy or download it again",
    )


def import_disk(
    source: Path,
    target: Path,
    format: str | None = None,
    *,
    recognized: Recognized | None = None,
    stop: threading.Event | None = None,
) -> str:
    """Convert a disk file into a new layer `target` without a parent; return what it was (one of FORMATS).

    Its virtual size is rounded up to whole MiB; a GPT whose backup is then out of place, or whose primary is broken, is
    put right (`partitions.repair_gpt`). Needs root. `format` is what the user says it is: another one is an error;
    `recognized` is what a caller found out before, and is believed instead of a damaged footer. `target` exists only
    when it is complete. Raises what `recognize` raises, BuildError ("disk-format", "disk-full", "disk-file-broken",
    "partition-table"), what `export.exported` raises, and Interrupted when `stop` is set.
    """
    try:
        found = recognized or recognize(source)
    except FileNotFoundError as error:
        raise BuildError(f"there is no file {source}", code="source-missing", hint="check the path") from error
    if format is not None and format != found.format:
        raise BuildError(
            f"{source.name} is {found.format}, not {format}", code="disk-format", hint="leave the format out"
        )
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        if found.format == "qcow2" and _is_like_a_layer(source):
            _copy(source, unfinished, stop)
        else:
            _convert(source, unfinished, found, stop)
        size = layers.virtual_size(unfinished)
        if size != vhd.whole_mib(size):
            layers.resize(unfinished, vhd.whole_mib(size))
        with TemporaryDirectory(dir=target.parent, prefix=".import-") as folder:
            layer = layers.DiskLayer(unfinished)
            with export.exported(layer, folder=Path(folder), writable=True) as disk:
                partitions.repair_gpt(disk, size)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return found.format


def _is_like_a_layer(path: Path) -> bool:
    """Whether a qcow2 file is as `_convert` would make it: then a copy is as good, and quicker.

    Offsets are those of QEMU's docs/interop/qcow2: no snapshots (they hold old content), no features but lazy
    refcounts, clusters of our size, nothing compressed.
    """
    with path.open("rb") as file:
        head = file.read(104)
    version, cluster_bits = struct.unpack_from(">I", head, 4)[0], struct.unpack_from(">I", head, 20)[0]
    if version < 3 or 1 << cluster_bits != layers.CLUSTER_SIZE:
        return False
    snapshots = struct.unpack_from(">I", head, 60)[0]
    incompatible, compatible, autoclear, refcount_order = struct.unpack_from(">QQQI", head, 72)
    plain = compatible & ~_QCOW2_LAZY_REFCOUNTS == 0 and refcount_order == 4
    if snapshots or incompatible or autoclear or not plain:
        return False
    return all(extent.file is not None for extent in layers.extents(path))


def _copy(source: Path, target: Path, stop: threading.Event | None) -> None:
    try:
        contents.copy_sparse(source, target, stop=stop)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _full(source, target, str(error)) from error


def _full(source: Path, target: Path, detail: str | None) -> BuildError:
    return BuildError(
        f"this host's disk is full: {source.name} doesn't fit in {target.parent}",
        code="disk-full",
        hint="make room there, then build again",
        detail=detail,
    )


def _convert(source: Path, target: Path, found: Recognized, stop: threading.Event | None) -> None:
    options = {**found.options, "file.driver": "file", "file.filename": os.fspath(source.absolute())}
    described = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in options.items())
    words = [layers.qemu_img(), "convert", "-q", "-W", "-m", "8", "--image-opts", described, "-O", "qcow2"]
    words += ["-o", f"cluster_size={layers.CLUSTER_SIZE},lazy_refcounts=on", target.name]
    try:
        process.stream(words, on_line=lambda line: None, cwd=target.parent, stop=stop)
    except process.CommandFailed as error:
        if stop is not None and stop.is_set():
            raise Interrupted("interrupted", code="interrupted") from error
        if os.strerror(errno.ENOSPC) in error.tail:
            raise _full(source, target, error.detail) from error
        raise BuildError(
            f"{source.name} can't be read as {found.format}",
            code="disk-file-broken",
            hint="copy or download it again",
            detail=error.detail,
        ) from error
