from dataclasses import replace
from datetime import timedelta

import pytest

from builder.errors import ExitCode, Place, PlanStale
from builder.model.observed import Blocker
from builder.model.spec import RetainSpec
from builder.plan.staleness import approved, check, stale_because
from tests.unit.plan.world import NOW, World, document

SCRIPT = [{"packages": {"install": ["nginx"]}}, {"script": {"path": "a.sh"}}]


def a_world() -> World:
    world = World([document("web", prepare=SCRIPT), document("db")], files={"a.sh": "true\n"})
    world.apply(world.plan())
    world.files["a.sh"] = "echo changed\n"
    return world


def move_file(world):
    world.files["a.sh"] = "echo again\n"


def publish_elsewhere(world):
    world.publish("gallery", "web", "1.0.1", "sha256:" + "ab" * 32, [])


def publish_foreign(world):
    world.add_foreign("gallery", "db", "3.0.0")


def lose_newest(world):
    world.galleries["gallery"]["web"].clear()


def move_source(world):
    world.source_pin["index"] = "20261122"


def new_tool(world):
    world.tool = "0.2.0"


def another_destination(world):
    world.replace(document("web", prepare=SCRIPT, to=["gallery", "mirror"]))


def block(world):
    world.blockers["web"] = Blocker("not readable (403)", Place("images/web.yaml", 3))


def more_tests(world):
    world.replace(document("web", prepare=SCRIPT, test=[{"provision": {}}, {"run": {"command": "true"}}]))


def another_image(world):
    world.documents.append(document("new"))


def no_image(world):
    world.documents.pop()


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (move_file, "file a.sh changed (sha256 "),
        (publish_elsewhere, "image web at gallery: the newest version was 1.0.0 ("),
        (publish_foreign, "image db at gallery: version 3.0.0 came"),
        (lose_newest, "image web at gallery: the newest version was 1.0.0 ("),
        (move_source, "image web: the source's index moved: 20261120 -> 20261122"),
        (new_tool, "it was made by build 0.1.0, this is build 0.2.0"),
        (another_destination, "image web: destination mirror is new"),
        (block, "image web is blocked now: not readable (403)"),
        (more_tests, "image web would be made otherwise: tests "),
        (another_image, "file images/new.yaml is read now and was not"),
        (no_image, "file images/db.yaml was read and is not any more"),
    ],
)
def test_what_moved_is_named(move, expected):
    world = a_world()
    saved = world.plan()
    check(saved, world.plan(), now=NOW)
    move(world)
    with pytest.raises(PlanStale) as caught:
        check(saved, world.plan(), now=NOW)
    assert caught.value.exit_code == ExitCode.PLAN_STALE == 5
    assert f"plan {saved.id} is stale: " in caught.value.message
    assert expected in caught.value.message


def test_all_that_moved_is_told_once():
    world = a_world()
    saved = world.plan()
    move_file(world)
    new_tool(world)
    publish_foreign(world)
    with pytest.raises(PlanStale) as caught:
        check(saved, world.plan(), now=NOW, applied=True)
    lines = str(caught.value.detail).splitlines()
    assert [line.split()[0] for line in lines] == ["it", "file", "image", "image"]
    assert caught.value.message.endswith("is stale: it was applied already (and 4 more)")


def test_what_stands_on_an_image_that_changed_says_so():
    base = document("base", prepare=SCRIPT)
    app, web = (document(name, source={"image": {"name": "base"}}) for name in ("app", "web"))
    world = World([base, app, web], files={"a.sh": "true\n"})
    saved = world.plan()
    world.files["a.sh"] = "echo changed\n"
    first, *rest = stale_because(saved, world.plan(), now=NOW)
    assert first.startswith("file a.sh changed")
    assert rest == ["image app stands on base, which changed", "image web stands on base, which changed"]


@pytest.mark.parametrize(
    ("hours", "applied", "expected"),
    [
        (0, False, []),
        (23.9, False, []),
        (24, False, ["it expired at 2026-11-24T04:10:02Z"]),
        (0, True, ["it was applied already"]),
    ],
)
def test_age_and_use(hours, applied, expected):
    world = a_world()
    saved = world.plan()
    found = list(stale_because(saved, world.plan(), now=NOW + timedelta(hours=hours), applied=applied))
    assert found == expected


def test_what_a_died_apply_left_makes_no_plan_stale():
    world = a_world()
    saved = world.plan()
    steps = [item.step for item in saved.images[0].steps]
    world.checkpoints |= {step.digest for step in steps if step.checkpoint}
    check(saved, world.plan(), now=NOW)
    world.artifacts |= {step.digest for step in steps if step.kind == "capture"}
    check(saved, world.plan(), now=NOW)
    world.checkpoints.clear()
    check(saved, world.plan(), now=NOW)


def test_the_second_apply_of_a_plan_on_a_new_project_is_stale_without_any_record():
    world = World([document("web")])
    saved = world.plan()
    world.apply(saved)
    with pytest.raises(PlanStale, match=r"newest version was none, is 1\.0\.0"):
        check(saved, world.plan(), now=NOW)


def test_time_may_retire_more_but_not_less():
    world = World([document("web", retain=RetainSpec(days=2))])
    world.apply(world.plan())
    world.replace(document("web", retain=RetainSpec(days=2), generalize=False))
    early = world.plan()
    world.now += timedelta(days=2, hours=1)
    late = world.plan()
    assert (early.images[0].retires, late.images[0].retires) == ((), ("1.0.0",))
    check(early, late, now=NOW)
    carried_out = approved(early, late).images[0]
    assert carried_out.retires == ()
    assert [item.step.kind for item in carried_out.steps] == [item.step.kind for item in early.images[0].steps]
    with pytest.raises(PlanStale, match=r"version 1\.0\.0 should stay now"):
        check(replace(late, expires=early.expires), early, now=NOW)


def test_versions_that_only_time_made_too_old_are_not_deleted_by_a_plan_without_them():
    limits = RetainSpec(days=2)
    world = World([document("web", retain=limits)])
    world.apply(world.plan())
    world.replace(document("web", retain=limits, generalize=False))
    world.apply(world.plan())
    early = world.plan()
    world.now += timedelta(days=2, hours=1)
    late = world.plan()
    assert (early.images[0].action, late.images[0].action) == ("none", "retire")
    check(early, late, now=NOW)
    carried_out = approved(early, late).images[0]
    assert (carried_out.action, carried_out.steps, carried_out.retires) == ("none", (), ())
