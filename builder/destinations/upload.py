"""Disk files of this host as what an upload takes: a fixed VHD with its holes. Other formats are converted first."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.disk import capture, importing, vhd
from builder.disk.contents import data_ranges
from builder.errors import BuildError


class FileDisk:
    """A fixed VHD in a file. Holes of the file aren't read."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    def extents(self) -> Iterator[tuple[int, int]]:
        """The ranges of the file that aren't holes."""
        return data_ranges(self._descriptor, 0, self.size)

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly these bytes. Raises BuildError ("disk-file-broken") when the file was cut off meanwhile."""
        try:
            data = os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise BuildError(
                f"{self.path.name} can't be read: {error.strerror}",
                code="disk-file-broken",
                hint="look for disk errors of this host (dmesg)",
            ) from error
        if len(data) != length:
            raise BuildError(
                f"{self.path.name} was cut off while it was read",
                code="disk-file-broken",
                hint="leave the file alone until it is uploaded",
            )
        return data


@contextmanager
def vhd_source(path: Path, *, work: Path, stop: threading.Event | None = None) -> Iterator[FileDisk]:
    """A disk file of any format that build reads, as a fixed VHD of whole MiB for the length of the block.

    One that is no such VHD is converted in `work`, which needs room for its data twice, and root. Raises what
    `importing.import_disk` and `capture.write_fixed_vhd` raise.
    """
    with tempfile.TemporaryDirectory(prefix="upload-", dir=work) as folder:
        file = path if _is_ready(path) else _converted(path, Path(folder), stop)
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield FileDisk(file, descriptor)
        finally:
            os.close(descriptor)


def _is_ready(path: Path) -> bool:
    """Whether a file is a fixed VHD of whole MiB."""
    try:
        found = importing.recognize(path)
    except FileNotFoundError as error:
        raise BuildError(f"there is no file {path}", code="source-missing", hint="check the path") from error
    # A dynamic VHD is opened by another driver than one that is raw up to its footer
    if found.format != "vhd" or found.options["driver"] != "raw":
        return False
    return int(found.options["size"]) % vhd.MIB == 0


def _converted(path: Path, folder: Path, stop: threading.Event | None) -> Path:
    layer, target = folder / "disk.qcow2", folder / f"{path.name}.vhd"
    importing.import_disk(path, layer, stop=stop)
    capture.write_fixed_vhd(layer, target, stop=stop)
    layer.unlink()
    return target
