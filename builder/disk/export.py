"""A qcow2 layer as a raw file, by qemu-storage-daemon and FUSE: no block device driver, gone when we are."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder import process
from builder.disk.layers import DiskLayer
from builder.disk.mounts import require_root
from builder.errors import BuildError

# Far longer than any layer needs to open or close; only a hung host reaches it
PATIENCE_SECONDS = 120.0
# The daemon must not share the namespace in which its file's content is mounted. When we are killed and it is the last
# one there, its exit would unmount, and wait for writes that only it could answer: forever. So apart, our own exit
# unmounts, while the daemon still lives.
_APART = ("unshare", "--mount", "--propagation", "private", "--")
# After a failed write, a host that can't give this much was full
FULL_BELOW = 16 * 1024 * 1024


@contextmanager
def exported(layer: DiskLayer, *, folder: Path, writable: bool) -> Iterator[Path]:
    """Show a layer (and what is below it) as a raw file, for the length of the block; give the file's path.

    The path leads into the daemon's own mount namespace: use it as it is (resolving its links would lose the way).
    `folder` is for the daemon's files. When the block ends well, a writable layer is complete and stored on the host's
    disk.

    Raises BuildError: "export-failed" when the layer can't be opened or closed (the daemon's own words as detail),
    "disk-full" when the host's disk had no room for it, "needs-root".
    """
    require_root("open disk layers")
    program = process.find_program("qemu-storage-daemon", package="qemu-utils", why="open disk layers")
    point = folder.absolute() / f"{layer.name}.raw"
    log_path = folder / f"{layer.name}.log"
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        ours.settimeout(PATIENCE_SECONDS)
        log = stack.enter_context(log_path.open("wb"))
        stack.callback(point.unlink, missing_ok=True)
        point.touch()
        with theirs:
            command = [*_APART, program, *_options(layer.path, point, writable, theirs.fileno())]
            daemon = stack.enter_context(process.daemon(command, log=log, pass_fds=[theirs.fileno()]))
        _wait_until_ready(ours, layer, log_path)
        yield Path(f"/proc/{daemon.pid}/root{point}")
        _close(ours, daemon, layer, log_path)
        if writable:
            _store(layer)


def _options(path: Path, point: Path, writable: bool, monitor: int) -> list[str]:
    disk = {
        "driver": "qcow2",
        "node-name": "disk",
        "read-only": not writable,
        "discard": "unmap",
        # The layer is worth nothing before it is complete, and is stored once then: see _store
        "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": os.fspath(path.absolute()), "discard": "unmap"},
    }
    export = {"type": "fuse", "id": "raw", "node-name": "disk", "mountpoint": os.fspath(point), "writable": writable}
    options = ["--blockdev", json.dumps(disk), "--export", json.dumps(export)]
    return [*options, "--chardev", f"socket,id=monitor,fd={monitor}", "--monitor", "chardev=monitor"]


def _wait_until_ready(monitor: socket.socket, layer: DiskLayer, log: Path) -> None:
    """The daemon greets on its monitor once everything that it was told to export is there; else it ends."""
    try:
        greeting = monitor.recv(64 * 1024)
    except (TimeoutError, ConnectionResetError):
        greeting = b""
    if not greeting:
        words = _last_words(log)
        hint = "remove the checkpoint's folder and build again"
        if "fuse" in words.lower():
            hint = "FUSE is needed: modprobe fuse; in a container, give it /dev/fuse and the capability SYS_ADMIN"
        elif "lock" in words:
            hint = "another program uses this disk: end it first"
        raise BuildError(f"the disk layer {layer.path} can't be opened", code="export-failed", hint=hint, detail=words)


def _close(monitor: socket.socket, daemon: subprocess.Popen[bytes], layer: DiskLayer, log: Path) -> None:
    """Let the daemon write what it holds and end."""
    reason: Exception | None = None
    try:
        for command in ("qmp_capabilities", "quit"):
            monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
        daemon.wait(PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error
    words = _last_words(log)
    if daemon.poll() != 0 or "Failed to flush" in words or os.strerror(errno.ENOSPC) in words:
        raise why_writes_fail(layer, words) from reason


def _store(layer: DiskLayer) -> None:
    """Bring the complete layer to the disk: the daemon doesn't."""
    descriptor = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise why_writes_fail(layer, str(error)) from error
    finally:
        os.close(descriptor)


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-4096:].strip()


def why_writes_fail(layer: DiskLayer, detail: str = "") -> BuildError:
    """The error for a layer that could not be written: "disk-full" when the host has no room, else "export-failed"."""
    folder = layer.path.parent
    if os.strerror(errno.ENOSPC) in detail or not _has_room(folder):
        return BuildError(
            f"this host's disk is full: there was no room for the changes of disk {layer.name} in {folder}",
            code="disk-full",
            hint="make room there (`build gc` removes what no run needs), then build again",
            detail=detail or None,
        )
    return BuildError(
        f"the changes of disk {layer.name} could not be written to {layer.path}",
        code="export-failed",
        hint="look for disk errors of this host (dmesg), then build again",
        detail=detail or None,
    )


def _has_room(folder: Path) -> bool:
    """Whether the host's disk, or our quota on it, still has space. Free space alone wouldn't tell of quotas."""
    probe = folder / f".room-{os.getpid()}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, FULL_BELOW)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return False
        raise
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
    return True
