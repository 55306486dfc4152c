"""Waiting for conditions of the outside world, with a bound."""

import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Ask again and again until `condition` holds or `seconds` passed; returns whether it holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        threading.Event().wait(0.05)
    return condition()
