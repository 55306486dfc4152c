"""A base disk that takes a minute to make is made once, for all tests and all runs."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.guest.apt_sources import host_sources
from builder.machines.local.bootstrap import make_base, resolve
from builder.model.canonical import digest as digest_of
from builder.model.canonical import short
from builder.model.spec import OsSpec

CACHE = Path(__file__).parents[2] / ".build" / "test-cache"


def package_sources(suite: str) -> str:
    """`host` where this host runs the same suite: its mirror is near."""
    try:
        host_sources(suite)
    except BuildError:
        return "image"
    return "host"


@pytest.fixture(scope="session")
def debian_base() -> Path:
    """A Debian 12 disk as `bootstrap` makes it (qcow2, 30 GiB). Read-only: work on a layer above it."""
    inputs = resolve(OsSpec("linux", "debian", "12"), {})
    folder = CACHE / f"debian-12-{short(digest_of(inputs))}"
    base = folder / "base.qcow2"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Another test run may be making the same one
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.exists():
            with (folder / "log").open("w") as log:
                make_base(
                    inputs,
                    base,
                    work=folder,
                    package_sources=package_sources(inputs["suite"]),
                    on_line=lambda line: print(line, file=log, flush=True),
                    progress=lambda doing: None,
                    stop=None,
                )
            base.chmod(0o444)
    return base
