"""When to look at an operation again, as pure functions.

An operation's end is seen within a tenth of its length, or a second for short ones. The Retry-After of a poll is not
waited in full where that is longer: Azure sends the same 10 to 60 s whatever the operation, so that following it would
add a minute to each step. It is no limit: a refusal (429, 503) is, and is waited in full by the pipeline. A new VM is
looked at 40 times in its first three minutes, of the 45 that Compute allows for one operation, and 22 times in each
tenfold of time after that.
"""

from __future__ import annotations

from itertools import count, takewhile

SHARE = 0.1
SHORTEST = 1.0


def next_poll(elapsed: float) -> float:
    """Seconds from a poll, `elapsed` seconds after the operation's beginning, to the next one."""
    return max(SHORTEST, SHARE * elapsed)


def poll_moments(length: float) -> list[float]:
    """When an operation is polled that ends after `length` seconds, in seconds from its beginning. The last sees it."""
    moments = [0.0]
    for _ in takewhile(lambda _: moments[-1] < length, count()):
        moments.append(moments[-1] + next_poll(moments[-1]))
    return moments[1:]
