"""A script's output, put together from what Azure shows: the last 4 KiB at each look, and more asked for later."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from dataclasses import dataclass

# What the instance view keeps of a script's output
SHOWN_BYTES = 4096
_ENDED = re.compile(r"^build: ended (-?\d+) (yes|no) (\d+) ?([A-Za-z0-9+/=]*)\s*$", re.MULTILINE)
_WINDOW = re.compile(r"^build: window (\d+) ([A-Za-z0-9+/=]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Ending:
    """What a script's last line says: how it ended, how many bytes it printed, and the last of them."""

    exit_code: int
    late: bool
    size: int
    end: bytes

    @property
    def begins(self) -> int:
        """Where in the output `end` begins."""
        return self.size - len(self.end)


def ending(text: str) -> Ending | None:
    """The ending in what is shown of a script, None while there is none. What it prints itself can't look so."""
    every = list(_ENDED.finditer(text))
    if not every:
        return None
    found = every[-1]
    try:
        end = base64.b64decode(found[4], validate=True)
    except binascii.Error:
        return None
    return Ending(int(found[1]), found[2] == "yes", int(found[3]), end)


def window(text: str) -> tuple[int, bytes] | None:
    """A part of the output that was asked for: how many bytes were looked at, and what they are."""
    found = _WINDOW.search(text)
    if found is None:
        return None
    try:
        return int(found[1]), gzip.decompress(base64.b64decode(found[2], validate=True))
    except (binascii.Error, OSError, EOFError, zlib.error):
        return None


class Output:
    """Collects output. `known` is how much of its beginning is known without a gap; whole lines are given out once."""

    def __init__(self) -> None:
        self.known = 0
        self._gap = False
        self._last = b""
        self._rest = b""

    def look(self, text: str) -> str:
        """Take what is shown now. Returns the whole lines that are new; nothing once something was missed."""
        shown = text.partition("\nbuild: ended ")[0].encode()
        if self._gap or not shown:
            return ""
        new = _after(self._last, shown)
        if new is None:
            self._gap = True
            return ""
        self._last = (self._last + new)[-SHOWN_BYTES:]
        return self.add(new)

    def add(self, data: bytes) -> str:
        """Take what follows on what is known. Returns the whole lines that are new."""
        self.known += len(data)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        return whole.decode(errors="replace").replace("\r\n", "\n") if newline else ""

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        self.known += count

    def missing(self, end: Ending) -> tuple[int, int] | None:
        """The part that nobody has seen, from and to, when a script has ended."""
        return (self.known, end.begins) if self.known < end.begins else None

    def finish(self, end: Ending) -> str:
        """The rest, when nothing is missing. A script that says nothing of its output has shown it all."""
        lines = self.add(end.end[max(0, self.known - end.begins) :]) if self.known <= end.size else ""
        rest, self._rest = self._rest.decode(errors="replace"), b""
        return "\n".join(part for part in (lines, rest) if part)


def _after(before: bytes, now: bytes) -> bytes | None:
    """What `now` shows beyond `before`; None when they have nothing in common and something may lie between."""
    if not before or now.startswith(before):
        # Nothing was seen yet: what is shown is the beginning, unless that was cut off
        return now[len(before) :] if before or len(now) < SHOWN_BYTES - 3 else None
    for start in range(1, len(before)):
        if now.startswith(before[start:]):
            return now[len(before) - start :]
    return b"" if before.endswith(now) else None
