"""How often Azure may be asked: one budget over all threads of the process, so that 200 builds at once break no limit.

Resource Manager gives each identity, per subscription, buckets of 250 reads refilled by 25 a second, and of 200 writes
and 200 deletes refilled by 10 a second (its documentation of request limits); every answer says what is left. We stay
a little below, since others work with the same subscription. Providers have buckets of their own that no document
lists, but answers say what is left of them: their last quarter is used no faster than it fills. Where one refuses all
the same (429), calls of that family slow down by half and speed up again as they succeed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

# (calls at once, calls a second)
BUDGETS: dict[str, tuple[float, float]] = {"reads": (200, 22), "writes": (150, 9), "deletes": (150, 9)}
VERBS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
# Seconds that are no wait: a clock's sum of steps may miss a moment by its rounding
MOMENT = 0.001
# Left to others when an answer says how few calls remain
RESERVE = 20
FIRST_GAP, LONGEST_GAP = 0.05, 10.0
# From here on a provider's bucket is spared
SPARED = 0.25
SPEED_UP = 0.8
# Reads are scarce when less than this share of their bucket is left
SCARCE = 0.5


class Budget:
    """A bucket of calls. Taking more than it has is allowed, and says how long to wait: the callers queue."""

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size = size
        self._rate = rate
        self._left = size
        self._filled = now
        # Until then it is empty, as a refusal said; those who waited for it come one after the other
        self.blocked = now
        self._next = now

    def take(self, now: float) -> float:
        """Take a call. Returns the seconds to wait before it."""
        self._fill(now)
        self._left -= 1
        return max(0.0, -self._left / self._rate, self.blocked - now)

    def held(self, now: float) -> float:
        """Seconds that a call that was taken waits beyond those that `take` said."""
        if self.blocked - now <= MOMENT:
            return 0.0
        self._next = max(self._next, self.blocked) + 1 / self._rate
        return self._next - now

    def heard(self, remaining: float, now: float) -> None:
        """An answer said how many calls remain. Somebody else may have used more than we know."""
        self._fill(now)
        self._left = min(self._left, remaining - RESERVE)

    def scarce(self, now: float) -> bool:
        """Whether less than half of it is left."""
        self._fill(now)
        return self._left < SCARCE * self._size

    def _fill(self, now: float) -> None:
        self._left = min(self._size, self._left + max(0.0, now - self._filled) * self._rate)
        self._filled = max(now, self._filled)


@dataclass
class Pace:
    """The pace of one family of calls: `gap` seconds between them, none before `free`.

    `known` is the gap that its bucket stands, where answers told of it.
    """

    gap: float = 0.0
    free: float = 0.0
    blocked: float = 0.0
    known: float = 0.0

    def take(self, now: float) -> float:
        """Take a call. Returns the seconds to wait before it."""
        start = max(now, self.free)
        self.free = start + self.gap
        return start - now

    def refused(self, seconds: float, now: float) -> None:
        """429: none for `seconds`, then half as fast. Calls that were on their way then don't count again."""
        if self.known:
            self.gap = min(LONGEST_GAP, max(self.gap, self.known))
        elif now >= self.blocked:
            self.gap = min(LONGEST_GAP, max(FIRST_GAP, self.gap * 2))
        self.blocked = max(self.blocked, now + seconds)
        self.free = max(self.free, self.blocked)

    def succeeded(self) -> None:
        """A little faster again, unless the bucket is known to stand no more."""
        slower = self.gap * SPEED_UP if self.gap > FIRST_GAP / 2 else 0.0
        self.gap = min(LONGEST_GAP, max(slower, self.known))


class Limits:
    """All budgets. Thread-safe."""

    def __init__(self) -> None:
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._paces: dict[tuple[str, str], Pace] = {}
        # The most that was seen left, by subscription and a provider's bucket
        self._sizes: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def take(self, subscription: str, method: str, family: str, now: float) -> float:
        """Take a call. Returns the seconds to wait before it is sent."""
        with self._lock:
            wait = self._budget(subscription, method, now).take(now)
            pace = self._paces.get((subscription, family))
            return max(wait, pace.take(now)) if pace is not None else wait

    def held(self, subscription: str, method: str, family: str, now: float) -> float:
        """Seconds to wait beyond those that `take` said: others were refused in the meantime."""
        with self._lock:
            wait, pace = self._budget(subscription, method, now).held(now), self._paces.get((subscription, family))
            return max(wait, pace.take(now)) if pace is not None and pace.blocked - now > MOMENT else wait

    def heard(
        self, subscription: str, method: str, family: str, *, status: int, headers: Mapping[str, str], now: float
    ) -> None:
        """Learn from an answer: what remains, and whether it was refused. `headers` have lower-case names."""
        verb = VERBS.get(method, "writes")
        with self._lock:
            budget = self._budget(subscription, method, now)
            remaining = headers.get(f"x-ms-ratelimit-remaining-subscription-{verb}", "")
            if remaining.isdecimal():
                budget.heard(float(remaining), now)
            if status == 429 and remaining == "0":
                budget.blocked = max(budget.blocked, now + (retry_after(headers) or 1.0))
            known = self._spared(subscription, headers.get("x-ms-ratelimit-remaining-resource", ""))
            pace = self._paces.get((subscription, family))
            if pace is None and (known or status == 429):
                pace = self._paces[subscription, family] = Pace()
            if pace is None:
                return
            pace.known = known
            if status == 429:
                pace.refused(retry_after(headers) or 1.0, now)
            else:
                pace.succeeded()
            if not pace.gap and pace.free <= now:
                del self._paces[subscription, family]

    def scarce(self, subscription: str, now: float) -> bool:
        """Whether reads of a subscription are running short."""
        with self._lock:
            return self._budget(subscription, "GET", now).scarce(now)

    def _spared(self, subscription: str, text: str) -> float:
        """Seconds between calls that the emptiest bucket of `text` stands: "Microsoft.Compute/PutVM3Min;239,..."."""
        gap = 0.0
        for bucket in text.split(","):
            name, _, left = bucket.strip().partition(";")
            # Buckets of a single resource or operation are small, and nobody's but its own
            if not left.isdecimal() or name.endswith("Resource"):
                continue
            most = self._sizes[subscription, name] = max(float(left), self._sizes.get((subscription, name), 0.0))
            if float(left) < SPARED * most:
                # As fast as it fills, or up to a half slower while it is nearly empty
                gap = max(gap, window(name) / most * (1.5 - 0.5 * float(left) / (SPARED * most)))
        return gap

    def _budget(self, subscription: str, method: str, now: float) -> Budget:
        key = (subscription, VERBS.get(method, "writes"))
        if key not in self._budgets:
            size, rate = BUDGETS[key[1]]
            self._budgets[key] = Budget(size, rate, now)
        return self._budgets[key]


def window(bucket: str) -> float:
    """Seconds in which a provider's bucket fills: its name says so, or it is three minutes."""
    return 1800.0 if bucket.endswith("30Min") else 180.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header, or None. Azure sends whole seconds; dates are not among its forms."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isdecimal() else None
