from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from builder.azure.ranges import Ranges, aligned, difference

EDGES = st.lists(st.integers(0, 60), unique=True, max_size=20).map(sorted)
SPANS = EDGES.map(lambda edges: list(zip(edges[::2], edges[1::2], strict=False)))


def members(spans: object) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}  # type: ignore[attr-defined]


def test_what_touches_is_joined() -> None:
    assert list(Ranges([(0, 4), (4, 8), (8, 8), (12, 16)])) == [(0, 8), (12, 16)]


def test_ranges_out_of_order_are_refused() -> None:
    found = Ranges([(8, 12)])

    try:
        found.add(0, 4)
    except ValueError as error:
        assert "in order" in str(error)
    else:
        raise AssertionError("a range before the last one was taken")


@given(SPANS, SPANS)
def test_a_difference_has_what_only_the_first_has(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    found = list(difference(Ranges(one), Ranges(other)))

    assert members(found) == members(one) - members(other)
    assert found == sorted(found)
    assert all(start < end for start, end in found)


@given(SPANS, st.integers(0, 59), st.integers(1, 10))
def test_covered_is_what_has_every_byte(spans: list[tuple[int, int]], start: int, length: int) -> None:
    assert Ranges(spans).covers(start, start + length) == (set(range(start, start + length)) <= members(spans))


@given(SPANS, st.sampled_from([1, 4, 7]))
def test_aligned_ranges_begin_and_end_at_units_and_lose_nothing(spans: list[tuple[int, int]], unit: int) -> None:
    found = list(aligned(spans, unit, 62))

    assert members(found) >= members(spans)
    assert members(found) <= {
        at for byte in members(spans) for at in range(byte // unit * unit, byte // unit * unit + unit)
    }
    assert all(start % unit == 0 and (end % unit == 0 or end == 62) for start, end in found)
    assert all(one[1] < two[0] for one, two in pairwise(found))


@given(SPANS)
def test_size_is_the_sum(spans: list[tuple[int, int]]) -> None:
    assert Ranges(spans).size == len(members(spans))
