"""The log of one image's build: everything that steps print, redacted, bounded, and the last line for the display."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from builder.events import StepOutput
from builder.model.run import Run
from builder.model.steps import Step

# What one step may write to the log; past it only the end is kept in memory for the error message
MOST_PER_STEP = 32 * 1024 * 1024


class StepLog:
    """Writes `<run>/<image>.log`. Use it as a context manager."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self._run = run
        self._file: IO[str] | None = None
        self._index = 0
        self._left = MOST_PER_STEP

    def __enter__(self) -> StepLog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", errors="replace")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def begin(self, step: Step) -> None:
        """Head the output of a step."""
        self._index = step.index
        self._left = MOST_PER_STEP
        time = datetime.now(UTC).strftime("%H:%M:%S")
        self._write(f"=== {time} step {step.index}: {step.title} [{step.kind}]\n")

    def lines(self, text: str) -> None:
        """One or more whole lines of output."""
        text = self._run.redactor.text(text)
        if self._left > 0:
            self._write(text[: self._left] + "\n")
            self._left -= len(text) + 1
            if self._left <= 0:
                self._write(f"[the rest of this step's output is left out: more than {MOST_PER_STEP >> 20} MiB]\n")
        last = text.rstrip("\n").rpartition("\n")[2]
        if last.strip():
            self._run.emit(StepOutput(image=self._run.image.name, index=self._index, line=last))

    def _write(self, text: str) -> None:
        assert self._file is not None
        self._file.write(text)
        self._file.flush()
