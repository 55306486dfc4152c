"""Every request with its answer, in order: what proves that nothing was written, and what validators read."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.azure.answers import Json

READS = ("GET", "HEAD")
# POSTs that change nothing
READING_POSTS = ("/oauth2/", "/exportTemplate", "/validate", "/whatIf", "/resources?")


@dataclass(frozen=True)
class Pair:
    """`operation` is the route's (`PUT Microsoft.Compute/disks`); `moment` is seconds on the simulator's clock."""

    moment: float
    operation: str
    method: str
    url: str
    request_headers: dict[str, str]
    request_body: Any
    status: int
    headers: dict[str, str]
    body: Any
    # A fault made this answer: it says nothing about how faithful the simulator is
    injected: bool = False

    @property
    def writes(self) -> bool:
        return self.method not in READS and not any(part in self.url for part in READING_POSTS)

    def document(self) -> Json:
        """The form that check-traffic reads."""
        return {
            "request": {
                "method": self.method,
                "url": self.url,
                "headers": self.request_headers,
                "body": self.request_body,
            },
            "response": {"statusCode": self.status, "headers": self.headers, "body": self.body},
        }


@dataclass
class Traffic:
    """`keep_bodies` False keeps operations and paths alone: for many calls in one process whose memory is measured."""

    keep_bodies: bool = True
    pairs: list[Pair] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, pair: Pair) -> None:
        if not self.keep_bodies:
            url = pair.url.partition("?")[0]
            pair = replace(pair, url=url, request_headers={}, request_body=None, headers={}, body=None)
        with self._lock:
            self.pairs.append(pair)

    def since(self, mark: int) -> list[Pair]:
        """Pairs after the first `mark`: `mark = len(azure.traffic.pairs)` before, this after."""
        return self.pairs[mark:]

    def writes(self, since: int = 0) -> list[Pair]:
        """Calls that change something (or tried to)."""
        return [pair for pair in self.since(since) if pair.writes]

    def counts(self, since: int = 0) -> Counter[str]:
        """Calls by operation."""
        return Counter(pair.operation for pair in self.since(since))

    def save(self, path: Path, pairs: Iterable[Pair] | None = None) -> None:
        """One JSON document a line, for check-traffic. Appends."""
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(pair.document()) + "\n" for pair in (self.pairs if pairs is None else pairs))
