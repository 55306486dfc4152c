"""Images that want more of the same thing than there is: who waits is told."""

from __future__ import annotations

import pytest

from builder.errors import Place
from builder.model.observed import Demand
from builder.model.plan import Action, ImagePlan
from builder.plan.together import with_waits

CORES = "vCPUs of f in westeurope"


def noted(actions: str, free: int, **amounts: int) -> dict[str, list[str]]:
    """The notes of images a, b, c..., whose actions begin with these letters."""
    words = {action.value[0]: action for action in (Action.BUILD, Action.NONE, Action.PUBLISH)}
    place = Place("web.image.yaml", 1, 1)
    plans = [
        ImagePlan(name, "web.image.yaml", place, words[letter], (), "sha256:0", None, None, ())
        for name, letter in zip("abcd", actions, strict=False)
    ]
    demands = {name: [Demand(CORES, amount, free)] for name, amount in amounts.items()}
    return {plan.image: [note.message for note in plan.notes] for plan in with_waits(plans, demands)}


@pytest.mark.parametrize(
    ("actions", "free", "waiting"),
    [
        ("bbb", 6, ""),
        ("bbb", 5, "c"),
        ("bbb", 4, "c"),
        ("bbb", 2, "bc"),
        ("nbb", 4, ""),
        ("bnb", 2, "c"),
        ("ppp", 0, ""),
    ],
)
def test_those_that_do_not_fit_beside_the_ones_before_them_wait(actions: str, free: int, waiting: str) -> None:
    found = noted(actions, free, a=2, b=2, c=2)
    assert "".join(name for name, notes in found.items() if notes) == waiting


def test_the_note_says_how_much_of_what() -> None:
    (note,) = noted("bb", 3, a=2, b=2)["b"]
    assert note.startswith(f"needs 2 {CORES}, the images before it 2, and 3 are free")


def test_what_nobody_counts_is_no_matter() -> None:
    assert noted("bb", 0) == {"a": [], "b": []}
