from __future__ import annotations

import pytest

from builder.machines.azure.reading import Cache


def test_a_plan_asks_once_and_errors_are_answers() -> None:
    cache, asked = Cache(), []

    def fail() -> str:
        asked.append("failing")
        raise LookupError("nothing there")

    assert [cache.once("a", lambda: asked.append("a"), now) for now in (0.0, 1e9)] == [None, None]
    for _ in range(2):
        with pytest.raises(LookupError):
            cache.once("b", fail)
    assert asked == ["a", "failing"]


def test_what_lasts_is_asked_anew_after_its_time_and_after_an_error() -> None:
    cache = Cache(60.0)
    answers = iter(range(10))

    def fail() -> int:
        raise LookupError("nothing there")

    assert [cache.once("a", lambda: next(answers), now) for now in (0.0, 60.0, 61.0, 120.0, 122.0)] == [0, 0, 1, 1, 2]
    with pytest.raises(LookupError):
        cache.once("b", fail, 0.0)
    assert cache.once("b", lambda: 7, 0.0) == 7
