"""Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second ends the process at once.

Ending at once is safe too: children die with us, mounts live in our own namespace, and what is half made has no name.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from builder.errors import ExitCode

# The live display hides it, and has no time left to bring it back
SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal, for the length of the block."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), SHOW_CURSOR)
            os._exit(ExitCode.INTERRUPTED)
        stop.set()
        # A terminal that was closed can't be told
        with suppress(OSError):
            os.write(sys.stderr.fileno(), b"\nstopping cleanly; once more to stop at once\n")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
