"""What the images of one plan want of the same thing: there is too little of it, or it can be one image's alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from builder.errors import Place
from builder.model.observed import Demand
from builder.model.plan import Action, ImagePlan, Reason
from builder.plan.situation import Situation

# What makes machines
MAKING = frozenset({Action.BUILD, Action.REBUILD})


def with_waits(plans: Iterable[ImagePlan], demands: Mapping[str, Sequence[Demand]]) -> list[ImagePlan]:
    """The plans, with a note on each image whose build does not fit beside those before it. `demands` are by image."""
    wanted: Counter[str] = Counter()
    found = []
    for plan in plans:
        notes = []
        for demand in demands.get(plan.image, ()) if plan.action in MAKING else ():
            before = wanted[demand.what]
            wanted[demand.what] += demand.amount
            if before and wanted[demand.what] > demand.free:
                notes.append(_note(plan, demand, before))
        found.append(replace(plan, notes=(*plan.notes, *notes)) if notes else plan)
    return found


class Claims:
    """Which image is published where: what two specs write differently may turn out to be the same place."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str, Place]] = {}

    def refused(self, situation: Situation) -> list[Reason]:
        """Why an image can't be published where it wants to be, after all that were looked at before it."""
        reasons = []
        for index, (destination, published) in enumerate(situation.published):
            if not published.resolved:
                continue
            place = situation.image.place("publish", "to", index)
            mine = (situation.name, destination.name, place)
            first = self._first.setdefault(published.resolved, mine)
            if first is mine:
                continue
            owner, name, theirs = first
            if owner == situation.name:
                message, help = f"{destination.name} is the same as {name}, listed before", "remove one of them"
                reasons.append(Reason("duplicate-destination", message, place, help=help))
            else:
                message = f"image {owner} is published to the same place, {name}: {theirs}"
                help = "give one of them another: versions of two images would take each other's numbers"
                reasons.append(Reason("shared-destination", message, place, help=help))
        return reasons


def _note(plan: ImagePlan, demand: Demand, before: int) -> Reason:
    message = (
        f"needs {demand.amount} {demand.what}, the images before it {before}, and {demand.free} are free: "
        "side by side it waits until theirs are"
    )
    return Reason("waits_for_room", message, plan.place)
