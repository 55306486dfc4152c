"""A script's output, put together from what Azure shows: the last 4 KiB at each look, and more asked for later."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from dataclasses import dataclass

from builder.errors import BuildError

# What the instance view keeps of a script's output
SHOWN_BYTES = 4096
# Cut in the midst of a letter, Azure shows none of it: up to three bytes less
LONGEST_LETTER = 3
# So many bytes alike are no chance, nor one text in lines that differ otherwise: between two looks that have fewer in
# common there may be a gap
SHORTEST_OVERLAP = 1024
_ENDED = re.compile(r"^build: ended (-?\d+) (yes|no) (\d+) ?([A-Za-z0-9+/=]*)\s*$", re.MULTILINE)
_WINDOW = re.compile(r"^build: window (\d+) ([A-Za-z0-9+/=]*)\s*$", re.MULTILINE)


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


def window(text: str) -> tuple[int, str] | None:
    """A part of packed output that was asked for: how many letters there are in all, and those that are shown."""
    found = _WINDOW.search(text)
    return (int(found[1]), found[2]) if found is not None else None


def unpacked(text: str) -> bytes:
    """What all the letters of packed output stand for. Raises BuildError when some are missing."""
    try:
        return gzip.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, OSError, EOFError, zlib.error) as error:
        raise BuildError(
            "what the guest printed did not arrive whole", code="guest-result", hint="run the same apply again"
        ) from error


class Output:
    """Collects output. `known` is how much of its beginning is known without a gap; whole lines are given out once.

    Only whole lines, since a secret is masked by its text: the half of one would stand in clear.
    """

    def __init__(self) -> None:
        self.known = 0
        self._gap = False
        self._last = b""
        self._rest = b""
        # Inside a line whose beginning was left out
        self._headless = False

    def look(self, text: str) -> str:
        """Take what is shown now. Returns the whole lines that are new; nothing once something was missed."""
        shown = text.partition("\nbuild: ended ")[0].encode()
        if self._gap or not shown:
            return ""
        cut = len(text.encode()) >= SHOWN_BYTES - LONGEST_LETTER
        new = _after(self._last, shown, cut=cut)
        if new is None:
            self._gap = True
            return ""
        self._last = (self._last + new)[-SHOWN_BYTES:]
        return self.add(new)

    def add(self, data: bytes) -> str:
        """Take what follows on what is known. Returns the whole lines that are new."""
        self.known += len(data)
        if self._headless:
            _, newline, data = data.partition(b"\n")
            self._headless = not newline
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        return whole.decode(errors="replace").replace("\r\n", "\n") if newline else ""

    def skip(self, count: int) -> None:
        """Leave bytes out, and what is left of the lines that they cut."""
        self.known += count
        self._rest, self._headless = b"", True

    def cut_short(self) -> str:
        """The rest of a script that nobody knows the end of: nothing when its last line may be a part of one."""
        rest, self._rest = self._rest.decode(errors="replace"), b""
        return "" if self._gap else rest

    def missing(self, end: Ending) -> tuple[int, int] | None:
        """The part that nobody has seen, from and to, when a script has ended."""
        return (self.known, end.begins) if self.known < end.begins else None

    def finish(self, end: Ending) -> str:
        """The rest, when nothing is missing. A script that says nothing of its output has shown it all."""
        lines = self.add(end.end[max(0, self.known - end.begins) :]) if self.known <= end.size else ""
        rest, self._rest = self._rest.decode(errors="replace"), b""
        return "\n".join(part for part in (lines, rest) if part)


def _after(before: bytes, now: bytes, *, cut: bool) -> bytes | None:
    """What `now` shows beyond `before`; None when they have nothing in common and something may lie between.

    `cut`: what is shown now is not all from the beginning.
    """
    if not cut:
        return now[len(before) :] if now.startswith(before) else None
    for start in range(len(before) - SHORTEST_OVERLAP + 1):
        if now.startswith(before[start:]):
            return now[len(before) - start :]
    return b"" if len(now) >= SHORTEST_OVERLAP and before.endswith(now) else None


def whole_lines(shown: str) -> str:
    """What is shown of an end, without the line that it begins inside of."""
    cut = len(shown.encode()) >= SHOWN_BYTES - LONGEST_LETTER
    return shown.partition("\n")[2] if cut else shown
