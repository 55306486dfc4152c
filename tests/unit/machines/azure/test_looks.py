"""When run commands are looked at."""

from __future__ import annotations

import pytest

from builder.machines.azure.run_commands import LOOKS_A_SECOND, LOOKS_AT_ONCE, Looks, View


def looks_of(looks: Looks, began: float, length: float) -> list[float]:
    """The moments, since its beginning, at which a command of this length is looked at."""
    moments = [0.0]
    while moments[-1] < length:
        passed = moments[-1]
        moments.append(passed + looks.next(passed, began + passed))
    looks.ended(moments[-1])
    return moments[1:]


@pytest.mark.parametrize("length", [11, 60, 600, 5000])
def test_an_end_is_seen_within_a_tenth(length: float) -> None:
    seen = looks_of(Looks(0.0), 0.0, length)[-1]
    assert length <= seen <= max(1.1 * length, length + 1)


def test_ever_more_commands_stay_within_what_azure_allows() -> None:
    looks, began, count = Looks(0.0), 0.0, 0
    for _ in range(100):
        moments = looks_of(looks, began, 11.0)
        began += moments[-1]
        count += len(moments)
        assert moments[-1] <= 12.1 + 1 / LOOKS_A_SECOND
    assert count <= LOOKS_AT_ONCE + began * LOOKS_A_SECOND + 1


def test_a_view_that_is_not_there_yet_is_no_end() -> None:
    assert not View.of({"properties": {"instanceView": None}}).over
    assert not View.of({}).over
    found = View.of({"properties": {"instanceView": {"executionState": "Failed", "exitCode": 3, "output": "x"}}})
    assert (found.over, found.exit_code, found.output) == (True, 3, "x")
