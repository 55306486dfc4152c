"""From a layer to the fixed VHD that Azure takes, without reading what is empty."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from builder.disk import contents, layers, vhd
from builder.disk.contents import Progress, no_progress
from builder.disk.export import exported
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts
from builder.errors import BuildError


@dataclass(frozen=True)
class Captured:
    """A captured disk. `size` is virtual, `data_bytes` what isn't zero, in bytes; `digest` its content's."""

    size: int
    digest: str
    data_bytes: int


def write_fixed_vhd(
    layer: Path, target: Path, *, progress: Progress = no_progress, stop: threading.Event | None = None
) -> Captured:
    """Write the disk that `layer` shows as a sparse fixed VHD. Whoever gives it a name stores it (fsync).

    Equal content gives equal bytes. `progress` gets the bytes read and the bytes to be read, from any thread. Nothing
    is left at `target` on failure. Raises BuildError ("vhd-size" for a disk that isn't whole MiB, "disk-full"),
    Interrupted when `stop` is set.
    """
    size = layers.virtual_size(layer)
    vhd.make_footer(size, content_digest="")  # a size that Azure refuses is told before the work
    with ExitStack() as unfinished:
        unfinished.callback(target.unlink, missing_ok=True)
        try:
            with target.open("xb") as file:
                file.truncate(size)
                found = _copy(layer, size, file.fileno(), progress, stop)
                file.seek(size)
                file.write(vhd.make_footer(size, content_digest=found.digest))
        except OSError as error:
            raise _not_written(target, error) from error
        unfinished.pop_all()
    return Captured(size, found.digest, found.data_bytes)


def _copy(layer: Path, size: int, target: int, progress: Progress, stop: threading.Event | None) -> contents.Contents:
    """Read what the layer holds once: hash it, and write it to the open file `target`."""
    extents = layers.extents(layer)
    sources: dict[Path | None, int] = {}
    with ExitStack() as stack:
        for file in {extent.file for extent in extents}:
            path = _uncompressed(layer, stack) if file is None else file
            sources[file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, sources[file])
        total = sum(extent.length for extent in extents)
        return contents.read_contents(
            extents, size, sources=sources, progress=progress, total=total, stop=stop, target=target
        )


def _uncompressed(layer: Path, stack: ExitStack) -> Path:
    """A file that shows the whole disk, for what is compressed in the layers."""
    private_mounts()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="build-", dir=layer.parent)))
    return stack.enter_context(exported(DiskLayer(layer), folder=folder, writable=False))


def _not_written(target: Path, error: OSError) -> BuildError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(
            f"this host's disk is full: the captured disk doesn't fit in {target.parent}",
            code="disk-full",
            hint="make room there (`build gc` removes what no run needs), then build again",
        )
    return BuildError(
        f"the captured disk can't be written to {target}",
        code="capture-failed",
        hint="look for disk errors of this host (dmesg), then build again",
        detail=error.strerror or str(error),
    )
