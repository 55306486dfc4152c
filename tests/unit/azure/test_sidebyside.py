import threading

import pytest

from builder.azure.sidebyside import side_by_side
from builder.errors import BuildError, Interrupted


def test_results_come_in_order_though_the_first_is_last() -> None:
    last = threading.Event()
    finished: list[tuple[int, int]] = []

    def work(item: int) -> int:
        if item == 0:
            assert last.wait(10)
        if item == 9:
            last.set()
        return item * item

    side_by_side(iter(range(10)), work, lambda item, result: finished.append((item, result)), threads=2,
                 stop=threading.Event())  # fmt: skip

    assert finished == [(item, item * item) for item in range(10)]


def test_the_first_error_ends_it_and_no_more_is_taken() -> None:
    items = iter(range(1000))

    def work(item: int) -> None:
        if item == 3:
            raise BuildError("no", code="no")

    with pytest.raises(BuildError, match="no"):
        side_by_side(items, work, lambda item, result: None, threads=4, stop=threading.Event())
    assert next(items) < 1000 - 1


def test_only_what_follows_without_a_gap_is_finished() -> None:
    finished: list[int] = []

    def work(item: int) -> None:
        if item == 2:
            raise BuildError("no", code="no")

    with pytest.raises(BuildError):
        side_by_side(iter(range(50)), work, lambda item, result: finished.append(item), threads=4,
                     stop=threading.Event())  # fmt: skip

    assert finished in ([], [0], [0, 1])


def test_a_stop_is_seen_between_two_items() -> None:
    stop = threading.Event()
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        stop.set()

    with pytest.raises(Interrupted):
        side_by_side(iter(range(50)), work, lambda item, result: None, threads=1, stop=stop)
    assert seen == [0]
