"""What a plan reads of Azure: each thing once, several at once. Nothing is written here.

A cache lives as long as one plan: what two images both stand on is asked for once, and the next plan asks anew. Builds
that begin together share what is large and hardly changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId

Json = dict[str, Any]
Result = TypeVar("Result")
# More at once would not make a plan of a dozen calls faster
MOST_AT_ONCE = 8
# So long builds go by one answer about what Azure offers
LASTING_SECONDS = 600.0


class Cache:
    """Answers by question. Thread-safe; a question that is under way is waited for, not asked again.

    With `seconds`, answers older than that are asked anew, and errors at once.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._answers: dict[object, tuple[Future[Any], float]] = {}
        self._lock = threading.Lock()

    def once(self, question: object, ask: Callable[[], Result], now: float = 0.0) -> Result:
        """The answer to a question, asked now if nobody has. An error is an answer too, and raised again."""
        with self._lock:
            known, asked = self._answers.get(question, (None, now))
            if known is not None and self._seconds is not None and now - asked > self._seconds:
                known = None
            answer: Future[Result] = known if known is not None else Future()
            if known is None:
                self._answers[question] = answer, now
        if known is None:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - who waits for the answer must hear of it
                if self._seconds is not None:
                    self._forget(question, answer)
                answer.set_exception(error)
        return answer.result()

    def _forget(self, question: object, answer: Future[Any]) -> None:
        with self._lock:
            if self._answers.get(question, (None, 0.0))[0] is answer:
                del self._answers[question]


_LASTING: WeakKeyDictionary[Azure, Cache] = WeakKeyDictionary()
_LASTING_LOCK = threading.Lock()


def lasting(azure: Azure) -> Cache:
    """What all builds of this process share that use a connection."""
    with _LASTING_LOCK:
        return _LASTING.setdefault(azure, Cache(LASTING_SECONDS))


class Reader:
    """The reading side of a connection, through a cache. What it returns is shared: it must not be changed.

    `shared` has what is large and hardly changes; without it, that is in `cache` too.
    """

    def __init__(self, azure: Azure, cache: Cache, shared: Cache | None = None) -> None:
        self.azure = azure
        self._cache = cache
        self._shared = shared or cache

    @property
    def subscription(self) -> str:
        """The subscription that builds run in."""
        return self.azure.subscription

    def get(self, id: ResourceId, *, expand: str | None = None) -> Json:
        """As `Azure.get`."""
        return self._cache.once(("get", id, expand), lambda: self.azure.get(id, expand=expand))

    def find(self, id: ResourceId, *, expand: str | None = None) -> Json | None:
        """As `Azure.find`."""
        return self._cache.once(("find", id, expand), lambda: self.azure.find(id, expand=expand))

    def list(self, place: ResourceId | str, kind: str, *, query: Mapping[str, str] | None = None) -> list[Json]:
        """As `Azure.list`."""
        question = ("list", str(place).lower(), kind, tuple((query or {}).items()))
        return self._cache.once(question, lambda: self.azure.list(place, kind, query=query))

    def read(self, path: str, *, kind: str, query: Mapping[str, str] | None = None) -> Json:
        """As `Azure.read`."""
        question = ("read", path.lower(), tuple((query or {}).items()))
        return self._cache.once(question, lambda: self.azure.read(path, kind=kind, query=query))

    def once(self, question: object, ask: Callable[[], Result]) -> Result:
        """The answer to another question, asked once in a plan."""
        return self._cache.once(question, ask)

    def seldom(self, question: object, ask: Callable[[], Result]) -> Result:
        """The answer to a question about what is large and hardly changes."""
        return self._shared.once(question, ask, self.azure.clock.now())


def at_once(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """What the tasks return, in their order; done side by side. Raises the first error once all have ended."""
    if len(tasks) < 2:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(len(tasks), MOST_AT_ONCE), thread_name_prefix="reading") as pool:
        answers = [pool.submit(task) for task in tasks]
    return [answer.result() for answer in answers]
