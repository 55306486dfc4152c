"""The simulator's only clock: what Azure does, it does when this clock gets there, never because somebody asks.

A clock without `speed` stands still until a test moves it (`advance`) or until everybody who works with it sleeps
(`sleep`): then it jumps to the first who wakes, so that an hour of waiting costs no time and has one outcome.
A clock with `speed` follows real time, that many times faster.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
# A sleeper's wake-up and the clock's own sum of steps may differ by rounding
ROUNDING = 1e-6


@dataclass(order=True)
class Event:
    """Something that will happen. Those due at the same moment happen in the order they were planned."""

    due: float
    number: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


@dataclass(eq=False)
class Sleeper:
    """A thread that sleeps until `wake`, in seconds on the clock."""

    wake: float
    woken: threading.Condition


class Clock:
    def __init__(self, *, speed: float | None = None, start: datetime = START) -> None:
        self.speed = speed
        self._start = start.timestamp()
        self._elapsed = 0.0
        self._began = time.monotonic()
        self._events: list[Event] = []
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._moving = threading.RLock()
        self._mover = False
        self._sleepers: list[Sleeper] = []
        self._workers = 0
        self._stopped = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        if speed is not None:
            self._thread = threading.Thread(target=self._follow, args=(speed,), name="azure-clock", daemon=True)
            self._thread.start()

    @property
    def elapsed(self) -> float:
        """Seconds since this clock started."""
        if self.speed is None:
            return self._elapsed
        return (time.monotonic() - self._began) * self.speed

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start + self.elapsed, UTC)

    def after(self, seconds: float, action: Callable[[], None]) -> Event:
        """Plans `action`. It runs in the thread that moves the clock."""
        with self._changed:
            event = Event(self.elapsed + max(0.0, seconds), next(self._numbers), action)
            heapq.heappush(self._events, event)
            self._changed.notify_all()
        return event

    def advance(self, seconds: float) -> None:
        """Moves a standing clock; all that is due until then happens now, in order, each at its own moment."""
        if self.speed is not None:
            raise RuntimeError("this clock follows real time; only a standing clock can be moved")
        with self._moving:
            self._move_to(self._elapsed + seconds)

    def run_until(self, reached: Callable[[], bool], *, within: float = 6 * 3600) -> float:
        """Moves a standing clock from event to event until `reached()`. Returns the seconds that took.

        Raises TimeoutError when nothing is planned any more, or when it isn't reached within `within` seconds.
        """
        began = self.elapsed
        while not reached():
            with self._changed:
                due = next((event.due for event in sorted(self._events) if not event.cancelled), None)
            if due is None or due - began > within:
                raise TimeoutError(f"not reached: {'nothing is planned any more' if due is None else 'too late'}")
            self.advance(due - self.elapsed)
        return self.elapsed - began

    def sleep(self, seconds: float) -> None:
        """Waits as a client does. A standing clock jumps ahead once all its workers sleep."""
        if self.speed is not None:
            time.sleep(max(0.0, seconds) / self.speed)
            return
        with self._changed:
            me = Sleeper(self._elapsed + max(0.0, seconds), threading.Condition(self._lock))
            self._sleepers.append(me)
        try:
            while self._turn(me):
                try:
                    with self._moving:
                        self._move_to(self._first_wake())
                finally:
                    with self._changed:
                        self._mover = False
        finally:
            with self._changed:
                self._sleepers.remove(me)
                self._hand_over()

    def _turn(self, me: Sleeper) -> bool:
        """Waits until it is this sleeper's turn to move the clock (True), or its time to wake (False)."""
        with self._changed:
            while me.wake > self._elapsed + ROUNDING:
                if self._everybody_sleeps() and not self._mover:
                    self._mover = True
                    return True
                me.woken.wait()
            return False

    def _everybody_sleeps(self) -> bool:
        asleep = sum(sleeper.wake > self._elapsed + ROUNDING for sleeper in self._sleepers)
        return asleep >= max(1, self._workers)

    def _first_wake(self) -> float:
        with self._changed:
            asleep = [sleeper.wake for sleeper in self._sleepers if sleeper.wake > self._elapsed + ROUNDING]
            # `advance` may have woken all in the meantime
            return min(asleep, default=self._elapsed)

    def _hand_over(self) -> None:
        """Wakes one sleeper to move the clock, if all sleep and none does."""
        if self._sleepers and self._everybody_sleeps() and not self._mover:
            min(self._sleepers, key=lambda sleeper: sleeper.wake).woken.notify()

    def _reach(self, moment: float) -> None:
        """The clock stands at `moment`. Who is to wake then is woken, and nobody else: crowds sleep here."""
        self._elapsed = max(self._elapsed, moment)
        for sleeper in self._sleepers:
            if sleeper.wake <= self._elapsed + ROUNDING:
                sleeper.woken.notify()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """One thread that works with this clock: time doesn't pass while it is awake."""
        with self._changed:
            self._workers += 1
        try:
            yield
        finally:
            with self._changed:
                self._workers -= 1
                self._hand_over()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _move_to(self, target: float) -> None:
        while True:
            with self._changed:
                if not self._events or self._events[0].due > target:
                    self._reach(target)
                    return
                event = heapq.heappop(self._events)
                self._reach(event.due)
            if not event.cancelled:
                event.action()

    def _follow(self, speed: float) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                wait = (self._events[0].due - self.elapsed) / speed if self._events else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                event = heapq.heappop(self._events)
            try:
                if not event.cancelled:
                    event.action()
            except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
                # Raised again by `stop`: in this thread nobody would see it
                self._failure = error
