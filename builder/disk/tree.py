"""Reading a guest's files without ever leaving its root: its symbolic links are followed inside it, by the kernel.

A guest's disk may be hostile: a link `/etc/passwd -> /etc/shadow` in it must mean the guest's file, not the host's.
Source: openat2(2) with RESOLVE_IN_ROOT (Linux 5.6).
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError

_LIBC = ctypes.CDLL(None, use_errno=True)
# The number is the same on every architecture; Python 3.11 has no wrapper
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_OPEN_HOW = struct.Struct("=QQQ")
_RETRIES = 16
LARGEST_READ = 16 * 1024 * 1024


@dataclass(frozen=True)
class GuestTree:
    """The file tree below `root` (a folder of this host). Paths are the guest's: absolute, with `/` as its root.

    What is missing or no such thing raises the usual OSError (FileNotFoundError, NotADirectoryError, ...).
    """

    root: Path

    @contextmanager
    def opened(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """A descriptor of a file or folder. `flags` are of open(2); use O_PATH to only refer to it."""
        descriptor = self._open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, path: str, flags: int) -> int:
        # A guest's terminal device must not become ours; openat2 refuses what O_PATH would ignore
        flags |= os.O_CLOEXEC | (0 if flags & os.O_PATH else os.O_NOCTTY)
        how = _OPEN_HOW.pack(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for _ in range(_RETRIES):
                result = int(_LIBC.syscall(_OPENAT2, root, os.fsencode(path), how, ctypes.c_size_t(len(how))))
                number = ctypes.get_errno()
                # EAGAIN: something was renamed while the path was looked up
                if result >= 0 or number != errno.EAGAIN:
                    break
        finally:
            os.close(root)
        if result >= 0:
            return result
        if number in (errno.ENOSYS, errno.EPERM):
            raise BuildError(
                "this host can't look up paths inside a disk safely (openat2)",
                code="kernel-too-old",
                hint="use Linux 5.6 or later; in a container, allow the system call openat2",
            )
        raise OSError(number, os.strerror(number), path)

    def resolve(self, path: str) -> Path:
        """Where an existing path stands on this host, all links resolved inside the guest. Don't keep it for long."""
        with self.opened(path, os.O_PATH) as descriptor:
            return Path(f"/proc/self/fd/{descriptor}").readlink()

    def lstat(self, path: str) -> os.stat_result:
        """The status of a path; of a link itself when the path ends in one."""
        with self.opened(path, os.O_PATH | os.O_NOFOLLOW) as descriptor:
            return os.fstat(descriptor)

    def stat(self, path: str) -> os.stat_result:
        """The status of what a path leads to."""
        with self.opened(path, os.O_PATH) as descriptor:
            return os.fstat(descriptor)

    def exists(self, path: str) -> bool:
        """Whether the path leads to something."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
            raise
        return True

    def is_link(self, path: str) -> bool:
        """Whether there is a symbolic link at the path, wherever it leads."""
        try:
            return stat.S_ISLNK(self.lstat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_file(self, path: str) -> bool:
        """Whether the path leads to a regular file."""
        return self.exists(path) and stat.S_ISREG(self.stat(path).st_mode)

    def is_folder(self, path: str) -> bool:
        """Whether the path leads to a folder."""
        return self.exists(path) and stat.S_ISDIR(self.stat(path).st_mode)

    def read_link(self, path: str) -> str:
        """What the symbolic link at the path says."""
        with self.opened(path, os.O_PATH | os.O_NOFOLLOW) as descriptor:
            return os.readlink("", dir_fd=descriptor)

    def read_bytes(self, path: str, limit: int = LARGEST_READ) -> bytes:
        """The first `limit` bytes of a regular file. Pipes and devices raise OSError, so that nothing can block us."""
        # Without O_NONBLOCK, opening a named pipe would wait for its writer
        with self.opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit)

    def read_text(self, path: str, limit: int = LARGEST_READ) -> str:
        """As `read_bytes`, decoded as UTF-8; bytes that are none come as surrogates."""
        return self.read_bytes(path, limit).decode("utf-8", errors="surrogateescape")

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted."""
        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor, os.scandir(descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def walk(self, top: str = "/") -> Iterator[tuple[str, os.stat_result]]:
        """Everything below the folder `top`, with its own status: each folder before what it holds, names in order.

        Links are told, not followed. What vanishes meanwhile is left out.
        """
        folder = top.rstrip("/")
        found: list[tuple[str, os.stat_result]] = []
        with self.opened(top, os.O_RDONLY | os.O_DIRECTORY) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((f"{folder}/{entry.name}", entry.stat(follow_symlinks=False)))
        for path, status in sorted(found):
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(path)

    def glob(self, pattern: str) -> Iterator[str]:
        """The existing paths that match an absolute pattern, in order.

        `*`, `?` and `[...]` mean what a shell makes of them (none matches a leading dot); `**` is any depth of folders.
        """
        yield from self._glob("", [part for part in pattern.split("/") if part])

    def _glob(self, folder: str, parts: list[str]) -> Iterator[str]:
        if not parts:
            yield folder or "/"
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._glob(folder, rest)
            for path, status in self.walk(folder or "/") if self.is_folder(folder or "/") else ():
                if stat.S_ISDIR(status.st_mode):
                    yield from self._glob(path, rest)
        elif not any(sign in part for sign in "*?["):
            path = f"{folder}/{part}"
            if self.exists(path) or self.is_link(path):
                yield from self._glob(path, rest)
        elif self.is_folder(folder or "/"):
            for name in self.names(folder or "/"):
                if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith(".")):
                    yield from self._glob(f"{folder}/{name}", rest)
