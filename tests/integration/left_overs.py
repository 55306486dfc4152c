"""What a dead or finished build must not leave on this host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.waiting import wait_until

PROGRAMS = ("qemu-storage-daemon", "qemu-system-x86", "qemu-img", "bwrap", "mmdebstrap")


@dataclass(frozen=True)
class Left:
    """Mounts, loop devices in use, and processes."""

    mounts: frozenset[str] = frozenset()
    loops: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()

    def __sub__(self, other: Left) -> Left:
        return Left(self.mounts - other.mounts, self.loops - other.loops, self.processes - other.processes)


def _processes() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if state != "Z" and name in {program[:15] for program in PROGRAMS}:
                yield f"{name} {entry.name}"


def look() -> Left:
    """What there is this moment."""
    mounts = Path("/proc/1/mounts").read_text().splitlines() + Path("/proc/self/mounts").read_text().splitlines()
    loops = subprocess.run(
        ["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"], capture_output=True, text=True, check=True
    )
    return Left(frozenset(mounts), frozenset(loops.stdout.split("\n")), frozenset(_processes()))


def left_now() -> Left:
    """What there is once it stands still: the kernel lets go of a dead process' loop devices a moment later."""
    seen = [look()]

    def still() -> bool:
        seen.append(look())
        return seen[-1] == seen[-2]

    wait_until(still)
    return seen[-1]
