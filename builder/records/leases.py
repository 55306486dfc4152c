"""Leases: one run at a time works on an image. The kernel ends a lease when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import Interrupted, Locked

RETRY_SECONDS = 0.2


@contextmanager
def lease(
    path: Path,
    *,
    what: str,
    run: str,
    timeout: float,
    on_wait: Callable[[str], None],
    stop: threading.Event | None = None,
) -> Iterator[None]:
    """Hold the lease of `path` (a lock file that stays) for the length of the block.

    Waits up to `timeout` seconds, telling `on_wait` once who holds it. Raises Locked with the holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout
        told = False
        pause = stop if stop is not None else threading.Event()
        while not _try(descriptor):
            holder = _holder(path)
            if pause.is_set():
                raise Interrupted(f"interrupted while waiting for {holder}", code="interrupted")
            if time.monotonic() >= deadline:
                raise Locked(
                    f"{what} is being worked on by {holder}",
                    code="locked",
                    hint="wait for it to end, or give --lock-timeout; the lease ends with that process",
                )
            if not told:
                on_wait(holder)
                told = True
            pause.wait(RETRY_SECONDS)
        holder_facts = {"run": run, "pid": os.getpid(), "host": platform.node(), "since": _now()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder_facts).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return "another run"  # it holds the lease and has not written its name yet
    return f"run {facts['run']} (process {facts['pid']} on {facts['host']}, since {facts['since']})"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
