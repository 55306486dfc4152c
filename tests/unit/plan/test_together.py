"""Images that want the same thing: more of it than there is, or a place that can be one image's only."""

from __future__ import annotations

import pytest

from builder.errors import Place
from builder.model.observed import Demand
from builder.model.plan import Action, ImagePlan
from builder.plan.together import with_waits
from tests.unit.plan.world import World, document

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


def blocked(world: World) -> dict[str, list[str]]:
    """The images that are blocked, and why: code, message, place and help."""
    return {
        plan.image: [f"{reason.code} {reason.message} ({reason.place}) {reason.help}" for reason in plan.reasons]
        for plan in world.plan().images
        if plan.action == Action.BLOCKED
    }


def test_a_place_is_one_image_s_however_it_is_written() -> None:
    images = [document("web", to=["far"]), document("db", to=["near"]), document("api", to=["other"])]
    world = World(images, resolved={"far": "/s/g", "near": "/s/g", "other": "/s/h"})
    assert blocked(world) == {
        "db": [
            "shared-destination image web is published to the same place, far: images/web.yaml:53:7"
            " (images/db.yaml:53:7) give one of them another: versions of two images would take each other's numbers"
        ]
    }


def test_an_image_goes_to_a_place_once_however_it_is_written() -> None:
    world = World([document("web", to=["far", "near"])], resolved={"far": "/s/g", "near": "/s/g"})
    assert blocked(world) == {
        "web": [
            "duplicate-destination near is the same as far, listed before (images/web.yaml:54:7) remove one of them"
        ]
    }


def test_places_that_nobody_resolved_are_told_apart_by_the_specs_alone() -> None:
    assert blocked(World([document("web"), document("db")])) == {}


def test_what_stands_on_a_blocked_image_is_blocked() -> None:
    images = [
        document("web", to=["far"]),
        document("db", to=["near"]),
        document("on", source={"image": {"name": "db"}}),
    ]
    world = World(images, resolved={"far": "/s/g", "near": "/s/g"})
    assert [text.split()[0] for text in blocked(world)["on"]] == ["base-blocked"]
