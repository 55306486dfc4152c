"""What a plan reads of Azure: each thing once, several at once. Nothing is written here.

A cache lives as long as one plan: what two images both stand on is asked for once, and the next plan asks anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId

Json = dict[str, Any]
Result = TypeVar("Result")
# More at once would not make a plan of a dozen calls faster
MOST_AT_ONCE = 8


class Cache:
    """Answers by question. Thread-safe; a question that is under way is waited for, not asked again."""

    def __init__(self) -> None:
        self._answers: dict[object, Future[Any]] = {}
        self._lock = threading.Lock()

    def once(self, question: object, ask: Callable[[], Result]) -> Result:
        """The answer to a question, asked now if nobody has. An error is an answer too, and raised again."""
        with self._lock:
            known = self._answers.get(question)
            answer: Future[Result] = known if known is not None else Future()
            self._answers[question] = answer
        if known is None:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - who waits for the answer must hear of it
                answer.set_exception(error)
        return answer.result()


class Reader:
    """The reading side of a connection, through a cache. What it returns is shared: it must not be changed."""

    def __init__(self, azure: Azure, cache: Cache) -> None:
        self.azure = azure
        self._cache = cache

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


def at_once(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """What the tasks return, in their order; done side by side. Raises the first error once all have ended."""
    if len(tasks) < 2:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(len(tasks), MOST_AT_ONCE), thread_name_prefix="reading") as pool:
        answers = [pool.submit(task) for task in tasks]
    return [answer.result() for answer in answers]
