"""What the local benchmarks share: timing whole processes, medians and ratios, and one base disk."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "builder"]


@dataclass(frozen=True)
class Timing:
    """One run of a command: wall and processor seconds, and peak memory of the largest single process in MiB."""

    seconds: float
    cpu: float
    peak_mib: float


def timed(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Timing:
    """Run a command to its end; its output is shown when it fails."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({process.returncode}):\n{output[-4000:]}")
    return Timing(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Table:
    """Collects runs by name and prints medians with ratios to one of them."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Timing]] = {}

    def add(self, name: str, timing: Timing) -> None:
        self.runs.setdefault(name, []).append(timing)
        print(f"  {name}: {timing.seconds:.2f} s, {timing.peak_mib:.0f} MiB", file=sys.stderr, flush=True)

    def median(self, name: str) -> float:
        return statistics.median(run.seconds for run in self.runs[name])

    def show(self, reference: str) -> None:
        print("| what | median s | all s | CPU s | peak MiB | ratio |")
        print("|---|---|---|---|---|---|")
        for name, runs in self.runs.items():
            ratio = self.median(name) / self.median(reference)
            every = " / ".join(f"{run.seconds:.2f}" for run in runs)
            cpu = statistics.median(run.cpu for run in runs)
            peak = max(run.peak_mib for run in runs)
            print(f"| {name} | {self.median(name):.2f} | {every} | {cpu:.1f} | {peak:.0f} | {ratio:.2f} |")


def base_disk(folder: Path, size: int = 4 << 30) -> Path:
    """A Debian 12 base as qcow2, made once in `folder` by the bootstrap source."""
    target = folder / "base.qcow2"
    if not target.exists():
        from builder.machines.local.bootstrap import make_base, resolve
        from builder.model.spec import OsSpec

        print("making the base disk", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = resolve(OsSpec("linux", "debian", "12"), {"size": size})
        new = folder / "new.qcow2"
        make_base(
            inputs,
            new,
            work=folder,
            package_sources="host",
            on_line=lambda line: None,
            progress=lambda doing: print(f"  {doing}", file=sys.stderr),
            stop=None,
        )
        new.rename(target)
    return target
