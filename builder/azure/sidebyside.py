"""Work that several threads do on a long list at once, with its results taken in the list's order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from builder.errors import Interrupted

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Work(Generic[Item, Result]):
    """What the threads share; changed under `lock`."""

    def __init__(
        self,
        items: Iterator[Item],
        work: Callable[[Item], Result],
        finish: Callable[[Item, Result], None],
        stop: threading.Event,
    ) -> None:
        self.items = enumerate(items)
        self.work = work
        self.finish = finish
        self.stop = stop
        self.lock = threading.Lock()
        self.failure: BaseException | None = None
        self.waiting: dict[int, tuple[Item, Result]] = {}
        self.next = 0

    def run(self) -> None:
        """Take items until there are none, or another thread failed."""
        try:
            while True:
                with self.lock:
                    item = None if self.failure is not None else next(self.items, None)
                if item is None:
                    return
                if self.stop.is_set():
                    raise Interrupted("interrupted", code="interrupted")
                result = self.work(item[1])
                with self.lock:
                    self.waiting[item[0]] = item[1], result
                    while self.next in self.waiting:
                        self.finish(*self.waiting.pop(self.next))
                        self.next += 1
        except BaseException as error:
            with self.lock:
                self.failure = self.failure or error
            raise


def side_by_side(
    items: Iterator[Item],
    work: Callable[[Item], Result],
    finish: Callable[[Item, Result], None],
    *,
    threads: int,
    stop: threading.Event,
) -> None:
    """Call `work` on each item in `threads` threads, and `finish` with each result: in order, one at a time.

    No item is taken before a thread is free for it. The first error ends it all and is raised when no thread works any
    more; Interrupted when `stop` is set.
    """
    shared = _Work(items, work, finish, stop)
    with ThreadPoolExecutor(threads, thread_name_prefix="transfer") as pool:
        try:
            futures = [pool.submit(shared.run) for _ in range(threads)]
            for future in futures:
                future.exception()
        except BaseException as error:
            # Ctrl-C comes here, to the main thread: the workers end after the item at hand
            shared.failure = shared.failure or error
            raise
    if shared.failure is not None:
        raise shared.failure
