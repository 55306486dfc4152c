"""Remembers the sha256 of large files, so that a plan doesn't read a disk image that has not changed."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from builder.records.files import write_json

# Below this, reading costs less than remembering
SMALLEST_REMEMBERED = 8 * 1024 * 1024
# A file that changed so recently, in seconds, could change again without a trace in its facts: the clock that they are
# from ticks every few milliseconds, but every two seconds on file systems that keep no parts of one
SETTLED_SECONDS = 0.1
SETTLED_COARSE_SECONDS = 2.0


class FileHashes:
    """The hashes of one project. An entry holds while the file's inode, size, and both times stay as they were.

    They are kept in `path` once its folder exists, which looking alone doesn't make.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[object]] | None = None
        self._unsaved = False

    def sha256(self, path: Path) -> str:
        """The sha256 of a file, as hex. Raises OSError when it can't be read."""
        facts = path.stat()
        identity: list[object] = [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        known = self._load()
        found = known.get(str(path))
        if found is not None and found[:-1] == identity:
            self._save()
            return str(found[-1])
        settled = _is_settled(facts.st_ctime_ns, time.time_ns())
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if facts.st_size >= SMALLEST_REMEMBERED and settled:
            known[str(path)] = [*identity, value]
            self._unsaved = True
            self._save()
        return value

    def _save(self) -> None:
        if not self._unsaved or not self._path.parent.is_dir():
            return
        # Forgetting costs time alone: a plan by someone who may read the store only is as good
        with suppress(OSError):
            write_json(self._path, self._known)
        self._unsaved = False

    def _load(self) -> dict[str, list[object]]:
        if self._known is None:
            try:
                known = json.loads(self._path.read_text())
            except (OSError, ValueError):
                known = {}
            entries = known.items() if isinstance(known, dict) else ()
            self._known = {path: entry for path, entry in entries if isinstance(entry, list)}
        return self._known


def _is_settled(changed: int, now: int) -> bool:
    """Whether any later change would show in the time of the last one. Both are nanoseconds since the epoch."""
    coarse = changed % 10**9 == 0
    return now - changed > (SETTLED_COARSE_SECONDS if coarse else SETTLED_SECONDS) * 10**9
