"""What was decided about one image, as its part of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from builder.errors import BuildError
from builder.model.observed import Blocker
from builder.model.plan import Action, ImagePlan, PlannedStep, Reason
from builder.plan.situation import Situation


def image_plan(
    situation: Situation,
    action: Action,
    *,
    reasons: tuple[Reason, ...] = (),
    digest: str = "",
    version: str | None = None,
    steps: tuple[PlannedStep, ...] = (),
    destinations: tuple[str, ...] = (),
    base: str | None = None,
    retires: tuple[str, ...] = (),
    notes: tuple[Reason, ...] = (),
) -> ImagePlan:
    """The plan of the situation's image."""
    # A blocked image may be blocked because `publish.version` can't be understood
    settled = action != Action.BLOCKED and situation.image.state == "active"
    current = (situation.current if settled else None) or situation.latest
    return ImagePlan(
        image=situation.name,
        file=situation.image.file,
        place=situation.place,
        action=action,
        reasons=reasons,
        digest=digest,
        version=version,
        current_version=current.version if current else None,
        steps=steps,
        destinations=destinations,
        base=base,
        retires=retires,
        notes=notes,
    )


def blocked(situation: Situation, reasons: Sequence[Reason], *, base: str | None = None) -> ImagePlan:
    """The plan of an image that can't be worked on now.

    What stands in the way of several parts in the same words (nobody can sign in) is about none of their lines.
    """
    alike: dict[Reason, list[Reason]] = {}
    for reason in reasons:
        alike.setdefault(replace(reason, place=None), []).append(reason)
    once = [
        found[0] if len({reason.place for reason in found}) == 1 else replace(found[0], place=situation.place)
        for found in alike.values()
    ]
    return image_plan(situation, Action.BLOCKED, reasons=tuple(once), base=base)


def reason_of(error: BuildError, situation: Situation) -> Reason:
    """An error as the reason why an image is blocked."""
    return Reason(error.code, error.message, error.where or situation.place, help=error.hint)


def as_reasons(blockers: Sequence[Blocker]) -> list[Reason]:
    """Blockers as the reasons why an image is blocked."""
    return [Reason(blocker.code, blocker.message, blocker.place, help=blocker.hint) for blocker in blockers]
