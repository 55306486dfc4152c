"""The log of one image's build: everything that steps print, redacted, bounded, and the last line for the display."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from builder.events import StepOutput
from builder.model.run import Run
from builder.model.steps import Step

# What one step may write to the log; past it only the end is kept in memory for the error message
MOST_PER_STEP = 32 * 1024 * 1024


class StepLog:
    """Writes `<run>/<image>.log`. Use it as a context manager. Thread-safe."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self._run = run
        self._file: IO[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> StepLog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", errors="replace")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def begin(self, step: Step, *, beside: bool = False) -> Callable[[str], None]:
        """Head the output of a step. Returns what takes whole lines of it, one or more at a time.

        `beside`: other steps print at the same time, so that each line says whose it is.
        """
        time = datetime.now(UTC).strftime("%H:%M:%S")
        self._write(f"=== {time} step {step.index}: {step.title} [{step.kind}]\n")
        mark, left = f"[{step.index}] " if beside else "", MOST_PER_STEP

        def lines(text: str) -> None:
            nonlocal left
            text = self._run.redactor.text(text)
            if left > 0:
                shown = text[:left]
                self._write(mark + shown.replace("\n", f"\n{mark}") + "\n")
                left -= len(text) + 1
                if left <= 0:
                    self._write(f"[the rest of this step's output is left out: more than {MOST_PER_STEP >> 20} MiB]\n")
            last = text.rstrip("\n").rpartition("\n")[2]
            if last.strip():
                self._run.emit(StepOutput(image=self._run.image.name, index=step.index, line=last))

        return lines

    def _write(self, text: str) -> None:
        assert self._file is not None
        with self._lock:
            self._file.write(text)
            self._file.flush()
