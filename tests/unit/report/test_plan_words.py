from dataclasses import replace

import pytest

from builder.errors import Place
from builder.model.plan import Action, PlannedStep, Reason
from builder.model.steps import Change, Stage, Step
from builder.report.plan_words import (
    Presentation,
    how_to_go_on,
    next_commands,
    short_reason,
    shown_changes,
    summary_line,
    transition,
    verdict,
)
from tests.unit.plan.world import World, document


def plan_of(*actions: Action, skipped: int = 0):
    plan = World([document("web")]).plan()
    (image,) = plan.images
    return replace(
        plan, images=tuple(replace(image, action=action) for action in actions), selection={"skipped": skipped}
    )


@pytest.mark.parametrize(
    ("plan", "line", "heading"),
    [
        (
            plan_of(*[Action.NONE] * 47),
            "No changes. 47 images match their specs (checked 47, 0 skipped).",
            "no changes, 47 images",
        ),
        (
            plan_of(Action.NONE, skipped=3),
            "No changes. 1 image matches its spec (checked 1, 3 skipped).",
            "no changes, 1 image",
        ),
        (plan_of(), "No changes. 0 images match their specs (checked 0, 0 skipped).", "no changes, 0 images"),
        (plan_of(Action.BUILD), "Plan: 1 to build.", "1 build"),
        (
            plan_of(*Action),
            "Plan: 1 to build, 1 to rebuild, 1 to adopt, 1 to publish, 1 to retire, 1 blocked, 1 unchanged.",
            "1 build, 1 rebuild, 1 adopt, 1 publish, 1 retire, 1 blocked, 1 unchanged",
        ),
        (plan_of(Action.BLOCKED, Action.NONE), "Plan: 1 blocked, 1 unchanged.", "1 blocked, 1 unchanged"),
    ],
)
def test_the_sums_never_change_their_wording(plan, line, heading):
    assert (summary_line(plan), verdict(plan)) == (line, heading)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a", "b", "it changed: a -> b"),
        (None, "b", "it changed: now b"),
        ("a", None, "it changed: was a"),
        (None, None, "it changed"),
    ],
)
def test_a_transition(before, after, expected):
    assert transition(Reason("step_changed", "it changed", before=before, after=after)) == expected


def test_a_short_reason_counts_the_others():
    (image,) = plan_of(Action.REBUILD).images
    reasons = tuple(Reason("step_changed", text, Place("a")) for text in ("first", "second", "third"))
    assert short_reason(replace(image, reasons=reasons)) == "first (+2 more)"
    assert short_reason(replace(image, reasons=reasons[:1])) == "first"
    assert short_reason(replace(image, reasons=())) == ""


@pytest.mark.parametrize(
    ("plan", "presentation", "expected"),
    [
        (plan_of(Action.BUILD), Presentation(), ("build apply", "build plan --out build.buildplan")),
        (plan_of(Action.BUILD), Presentation(saved_as="p"), ("build apply p",)),
        (plan_of(Action.NONE), Presentation(saved_as="p", arguments=["web"]), ("build plan web",)),
        (plan_of(Action.BUILD), Presentation(saved_as="p", stale=["it expired"]), ("build plan",)),
        (plan_of(Action.BLOCKED), Presentation(), ("build plan",)),
    ],
)
def test_the_next_command(plan, presentation, expected):
    assert next_commands(plan, presentation) == expected


def with_steps(*steps: Step):
    plan = plan_of(Action.BUILD)
    items = tuple(PlannedStep(step, "run") for step in steps)
    return replace(plan, images=tuple(replace(image, steps=items) for image in plan.images))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((True, True), "finished steps are kept as checkpoints."),
        ((False, True), "of steps with `checkpoint: true`, and of the last one before generalize."),
        ((), "To go on, mend that, then run the same `build apply` again."),
    ],
)
def test_how_to_go_on_says_what_is_kept(kept, expected):
    steps = [Step(Stage.PREPARE, "run", "run", {}, checkpoint=True, kept=each) for each in kept]
    assert how_to_go_on(with_steps(*steps, Step(Stage.PUBLISH, "publish", "publish", {}))).endswith(expected)


def test_nothing_has_to_be_mended_after_an_interrupt():
    plan = with_steps(Step(Stage.PUBLISH, "publish", "publish", {}))
    assert how_to_go_on(plan, interrupted=True) == "To go on, run the same `build apply` again."


def test_changes_that_steps_tell_are_not_told_again():
    changes = (
        Change("create", "package", "nginx"),
        Change("check", "test", "boot"),
        Change("create", "version", "web/1.0.0"),
        Change("create", "version", "corp/web/1.0.0", "replicas in westeurope (2)"),
        Change("change", "version", "corp/web/1.0.0", "may be the latest"),
    )
    (image,) = with_steps(Step(Stage.PREPARE, "run", "run", {}, changes=changes)).images
    assert [str(change.name) for change in shown_changes(image)] == ["nginx", "corp/web/1.0.0"]
