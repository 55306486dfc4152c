"""Updates go round until none is left, and features restart when Windows asks: both bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.model.kinds import KINDS
from builder.model.steps import Step
from tests.unit.guest.images import entry
from tests.unit.guest.windows.guest import bench
from tests.unit.guest.windows.test_kinds import FEATURES, UPDATES, step_of


def told(restart: bool = False, left: int = 0, installed: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> Any:
    return {"restart": restart, "left": left, "installed": list(installed), "failed": list(failed)}


def updates(tmp_path: Path, restarts: int = 2) -> Step:
    return step_of(tmp_path, entry("windowsUpdates", **{**UPDATES, "restarts": restarts}, timeout=600.0))


ROUNDS: list[tuple[int, list[Any], int]] = [
    (2, [told()], 0),
    (2, [told(left=3, installed=("a",)), told()], 0),
    (2, [told(restart=True, installed=("a",)), told()], 1),
    (2, [told(restart=True), told(restart=True), told()], 2),
    # What fails once may need the restart
    (2, [told(restart=True, left=1, failed=("a",)), told(installed=("a",))], 1),
    (0, [told(restart=True, left=1)], 0),
]


@pytest.mark.parametrize(("allowed", "answers", "restarts"), ROUNDS)
def test_rounds_and_restarts(tmp_path: Path, allowed: int, answers: list[Any], restarts: int) -> None:
    made = bench(*answers)
    KINDS["windowsUpdates"].run(updates(tmp_path, allowed), made.context)
    assert made.session.restarts == [600.0] * restarts
    assert made.session.guest.answers == []
    assert {script.timeout for script in made.session.guest.scripts} == {600.0}


ENDS: list[tuple[int, list[Any], str]] = [
    (1, [told(restart=True), told(restart=True)], "updates-left"),
    (2, [told(left=1, failed=("a",)), told(left=1, failed=("a",))], "updates-failed"),
    (0, [told(left=1, installed=("a",))] * 3, "updates-left"),
    (1, [told(left=1, installed=("a",))] * 6, "updates-left"),
]


@pytest.mark.parametrize(("allowed", "answers", "code"), ENDS)
def test_it_ends_with_what_is_left(tmp_path: Path, allowed: int, answers: list[Any], code: str) -> None:
    made = bench(*answers)
    with pytest.raises(BuildError) as caught:
        KINDS["windowsUpdates"].run(updates(tmp_path, allowed), made.context)
    assert caught.value.code == code
    assert made.session.guest.answers == []


@pytest.mark.parametrize("needed", [True, False])
def test_features_restart_when_windows_asks(tmp_path: Path, needed: bool) -> None:
    made = bench({"restart": needed})
    KINDS["windowsFeatures"].run(step_of(tmp_path, entry("windowsFeatures", **FEATURES)), made.context)
    assert len(made.session.restarts) == needed
    assert made.log[0] == "working"


@pytest.mark.parametrize("answer", ["nothing told", 'build: result {"restart": tr', "build: result [1]"])
def test_half_a_result_is_an_error(tmp_path: Path, answer: str) -> None:
    with pytest.raises(BuildError) as caught:
        KINDS["windowsFeatures"].run(step_of(tmp_path, entry("windowsFeatures", **FEATURES)), bench(answer).context)
    assert caught.value.code == "guest-result"


def test_a_restart_waits_as_long_as_the_step_says(tmp_path: Path) -> None:
    made = bench()
    KINDS["restart"].run(step_of(tmp_path, entry("restart", timeout=90.0)), made.context)
    assert made.session.restarts == [90.0]
