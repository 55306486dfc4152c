"""Mount namespaces, loop devices and mounts, by the kernel's own calls: quick, without races, gone when we are killed.

Sources: Linux `include/uapi/linux/{loop,fs,btrfs}.h`, mount(2), unshare(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import BuildError

_LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
MNT_DETACH = 2
MS_REC, MS_SLAVE = 0x4000, 0x80000
MOUNT_FLAGS = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x400, "bind": 0x1000, "rw": 0}

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
# struct loop_config: fd, block size, struct loop_info64, 8 reserved words
_LOOP_CONFIG = struct.Struct("=II QQQQQ IIII 64s 64s 32s 16s 64x".replace(" ", ""))
_FITRIM = 0xC0185879
_TRIM_RANGE = struct.Struct("=QQQ")
_BTRFS_FORGET = 0x50009405
EVERYTHING = (0, 2**64 - 1)

BUSY_SECONDS = 10.0
_LOOP_ATTEMPTS = 64
_private: set[int] = set()


def require_root(why: str) -> None:
    """Raise BuildError ("needs-root") unless we may mount."""
    if os.geteuid() != 0:
        raise BuildError(f"root is needed to {why}", code="needs-root", hint="run it with sudo")


def private_mounts() -> None:
    """Give this process a mount namespace of its own, once: what is mounted after is seen by us and our children only.

    It belongs to the calling thread and the threads and processes that it starts later, so call it early. Raises
    BuildError ("needs-root").
    """
    if _namespace() in _private:
        return
    require_root("mount disks")
    if _LIBC.unshare(CLONE_NEWNS):
        number = ctypes.get_errno()
        raise BuildError(
            f"this host refuses a mount namespace: {os.strerror(number)}",
            code="needs-root",
            hint="in a container, give it the capability SYS_ADMIN (docker run --privileged)",
        )
    # A slave: nothing of ours reaches the host, but what the host unmounts is unmounted here too
    _mount("none", "/", None, MS_REC | MS_SLAVE, "")
    _private.add(_namespace())


def _namespace() -> int:
    return Path("/proc/thread-self/ns/mnt").stat().st_ino


def _mount(source: str, target: str, kind: str | None, flags: int, data: str) -> None:
    result = _LIBC.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


@contextmanager
def loop_device(path: Path, *, offset: int = 0, size: int, read_only: bool = False) -> Iterator[Path]:
    """A block device that shows `size` bytes of a file from `offset` on (both whole sectors of 512 bytes).

    The kernel frees it when its last user is gone, so a killed process leaves none. Raises BuildError ("loop-device").
    """
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    backing = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        device, descriptor = _configured_loop(backing, offset, size, flags, path)
    finally:
        os.close(backing)
    try:
        yield device
    finally:
        with suppress(OSError):  # already cleared by its last user
            fcntl.ioctl(descriptor, LOOP_CLR_FD)
        os.close(descriptor)
        _wait_detached(device)


def _configured_loop(backing: int, offset: int, size: int, flags: int, path: Path) -> tuple[Path, int]:
    """A configured loop device and the open descriptor that keeps it."""
    config = _LOOP_CONFIG.pack(
        backing, 512, 0, 0, 0, offset, size, 0, 0, 0, flags, os.fsencode(path)[-63:], b"", b"", b""
    )  # fmt: skip
    try:
        with Path("/dev/loop-control").open("rb", buffering=0) as control:
            for _ in range(_LOOP_ATTEMPTS):
                device = Path(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}")
                descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(descriptor, LOOP_CONFIGURE, config)
                except OSError as error:
                    os.close(descriptor)
                    if error.errno != errno.EBUSY:
                        raise
                    continue  # another process was quicker: take the next free one
                return device, descriptor
    except OSError as error:
        raise BuildError(
            f"no loop device can be had for {path.name}: {error.strerror}",
            code="loop-device",
            hint="loop devices need root, /dev/loop-control and Linux 5.8 or later (modprobe loop)",
        ) from error
    raise BuildError("all loop devices are taken", code="loop-device", hint="see `losetup -a`")


def _wait_detached(device: Path) -> None:
    """Wait until the kernel has let go of the backing file: what exports it can be ended only then."""
    state = Path("/sys/block", device.name, "loop", "backing_file")
    deadline = time.monotonic() + BUSY_SECONDS
    ours = _backing_name(state)
    while ours and _backing_name(state) == ours and time.monotonic() < deadline:
        select.select([], [], [], 0.01)


def _backing_name(state: Path) -> str:
    try:
        return state.read_text()
    except OSError:
        return ""  # detached


@contextmanager
def mounted(device: Path, target: Path, *, type: str, options: Sequence[str] = ()) -> Iterator[Path]:
    """Mount `device` on the folder `target`. `options` as in fstab; those of the kernel become flags.

    Unmounting waits for processes that still use it. Raises OSError when the kernel refuses the mount (its errno says
    why), BuildError ("mount-busy") when it can't be unmounted.
    """
    flags = 0
    for option in options:
        flags |= MOUNT_FLAGS.get(option, 0)
    data = ",".join(option for option in options if option not in MOUNT_FLAGS)
    _mount(os.fspath(device), os.fspath(target), type, flags, data)
    try:
        yield target
    finally:
        unmount(target)
        if type == "btrfs":
            _forget_btrfs(device)


def unmount(target: Path) -> None:
    """Unmount, waiting for the processes that use it to end. Raises BuildError ("mount-busy") naming those that don't.

    Even then it is detached, so that it goes away with its last user.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while _LIBC.umount2(os.fsencode(target), 0):
        number = ctypes.get_errno()
        if number != errno.EBUSY:
            raise OSError(number, os.strerror(number), os.fspath(target))
        users = _users(target)
        if time.monotonic() >= deadline:
            _LIBC.umount2(os.fsencode(target), MNT_DETACH)
            names = ", ".join(f"{name} ({pid})" for pid, name in users.items()) or "unknown processes"
            raise BuildError(
                f"{target} is still in use by {names}",
                code="mount-busy",
                hint="a step left a program running: end it in the step's script",
            )
        _wait_for_one(users, min(0.2, deadline - time.monotonic()))


def _users(target: Path) -> dict[int, str]:
    """The processes that stand in, or have open, something below `target`: id to name."""
    found = {}
    inside = os.fspath(target)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            links = [folder / "cwd", folder / "root", folder / "exe", *(folder / "fd").iterdir()]
            for link in links:
                place = str(link.readlink())
                if place == inside or place.startswith(inside + "/"):
                    found[int(folder.name)] = (folder / "comm").read_text().strip()
                    break
    return found


def _wait_for_one(processes: Iterable[int], seconds: float) -> None:
    """Wait until one of the processes ends, for at most `seconds`."""
    descriptors = []
    try:
        for pid in processes:
            with suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
        select.select(descriptors, [], [], max(seconds, 0))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _forget_btrfs(device: Path) -> None:
    """Let the kernel forget a btrfs: it remembers each by its UUID, and would refuse an older state of the same one."""
    with suppress(OSError), Path("/dev/btrfs-control").open("rb", buffering=0) as control:  # kernels before 5.1
        fcntl.ioctl(control, _BTRFS_FORGET, bytearray(struct.pack("=q4088s", 0, os.fsencode(device))))


def fstrim(target: Path, ranges: Iterable[tuple[int, int]] = (EVERYTHING,)) -> int:
    """Tell the disk which blocks of a mounted filesystem are free. Returns how many bytes were.

    `ranges` are (start, length) in bytes of the filesystem. Raises OSError where that can't be done.
    """
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        total = 0
        for start, length in ranges:
            answer = fcntl.ioctl(descriptor, _FITRIM, _TRIM_RANGE.pack(start, length, 0))
            total += int(_TRIM_RANGE.unpack(answer)[1])
        return total
    finally:
        os.close(descriptor)


def sync_filesystem(descriptor: int) -> None:
    """Write out the filesystem that an open file is on.

    Raises OSError when anything written since the file was opened could not be stored (syncfs(2), Linux 5.8).
    """
    if _LIBC.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
