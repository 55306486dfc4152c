"""Versions that are held back until their tests have passed, unfinished ones, and what changes without a rebuild."""

import pytest

from builder.model.observed import VersionState
from builder.model.plan import Action, ImagePlan, Plan
from builder.model.spec import RetainSpec
from tests.unit.plan.world import World, document

APACHE = ({"packages": {"install": ["apache2"]}},)


def only(plan: Plan) -> ImagePlan:
    (image,) = plan.images
    return image


def last_kinds(image: ImagePlan, count: int) -> list[str]:
    return [item.step.kind for item in image.steps[-count:]]


def world(**options) -> World:
    return World([document("web", **options)], tests_published=True)


def held(**options) -> World:
    """A world whose first version was published and has not passed its tests."""
    found = world(**options)
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.0", VersionState.HELD)
    return found


def test_a_version_is_held_then_tested_then_promoted():
    image = only(world().plan())
    assert last_kinds(image, 4) == ["capture", "publish.memory", "provision", "promote.memory"]
    assert image.steps[-3].step.inputs["held"]
    assert [item.step.index for item in image.steps] == list(range(1, len(image.steps) + 1))


def test_without_tests_nothing_is_held():
    image = only(world(test=()).plan())
    assert last_kinds(image, 2) == ["capture", "publish.memory"]
    assert "held" not in image.steps[-1].step.inputs


def test_every_destination_is_promoted_before_anything_is_retired():
    found = world(to=("one", "two"), retain=RetainSpec(versions=1))
    found.apply(found.plan())
    found.replace(document("web", prepare=APACHE, to=("one", "two"), retain=RetainSpec(versions=1)))
    kinds = last_kinds(only(found.plan()), 7)
    assert kinds[:3] == ["publish.memory", "publish.memory", "provision"]
    assert kinds[3:] == ["promote.memory", "promote.memory", "retire.memory", "retire.memory"]


def test_a_held_version_is_tested_again_and_promoted_without_a_rebuild():
    found = held()
    image = only(found.plan())
    assert (image.action, image.version) == (Action.PUBLISH, "1.0.0")
    assert [item.step.kind for item in image.steps] == ["provision", "promote.memory"]
    assert [reason.code for reason in image.reasons] == ["version_held"]
    found.apply(found.plan())
    assert only(found.plan()).action == Action.NONE


def test_a_held_version_of_another_content_is_passed_by():
    found = held()
    found.replace(document("web", prepare=APACHE))
    image = only(found.plan())
    assert (image.action, image.version, image.current_version) == (Action.BUILD, "1.0.1", None)


def test_a_held_version_is_no_reason_to_rebuild_what_stands_promoted():
    found = world()
    found.apply(found.plan())
    found.replace(document("web", prepare=APACHE))
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.1", VersionState.HELD)
    found.replace(document("web"))
    assert only(found.plan()).action == Action.NONE


def test_an_unfinished_version_is_published_again_under_its_number():
    found = world()
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.0", VersionState.UNFINISHED)
    image = only(found.plan())
    assert (image.action, image.version) == (Action.BUILD, "1.0.0")


def test_an_unfinished_version_of_another_content_is_passed_by():
    found = world()
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.0", VersionState.UNFINISHED)
    found.replace(document("web", prepare=APACHE))
    image = only(found.plan())
    assert (image.action, image.version) == (Action.BUILD, "1.0.1")
    found.replace(document("web", prepare=APACHE, version="1.0.0"))
    image = only(found.plan())
    assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "version-exists")
    assert "unfinished" in image.reasons[0].message


def test_a_failed_version_gives_its_number_to_any_content_that_asks_for_it_by_name():
    found = world()
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.0", VersionState.FAILED)
    assert only(found.plan()).version == "1.0.0", "the same content mends it"
    found.replace(document("web", prepare=APACHE))
    assert only(found.plan()).version == "1.0.1"
    found.replace(document("web", prepare=APACHE, version="1.0.0"))
    image = only(found.plan())
    assert (image.action, image.version) == (Action.BUILD, "1.0.0")


def test_a_failed_version_of_another_content_beside_a_good_one_is_missing():
    found = world(to=("one", "two"))
    found.apply(found.plan())
    found.replace(document("web", prepare=APACHE, to=("one", "two")))
    found.apply(found.plan())
    found.set_state("two", "web", "1.0.1", VersionState.FAILED)
    found.set_digest("two", "web", "1.0.1", "sha256:other")
    image = only(found.plan())
    assert (image.action, image.destinations) == (Action.PUBLISH, ("two",))


LEFT = (
    (VersionState.HELD, "version_held", "was never promoted", "build promote web 1.0.0"),
    (VersionState.UNFINISHED, "version_unfinished", "is unfinished", "delete it there"),
    (VersionState.FAILED, "version_failed", "is what a failed publish left", "delete it there"),
)


@pytest.mark.parametrize(("state", "code", "words", "help"), LEFT)
def test_a_version_of_an_older_spec_that_nobody_can_take_is_noted(state, code, words, help):
    found = world()
    found.apply(found.plan())
    found.replace(document("web", prepare=APACHE))
    found.apply(found.plan())
    assert only(found.plan()).notes == ()
    found.set_state("gallery", "web", "1.0.0", state)
    image = only(found.plan())
    (note,) = image.notes
    assert (image.action, note.code) == (Action.NONE, code)
    assert words in note.message
    assert help in note.help


def test_changes_come_before_the_tests_of_a_version_that_is_held():
    found = held()
    found.updates["gallery"] = ("regions",)
    kinds = [item.step.kind for item in only(found.plan()).steps]
    assert kinds == ["update.regions.memory", "provision", "promote.memory"]


def test_a_rebuild_that_ended_unfinished_is_published_again_under_its_number():
    found = world()
    found.apply(found.plan())
    found.apply(found.plan(rebuild=["web"]))
    found.set_state("gallery", "web", "1.0.1", VersionState.UNFINISHED)
    assert only(found.plan(rebuild=["web"])).version == "1.0.1"
    found.replace(document("web", prepare=APACHE))
    assert only(found.plan(rebuild=["web"])).version == "1.0.2"


def test_an_unfinished_version_beside_a_good_one_is_missing():
    found = world(to=("one", "two"))
    found.apply(found.plan())
    found.set_state("two", "web", "1.0.0", VersionState.UNFINISHED)
    image = only(found.plan())
    assert (image.action, image.destinations) == (Action.PUBLISH, ("two",))
    assert [item.step.kind for item in image.steps] == ["publish.memory", "provision", "promote.memory"]


def test_a_version_that_no_destination_can_give_to_another_needs_a_new_build():
    found = world(to=("one", "two"))
    found.apply(found.plan())
    found.replace(document("web", to=("one", "two", "three")))
    found.untaken["three"] = ("one",)
    assert only(found.plan()).action == Action.PUBLISH, "two can give it"
    found.untaken["three"] = ("one", "two")
    image = only(found.plan())
    (reason,) = image.reasons
    assert (image.action, reason.code) == (Action.BLOCKED, "needs-new-version")
    assert reason.message == "three can't be given version 1.0.0 as it stands in one, two: it needs a new build"
    assert reason.place.line == 55
    assert only(found.plan(rebuild=["web"])).version == "1.0.1"


def test_held_versions_never_push_out_good_ones():
    found = world(retain=RetainSpec(versions=1))
    found.apply(found.plan())
    found.replace(document("web", prepare=APACHE, retain=RetainSpec(versions=1)))
    found.apply(found.plan())
    found.set_state("gallery", "web", "1.0.1", VersionState.HELD)
    assert only(found.plan()).retires == ()


def test_a_property_changes_without_a_rebuild():
    found = world()
    found.apply(found.plan())
    found.updates["gallery"] = ("regions",)
    image = only(found.plan())
    assert (image.action, image.version, image.destinations) == (Action.PUBLISH, "1.0.0", ("gallery",))
    assert [item.step.kind for item in image.steps] == ["update.regions.memory"]
    assert [reason.code for reason in image.reasons] == ["output_differs"]


def test_states_are_part_of_what_was_observed():
    found = held()
    assert found.plan().observed["web"]["gallery"]["states"] == {"1.0.0": "held"}
