"""What the images of one plan want of the same thing, where there is not enough of it for all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from builder.model.observed import Demand
from builder.model.plan import Action, ImagePlan, Reason

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


def _note(plan: ImagePlan, demand: Demand, before: int) -> Reason:
    message = (
        f"needs {demand.amount} {demand.what}, the images before it {before}, and {demand.free} are free: "
        "side by side it waits until theirs are"
    )
    return Reason("waits_for_room", message, plan.place)
