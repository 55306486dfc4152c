"""The journal: an append-only record of one run, a JSON line before and after every effect, on disk before we go on.

After a crash the last line says what was under way. Nothing is decided from the journal alone: the next run looks at
what exists (checkpoints, artifacts, versions), which the effects make atomically.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from builder.secrets import Redactor

FILE_NAME = "journal.jsonl"


class Journal:
    """Writes one run's journal. Thread-safe."""

    def __init__(self, folder: Path, redactor: Redactor) -> None:
        # Its owner's alone, with all logs in it: what steps print may be nobody else's business
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / FILE_NAME
        self._redactor = redactor
        self._lock = threading.Lock()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, entry: str, **facts: Any) -> None:  # noqa: ANN401 - facts are whatever JSON the entry needs
        """Append one entry; it is on disk when this returns."""
        text = json.dumps({"time": datetime.now(UTC).isoformat(), "entry": entry, **facts}, ensure_ascii=False)
        line = (self._redactor.text(text) + "\n").encode(errors="backslashreplace")
        with self._lock:
            before = os.fstat(self._descriptor).st_size
            try:
                # A write may take a part alone (a disk that is nearly full, a signal)
                while line:
                    line = line[os.write(self._descriptor, line) :]
                os.fsync(self._descriptor)
            except OSError:
                # Half a line would hide what is written after it
                os.ftruncate(self._descriptor, before)
                raise

    def write_failure(self, failure: BaseException, entry: str, /, **facts: Any) -> None:  # noqa: ANN401
        """Append an entry about a failure, which stays what is told when the entry can't be written; it gets a note."""
        try:
            self.write(entry, **facts)
        except OSError as lost:
            failure.add_note(f"the journal can't be written: {lost.strerror or lost}")

    @contextmanager
    def effect(self, name: str, **facts: Any) -> Iterator[None]:  # noqa: ANN401
        """Journal an effect: `<name>.begin` before, `<name>.end` after, `<name>.failed` when it raises."""
        self.write(f"{name}.begin", **facts)
        try:
            yield
        except BaseException as error:
            self.write_failure(error, f"{name}.failed", **facts, error=str(error))
            raise
        self.write(f"{name}.end", **facts)

    def close(self) -> None:
        """Close the file. Entries are already on disk."""
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NoJournal(Journal):
    """The journal of a run without effects: there is nothing to remember."""

    def __init__(self) -> None:
        pass

    def write(self, entry: str, **facts: Any) -> None:  # noqa: ANN401
        """Write nothing."""

    def close(self) -> None:
        """Nothing is open."""


def read(folder: Path) -> list[dict[str, Any]]:
    """All whole entries of a run's journal, oldest first; a line that a crash cut short is left out."""
    path = folder / FILE_NAME
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the line under way when the process died
    return entries
