"""Folders for what is needed only while we work: gone when we end, and when we were killed, by the next one's start."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, removed at the block's end. Those of this prefix whose owners were killed go first.

    A folder is in use as long as somebody holds a lock on it, which the kernel releases when a process ends.
    """
    _sweep(parent, prefix)
    with ExitStack() as stack:
        folder = None
        while folder is None:
            folder = _locked(Path(tempfile.mkdtemp(dir=parent, prefix=prefix)), stack)
        stack.callback(shutil.rmtree, folder)
        yield folder


def _locked(folder: Path, stack: ExitStack) -> Path | None:
    """Hold the folder's lock. None when another one's sweep took the folder before: it knew of no owner."""
    try:
        descriptor = _open(folder)
    except FileNotFoundError:
        return None
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return folder if os.fstat(descriptor).st_nlink else None


def _sweep(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        # It may be another's (in a folder that all may write to), in use, or be swept by somebody else just now
        with ExitStack() as stack, suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            if folder.lstat().st_uid == os.geteuid():
                descriptor = _open(folder)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
