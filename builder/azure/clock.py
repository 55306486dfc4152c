"""The clock that waiting passes on. Tests hand in one of their own, so that an hour of waiting costs them no time."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the gateway sees it."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        ...

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Wait. May return early once `stop` is set."""
        ...


class RealClock:
    """The clock of this host. It never jumps: only its start is taken from the time of day."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return self._offset + time.monotonic()

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Wait, or return early once `stop` is set."""
        if seconds <= 0:
            return
        if stop is not None:
            stop.wait(seconds)
        else:
            time.sleep(seconds)
