"""The guest's serial console: read by us, so that one that prints for ever fills neither disk nor memory."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

LARGEST_LOG = 4 * 1024 * 1024
TAIL_LINES = 200
SHOWN_LINES = 40
LONGEST_LINE = 4096

# Terminal control: CSI sequences, OSC sequences (to BEL or ST), other two-byte escapes
ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
# Menus of boot loaders are drawn with blanks and frames, in bytes that are no UTF-8
FILLING = re.compile("[ \ufffd]{4,}")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` without terminal control; of what was overwritten after a carriage return, the last that was written."""
    text = CONTROLS.sub("", ESCAPES.sub("", text).replace("\t", " "))
    parts = [part for part in text.split("\r") if part.strip()]
    return FILLING.sub("   ", parts[-1]).rstrip() if parts else ""


class Console:
    """Splits what the guest prints into lines. `feed` is called by one thread, `hand_on` and `tail` by another.

    `log` gets the first 4 MiB. `on_line` gets the lines that were logged, by the thread that calls `hand_on`; `on_text`
    gets every line at once, and an incomplete last line each time that it grows (a prompt has no newline).
    """

    def __init__(self, log: Path, *, on_line: Callable[[str], None], on_text: Callable[[str], None]) -> None:
        self._log = log.open("wb")
        self._logged = 0
        self._on_line = on_line
        self._on_text = on_text
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._waiting: deque[str] = deque()
        self._rest = b""
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        """Take what the guest printed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._rest) > LONGEST_LINE:
            self._line(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        if self._rest:
            self._on_text(plain(self._rest.decode(errors="replace")))

    def hand_on(self) -> None:
        """Give the lines that have come since the last time to `on_line`."""
        while self._waiting:
            self._on_line(self._waiting.popleft())

    def close(self) -> None:
        """Take the incomplete last line as a line, and end the log with the tail when it was cut."""
        if self._log.closed:
            return
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        if self._logged >= LARGEST_LOG:
            self._log.write("\n".join(["", "(cut; the last lines were:)", *self.tail(TAIL_LINES), ""]).encode())
        self._log.close()

    def tail(self, lines: int = SHOWN_LINES) -> list[str]:
        """The last lines, an incomplete one included."""
        with self._lock:
            shown = list(self._tail)
        last = plain(self._rest.decode(errors="replace"))
        return [*shown, *([last] if last else [])][-lines:]

    def _line(self, data: bytes) -> None:
        text = plain(data[:LONGEST_LINE].decode(errors="replace"))
        if not text:
            return
        with self._lock:
            self._tail.append(text)
        self._on_text(text)
        if self._logged >= LARGEST_LOG:
            return
        encoded = text.encode() + b"\n"
        self._log.write(encoded)
        self._log.flush()
        self._logged += len(encoded)
        self._waiting.append(
            text if self._logged < LARGEST_LOG else f"(the console printed more than {LARGEST_LOG} bytes)"
        )


def pump(source: int, console: Console) -> None:
    """Feed the console from a pipe until its other end is closed."""
    while data := os.read(source, 65536):
        console.feed(data)
