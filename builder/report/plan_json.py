"""A plan as JSON for programs: `schemas/plan.schema.json`.

The format's version follows one rule: its minor part grows when keys are added (readers ignore what they don't know),
its major part when a reader of the old format would go wrong.
"""

from __future__ import annotations

from typing import Any

from builder.errors import Place
from builder.model.plan import Action, ImagePlan, Plan, PlannedStep, Reason
from builder.model.steps import Preview
from builder.report.plan_words import (
    Presentation,
    applyable,
    changed_images,
    counts,
    next_commands,
    opaque_steps,
    summary_line,
)

FORMAT = "1.0"
CERTAINTY = {Preview.EXACT: "exact", Preview.PREDICTED: "predicted", Preview.OPAQUE: "not_previewed"}


def plan_document(plan: Plan, presentation: Presentation | None = None) -> dict[str, Any]:
    """The plan as one JSON document. Secrets show as `true` in `after_sensitive`, never as values."""
    presentation = presentation or Presentation()
    counted = counts(plan)
    return {
        "format_version": FORMAT,
        "tool_version": plan.tool,
        "plan_id": plan.id,
        "created": plan.created,
        "expires": plan.expires,
        "digest": plan.digest,
        "applyable": applyable(plan) and not presentation.stale,
        "complete": not plan.blocked,
        "stale": list(presentation.stale),
        "selection": dict(plan.selection),
        "options": dict(plan.options),
        "inputs": dict(plan.inputs),
        "observed": dict(plan.observed),
        "summary": {
            **{str(action): counted[action] for action in Action if action != Action.NONE},
            "unchanged": counted[Action.NONE],
            "skipped": plan.selection.get("skipped", 0),
            "not_previewed_steps": opaque_steps(plan),
            "text": summary_line(plan),
        },
        "image_changes": [_image(image) for image in changed_images(plan)],
        "unchanged": [image.image for image in plan.images if image.action == Action.NONE],
        "diagnostics": [
            *(_diagnostic(image, reason, "error") for image in plan.blocked for reason in image.reasons),
            *(_diagnostic(image, note, "note") for image in plan.images for note in image.notes),
        ],
        "next": list(next_commands(plan, presentation)),
    }


def actions(image: ImagePlan) -> list[str]:
    """All that happens to an image, so that a reader finds every deletion by looking for "retire"."""
    found = [str(image.action)]
    if image.action not in (Action.PUBLISH, Action.RETIRE, Action.BLOCKED) and image.destinations:
        found.append(str(Action.PUBLISH))
    if image.retires and image.action != Action.RETIRE:
        found.append(str(Action.RETIRE))
    return found


def _image(image: ImagePlan) -> dict[str, Any]:
    makes = image.action in (Action.BUILD, Action.REBUILD, Action.ADOPT)
    sensitive = {
        str(item.step.index): {"secrets": dict.fromkeys(item.step.inputs["secrets"], True)}
        for item in image.steps
        if item.step.inputs.get("secrets")
    }
    return {
        "address": f"image.{image.image}",
        "image": image.image,
        "source": _place(image.place),
        "change": {
            "actions": actions(image),
            "before": {"version": image.current_version} if image.current_version else None,
            "after": {"version": image.version, "digest": image.digest} if image.version else None,
            "after_unknown": {"disks": True} if makes else {},
            "before_sensitive": {},
            "after_sensitive": {"steps": sensitive} if sensitive else {},
        },
        "action_reason": image.reasons[0].code if image.reasons else "",
        "because": [_reason(reason) for reason in image.reasons],
        "base": image.base,
        "start": image.start,
        "steps": [_step(item) for item in image.steps],
        "publish": [{"destination": name, "version": image.version} for name in image.destinations if image.version],
        "retires": list(image.retires),
        "not_previewed_steps": image.opaque_steps,
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "code": reason.code,
        "message": reason.message,
        "from": reason.before,
        "to": reason.after,
        "source": _place(reason.place) if reason.place else None,
        "diff": list(reason.diff),
        "help": reason.help,
    }


def _step(item: PlannedStep) -> dict[str, Any]:
    step = item.step
    return {
        "index": step.index,
        "stage": str(step.stage),
        "kind": step.kind,
        "name": step.title,
        "action": item.action,
        "digest": step.digest,
        "certainty": CERTAINTY[step.preview],
        "source": _place(step.place) if step.place else None,
        "timeout": step.timeout,
        "inputs": dict(step.inputs),
        "files": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in step.files],
        "changes": [
            {"action": change.action, "kind": change.kind, "name": change.name, "detail": change.detail}
            for change in step.changes
        ],
    }


def _diagnostic(image: ImagePlan, reason: Reason, severity: str) -> dict[str, Any]:
    return {
        "severity": severity,
        "code": reason.code,
        "image": image.image,
        "summary": reason.message,
        "help": reason.help,
        "source": _place(reason.place or image.place),
    }


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "column": place.column}
