"""What a script tells us, apart from what it prints for people: one result as JSON, on lines with a prefix.

Long lines get cut and encodings get lost on the way out of a guest, so that the script writes ASCII only, in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from builder.errors import BuildError

PREFIX = "build: result "


class ResultReader:
    """Takes a script's lines: those of the result are collected, all others go on to `log`."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._pieces: list[str] = []

    def __call__(self, text: str) -> None:
        """Take one or more whole lines."""
        others = []
        for line in text.splitlines():
            if line.startswith(PREFIX):
                self._pieces.append(line.removeprefix(PREFIX).strip())
            else:
                others.append(line)
        if others:
            self._log("\n".join(others))

    @property
    def given(self) -> bool:
        """Whether the script has told anything yet."""
        return bool(self._pieces)

    def result(self) -> dict[str, Any]:
        """The result. Raises BuildError when there is none, or not all of it."""
        try:
            found = json.loads("".join(self._pieces))
        except ValueError as error:
            raise BuildError(
                "the script in the guest ended without its whole result",
                code="guest-result",
                hint="the run's log has what it printed",
                detail="".join(self._pieces)[-500:],
            ) from error
        if not isinstance(found, dict):
            raise BuildError("the script in the guest gave a result of another form", code="guest-result")
        return found
