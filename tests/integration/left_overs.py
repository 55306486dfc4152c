"""What a dead or finished build must not leave on this host: looked for by the folder that it worked in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.waiting import wait_until


@dataclass(frozen=True)
class Left:
    """Mounts, loop devices and processes that have to do with a folder."""

    mounts: frozenset[str] = frozenset()
    loops: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()


def _processes(folder: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if folder in command:
                yield f"{entry.name}: {command}"


def look(folder: Path) -> Left:
    """What there is this moment."""
    name = str(folder)
    mounts = {line for file in ("/proc/1/mounts", "/proc/self/mounts") for line in Path(file).read_text().splitlines()}
    command = ["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"]
    loops = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return Left(
        frozenset(line for line in mounts if name in line),
        frozenset(line for line in loops if name in line),
        frozenset(_processes(name)),
    )


def left_in(folder: Path) -> Left:
    """What is left once nothing goes any more: the kernel lets go of a dead process' loop devices a moment later."""
    wait_until(lambda: look(folder) == Left())
    return look(folder)
