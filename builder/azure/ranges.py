"""Sets of byte ranges: which parts of a disk hold data, which pages a blob has. First byte included, end excluded."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

Span = tuple[int, int]


class Ranges:
    """Ranges in order, apart from each other. 16 bytes each, so that a fragmented disk of many TiB fits in memory."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add a range that begins no earlier than the last one; what touches is joined. Raises ValueError if it does.

        Services differ in whether they join ranges that touch: after this there is no difference.
        """
        if start >= end:
            return
        if self._starts and start < self._starts[-1]:
            raise ValueError(f"ranges must come in order: {start} after {self._starts[-1]}")
        if self._ends and start <= self._ends[-1]:
            self._ends[-1] = max(self._ends[-1], end)
            return
        self._starts.append(start)
        self._ends.append(end)

    def __iter__(self) -> Iterator[Span]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def covers(self, start: int, end: int) -> bool:
        """Whether every byte from `start` to `end` is in the set."""
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and end <= self._ends[at]

    @property
    def size(self) -> int:
        """The bytes in the set."""
        return sum(self._ends) - sum(self._starts)


def difference(one: Iterable[Span], other: Iterable[Span]) -> Iterator[Span]:
    """What is in `one` and not in `other`; both in order. Reads both once."""
    others = iter(other)
    cut = next(others, None)
    for start, end in one:
        at = start
        while cut is not None and cut[1] <= at:
            cut = next(others, None)
        while cut is not None and cut[0] < end:
            if at < cut[0]:
                yield at, cut[0]
            at = max(at, cut[1])
            if cut[1] > end:
                break
            cut = next(others, None)
        if at < end:
            yield at, end


def aligned(spans: Iterable[Span], unit: int, end: int) -> Iterator[Span]:
    """The ranges grown to multiples of `unit` and joined where they then touch; nothing beyond `end`."""
    last: Span | None = None
    for start, stop in spans:
        grown = start // unit * unit, min(-(-stop // unit) * unit, end)
        if last is not None and grown[0] <= last[1]:
            last = last[0], max(last[1], grown[1])
            continue
        if last is not None and last[0] < last[1]:
            yield last
        last = grown
    if last is not None and last[0] < last[1]:
        yield last
