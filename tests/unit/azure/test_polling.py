from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.azure.polling import SHORTEST, poll_moments

DAY = 86400.0


@given(st.floats(min_value=0.01, max_value=DAY))
def test_an_end_is_seen_within_a_tenth_of_the_length(length: float) -> None:
    moments = poll_moments(length)
    seen = moments[-1]

    assert length <= seen <= length + max(SHORTEST, 0.1 * length)
    assert all(moment < length for moment in moments[:-1])


def test_no_operation_is_polled_more_often_than_compute_allows() -> None:
    """45 polls of one operation within three minutes, seen in `x-ms-ratelimit-remaining-resource`."""
    moments = poll_moments(DAY)

    assert max(index - bisect_left(moments, moment - 180) + 1 for index, moment in enumerate(moments)) <= 45


@pytest.mark.parametrize(("length", "most"), [(1, 1), (10, 10), (60, 30), (600, 54), (3600, 73), (6 * 3600, 92)])
def test_long_operations_take_few_polls(length: float, most: int) -> None:
    assert len(poll_moments(length)) <= most
