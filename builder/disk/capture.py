"""From a layer to the fixed VHD that Azure takes, without reading what is empty."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from builder import process
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
    """Write the disk that `layer` shows as a sparse fixed VHD, stored when this returns.

    Equal content gives equal bytes. `progress` gets the bytes read and the bytes to be read, from any thread. Nothing
    is left at `target` on failure. Raises BuildError ("vhd-size" for a disk that isn't whole MiB, "disk-full"),
    Interrupted when `stop` is set.
    """
    size = layers.virtual_size(layer)
    vhd.make_footer(size, content_digest="")  # a size that Azure refuses is told before the work
    halt = threading.Event()
    with ExitStack() as unfinished:
        unfinished.callback(target.unlink, missing_ok=True)
        with ThreadPoolExecutor(1, thread_name_prefix="capture") as pool, ExitStack() as stack:
            stack.callback(halt.set)
            # qemu-img copies while we hash: the second to read a block finds it in the host's memory
            copied = pool.submit(_copy, layer, target, halt)
            found = _read(layer, size, progress, stop)
            copied.result()
        try:
            with target.open("r+b") as file:
                file.truncate(size)
                file.seek(size)
                file.write(vhd.make_footer(size, content_digest=found.digest))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _not_written(target, error.strerror or str(error)) from error
        unfinished.pop_all()
    return Captured(size, found.digest, found.data_bytes)


def _copy(layer: Path, target: Path, halt: threading.Event) -> None:
    """Write the disk as a raw file that is sparse and stored. `halt` ends it early, without an error."""
    # Past the host's memory where the file system can: what is written there would only have to be stored afterwards
    cache = "none" if _writes_directly(target) else "writeback"
    options = ["convert", "-q", "-W", "-m", "8", "-t", cache, "-f", "qcow2", "-O", "raw"]
    try:
        process.stream([layers.qemu_img(), *options, layer, target], stop=halt)
    except process.CommandFailed as error:
        if not halt.is_set():
            raise _not_written(target, error.tail) from error


def _writes_directly(target: Path) -> bool:
    """Whether the target's file system takes O_DIRECT (tmpfs may not)."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_DIRECT | os.O_CLOEXEC, 0o644))
    except OSError:
        return False
    return True


def _read(layer: Path, size: int, progress: Progress, stop: threading.Event | None) -> contents.Contents:
    extents = layers.extents(layer)
    sources: dict[Path | None, int] = {}
    with ExitStack() as stack:
        for file in {extent.file for extent in extents}:
            path = _uncompressed(layer, stack) if file is None else file
            sources[file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, sources[file])
        total = sum(extent.length for extent in extents)
        return contents.read_contents(extents, size, sources=sources, progress=progress, total=total, stop=stop)


def _uncompressed(layer: Path, stack: ExitStack) -> Path:
    """A file that shows the whole disk, for what is compressed in the layers."""
    private_mounts()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="build-", dir=layer.parent)))
    return stack.enter_context(exported(DiskLayer(layer), folder=folder, writable=False))


def _not_written(target: Path, why: str) -> BuildError:
    if any(os.strerror(number) in why for number in (errno.ENOSPC, errno.EDQUOT)):
        return BuildError(
            f"this host's disk is full: the captured disk doesn't fit in {target.parent}",
            code="disk-full",
            hint="make room there (`build gc` removes what no run needs), then build again",
        )
    return BuildError(
        f"the captured disk can't be written to {target}",
        code="capture-failed",
        hint="look for disk errors of this host (dmesg), then build again",
        detail=why,
    )
