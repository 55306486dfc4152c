"""What a script tells us, apart from what it prints for people: one result as JSON, on lines with a prefix.

Long lines get cut and encodings get lost on the way out of a guest, so that the script writes ASCII only, in pieces;
a long result comes packed: gzip in base64.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

from builder.errors import BuildError

PREFIX = "build: result "
PACKED = "build: packed "
LARGEST_RESULT = 64 * 1024 * 1024


class ResultReader:
    """Takes a script's lines: those of the result are collected, all others go on to `log`."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._pieces: list[str] = []
        self._packed: list[str] = []

    def __call__(self, text: str) -> None:
        """Take one or more whole lines."""
        others = []
        for line in text.splitlines():
            if line.startswith(PREFIX):
                self._pieces.append(line.removeprefix(PREFIX).strip())
            elif line.startswith(PACKED):
                self._packed.append(line.removeprefix(PACKED).strip())
            else:
                others.append(line)
        if others:
            self._log("\n".join(others))

    @property
    def given(self) -> bool:
        """Whether the script has told anything yet."""
        return bool(self._pieces or self._packed)

    def result(self) -> dict[str, Any]:
        """The result. Raises BuildError when there is none, or not all of it."""
        try:
            found = json.loads(_unpacked("".join(self._packed)) if self._packed else "".join(self._pieces))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise BuildError(
                "the script in the guest ended without its whole result",
                code="guest-result",
                hint="the run's log has what it printed",
                detail="".join(self._pieces)[-500:] or None,
            ) from error
        if not isinstance(found, dict):
            raise BuildError("the script in the guest gave a result of another form", code="guest-result")
        return found


def _unpacked(text: str) -> str:
    """What was packed. The guest is not to be trusted with our memory: ValueError for more than any result has."""
    with gzip.open(io.BytesIO(base64.b64decode(text, validate=True))) as file:
        data = file.read(LARGEST_RESULT + 1)
    if len(data) > LARGEST_RESULT:
        raise ValueError("the result is too large")
    return data.decode("ascii")
