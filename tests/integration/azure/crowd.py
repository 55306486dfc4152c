"""`build apply` in a process of its own, against a simulator in another, on that one's clock.

`python -m tests.integration.azure.crowd ENDPOINT SECURE_ENDPOINT SUBSCRIPTION ELAPSED IMAGES ARGUMENT...` is the inner
process; `apply` starts it. They speak by lines of JSON on the inner one's standard output and input: `{"pass": 12.5}`
asks that so many seconds pass, and is answered when they have; `{"done": ...}` is the last.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builder.events import Event, ImageFailed, ImageFinished, ImageStarted
from builder.report.progress import Progress
from tests.azure import Simulator
from tests.azure.clock import ROUNDING, START

TOGETHER_SECONDS = 300.0
# Real time in which nothing happens: not just a thread that has to wait for its turn on a busy host
TICK_SECONDS, QUIET_TICKS = 0.1, 10


@dataclass(frozen=True)
class Applied:
    """What became of it. `peak` is its largest resident memory, in bytes."""

    exit_code: int
    throttled: int
    calls: int
    peak: int
    seconds: float
    errors: str


def apply(azure: Simulator, folder: Path, images: int, *arguments: str) -> Applied:
    """`build apply ARGUMENT...` in `folder`, whose images all begin at the same moment."""
    root = Path(__file__).parents[3]
    given = (azure.endpoint, azure.secure_endpoint, azure.subscription, repr(azure.clock.elapsed), str(images))
    command = [sys.executable, "-m", "tests.integration.azure.crowd", *given, *arguments]
    began = azure.clock.elapsed
    with (
        (folder / "errors").open("w+b") as errors,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            env={**os.environ, "PYTHONPATH": str(root)},
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            done = _serve(azure, process.stdin, process.stdout)
        finally:
            process.kill()
        errors.seek(0)
        told = errors.read().decode()
    assert done is not None, told
    return Applied(**done, seconds=azure.clock.elapsed - began, errors=told)


def _serve(azure: Simulator, answers: IO[bytes], questions: IO[bytes]) -> dict[str, float] | None:
    for line in questions:
        asked = json.loads(line)
        if "done" in asked:
            found: dict[str, float] = asked["done"]
            return found
        azure.clock.advance(asked["pass"])
        answers.write(b"\n")
        answers.flush()
    return None


class FarClock:
    """The simulator's clock from another process, as the gateway takes one: it stands until everybody waits.

    The simulator's own wakes all who sleep at each of its moves; here are hundreds, so that each is woken alone. Those
    who wait for another's answer don't sleep on the clock: when nothing at all happens any more, it moves too.
    """

    def __init__(self, elapsed: float, ask: IO[str], answer: IO[str]) -> None:
        self._elapsed = elapsed
        self._ask, self._answer = ask, answer
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._workers = 0
        self._happened = 0
        threading.Thread(target=self._watch, name="clock", daemon=True).start()

    def now(self) -> float:
        return START.timestamp() + self._elapsed

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> None:
        awake = threading.Event()
        with self._lock:
            self._happened += 1
            heapq.heappush(self._asleep, (self._elapsed + max(0.0, seconds), next(self._numbers), awake))
            self._move()
        awake.wait()

    def work(self, more: int) -> None:
        """A thread begins (1) or ends (-1) to work: time doesn't pass while it is awake."""
        with self._lock:
            self._happened += 1
            self._workers += more
            self._move()

    def _watch(self) -> None:
        before, quiet = 0, 0
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                quiet = quiet + 1 if self._happened == before else 0
                before = self._happened
                if quiet >= QUIET_TICKS and self._asleep:
                    self._pass()
                    quiet = 0

    def _move(self) -> None:
        """Let time pass once as many sleep as work."""
        if self._asleep and len(self._asleep) >= self._workers:
            self._pass()

    def _pass(self) -> None:
        """Let time pass until the first wakes."""
        seconds = max(0.0, self._asleep[0][0] - self._elapsed)
        if seconds:
            print(json.dumps({"pass": seconds}), file=self._ask, flush=True)
            self._answer.readline()
            self._elapsed += seconds
        while self._asleep and self._asleep[0][0] <= self._elapsed + ROUNDING:
            heapq.heappop(self._asleep)[2].set()


class Crowd(Progress):
    """Lets time pass only while every image waits. They begin together."""

    def __init__(self, clock: FarClock, images: int) -> None:
        self._clock = clock
        self._together = threading.Barrier(images)

    def __call__(self, event: Event) -> None:
        if isinstance(event, ImageStarted):
            self._clock.work(1)
            self._together.wait(TOGETHER_SECONDS)
        elif isinstance(event, ImageFinished | ImageFailed):
            self._clock.work(-1)


def main() -> None:
    from builder.azure import connection
    from builder.azure.clouds import Cloud
    from builder.cli import main as cli
    from builder.report import progress
    from tests.azure.simulator import Credential

    endpoint, secure, subscription, elapsed, images, *arguments = sys.argv[1:]
    # What the command prints goes where errors go
    ask, sys.stdout = sys.stdout, sys.stderr
    clock = FarClock(float(elapsed), ask, sys.stdin)
    cloud = Cloud("Simulated", endpoint, secure, "https://management.azure.com", "core.windows.net", custom=True)
    azure = connection.make(subscription, cloud, Credential(), clock)
    connection.connect = lambda *_, **__: azure
    progress.progress_for = lambda mode: Crowd(clock, int(images))
    sys.argv = ["build", "apply", "--yes", *arguments]
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    done = {
        "exit_code": code, "throttled": azure.calls.throttled, "calls": azure.calls.total, "peak": peak(),
    }  # fmt: skip
    print(json.dumps({"done": done}), file=ask, flush=True)


def peak() -> int:
    """The largest resident memory that this process has had, in bytes.

    Not getrusage's: that one keeps what the parent had when it forked.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
