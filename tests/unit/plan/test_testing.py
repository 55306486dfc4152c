"""Tests of published versions: run where a machine can be made of one, and asked for in vain at plan time."""

import pytest

from builder.model.observed import VersionState
from builder.model.plan import Action
from tests.unit.plan.test_held import last_kinds, only, world

BOTH = ("disks", "gallery")


def test_a_version_that_no_machine_is_made_of_can_not_be_tested():
    found = world(to=("disks", "more"))
    found.undeployable = ("disks", "more")
    image = only(found.plan())

    assert (image.action, [reason.code for reason in image.reasons]) == (Action.BLOCKED, ["untestable"])
    assert "disks and more" in image.reasons[0].message
    found.tests_published = False
    assert only(found.plan()).action == Action.BUILD, "then its tests need no published version"
    found = world(to=("disks",), test=())
    found.undeployable = ("disks",)
    assert only(found.plan()).action == Action.BUILD


def test_one_that_machines_are_made_of_is_tested_for_all():
    found = world(to=BOTH)
    found.undeployable = ("disks",)

    kinds = ["publish.memory", "publish.memory", "provision", "promote.memory", "promote.memory"]
    assert last_kinds(only(found.plan()), 5) == kinds


@pytest.mark.parametrize("state", [None, VersionState.HELD])
def test_what_has_passed_elsewhere_is_not_tested_where_it_can_not_be(state):
    """Added later, or left held by a run that died while it promoted."""
    found = world(to=BOTH)
    found.undeployable = ("disks",)
    found.apply(found.plan())
    if state is None:
        found.galleries["disks"]["web"].clear()
    else:
        found.set_state("disks", "web", "1.0.0", state)
    image = only(found.plan())

    assert [item.step.kind for item in image.steps] == ["publish.memory" if state is None else "promote.memory"]
    assert not image.steps[0].step.inputs.get("held")
    found.apply(found.plan())
    assert only(found.plan()).action == Action.NONE


def test_what_is_held_everywhere_is_tested_before_anything_is_promoted():
    found = world(to=BOTH)
    found.undeployable = ("disks",)
    found.apply(found.plan())
    for name in BOTH:
        found.set_state(name, "web", "1.0.0", VersionState.HELD)

    assert [item.step.kind for item in only(found.plan()).steps] == ["provision", "promote.memory", "promote.memory"]


def test_what_is_held_only_where_it_can_not_be_tested_needs_another_place():
    found = world(to=BOTH)
    found.undeployable = ("disks",)
    found.apply(found.plan())
    found.set_state("disks", "web", "1.0.0", VersionState.HELD)
    found.galleries["gallery"]["web"].clear()
    image = only(found.plan())

    assert [item.step.kind for item in image.steps][:2] == ["publish.memory", "provision"]
