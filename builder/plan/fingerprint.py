"""The digest of a plan: what will be done and why, without ids and times. Equal digests are equal plans."""

from __future__ import annotations

from typing import Any

from builder.model.canonical import digest
from builder.model.plan import ImagePlan, Plan


def plan_digest(plan: Plan) -> str:
    """The digest over everything in the plan but its id, its times, its root and its own digest."""
    return digest(
        {
            "tool": plan.tool,
            "images": [_image(image) for image in plan.images],
            "inputs": plan.inputs,
            "observed": plan.observed,
            "selection": plan.selection,
            "options": plan.options,
        }
    )


def _image(image: ImagePlan) -> list[Any]:
    return [
        image.image,
        image.action,
        image.digest,
        image.version,
        image.current_version,
        image.destinations,
        image.base,
        image.retires,
        [(reason.code, reason.message, str(reason.place), reason.diff) for reason in image.reasons],
        [(item.action, item.step.digest, item.step.title, item.step.timeout) for item in image.steps],
    ]
