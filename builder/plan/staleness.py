"""Whether a saved plan still holds: it is compared with one made now, and what moved is named.

Checkpoints and captured artifacts don't matter: they decide how long an apply takes, not what it makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from builder.errors import PlanStale
from builder.model.canonical import short
from builder.model.plan import Action, ImagePlan, Plan
from builder.plan.differences import differences, spelled
from builder.plan.reasons import SOURCE_PREFIX

# An artifact that is there already changes how an image is made, not what is made
_SAME_RESULT = {Action.ADOPT: "build", Action.BUILD: "build", Action.REBUILD: "build"}

# What moves in an image's source whenever the image that it stands on does
FOLLOWING = ("version", "digest")


def check(saved: Plan, fresh: Plan, *, now: datetime, applied: bool = False) -> None:
    """Raise PlanStale when carrying `saved` out would not do what it says; the message names what moved.

    `fresh` is a plan made now with the same options; `applied` says that `saved` was carried out before.
    """
    moved = list(stale_because(saved, fresh, now=now, applied=applied))
    if not moved:
        return
    more = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
    raise PlanStale(
        f"plan {saved.id} is stale: {moved[0]}{more}",
        code="plan-stale",
        hint="plan again, and look at what is different",
        detail="\n".join(moved[1:]) or None,
    )


def approved(saved: Plan, fresh: Plan) -> Plan:
    """The fresh plan, cut to what was approved: versions that only time has made too old since then stay."""
    before = {image.image: set(image.retires) for image in saved.images}
    return replace(
        fresh, id=saved.id, images=tuple(_approved(image, before.get(image.image, set())) for image in fresh.images)
    )


def _approved(image: ImagePlan, retires: set[str]) -> ImagePlan:
    unapproved = set(image.retires) - retires
    if not unapproved:
        return image
    left = set(image.retires) - unapproved
    return replace(
        image,
        action=Action.NONE if image.action == Action.RETIRE and not left else image.action,
        retires=tuple(version for version in image.retires if version in retires),
        steps=tuple(
            item
            for item in image.steps
            if not item.step.kind.startswith("retire.") or item.step.inputs["version"] not in unapproved
        ),
    )


def stale_because(saved: Plan, fresh: Plan, *, now: datetime, applied: bool = False) -> Iterator[str]:
    """Everything that moved since the plan was made, one sentence each, the plainest first."""
    if applied:
        yield "it was applied already"
    if now >= datetime.fromisoformat(saved.expires):
        yield f"it expired at {saved.expires}"
    if saved.tool != fresh.tool:
        yield f"it was made by build {saved.tool}, this is build {fresh.tool}"
    yield from _blocked(saved, fresh)
    yield from _inputs(saved.inputs, fresh.inputs)
    yield from _observed(saved.observed, fresh.observed)
    named = list(_sources(saved, fresh))
    yield from named
    if not named:
        yield from _images(saved, fresh)


def _blocked(saved: Plan, fresh: Plan) -> Iterator[str]:
    before = {image.image for image in saved.blocked}
    for image in fresh.blocked:
        if image.image not in before:
            yield f"image {image.image} is blocked now: {image.reasons[0].message}"


def _inputs(saved: Mapping[str, str], fresh: Mapping[str, str]) -> Iterator[str]:
    for path in sorted({*saved, *fresh}):
        before, after = saved.get(path), fresh.get(path)
        if before == after:
            continue
        if before is None or after is None:
            yield f"file {path} {'is read now and was not' if before is None else 'was read and is not any more'}"
        else:
            yield f"file {path} changed (sha256 {short(before)} -> {short(after)})"


def _observed(saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    for image in sorted({*saved, *fresh}):
        before, after = saved.get(image, {}), fresh.get(image, {})
        for destination in sorted({*before, *after}):
            old, new = before.get(destination), after.get(destination)
            if old == new:
                continue
            if old is None or new is None:
                yield f"image {image}: destination {destination} is {'new' if old is None else 'gone'}"
            elif (old["version"], old["digest"]) != (new["version"], new["digest"]):
                yield f"image {image} at {destination}: the newest version was {_version(old)}, is {_version(new)}"
            else:
                yield f"image {image} at {destination}: {_came_and_went(old['versions'], new['versions'])}"


def _version(observed: Mapping[str, Any]) -> str:
    return f"{observed['version']} ({short(observed['digest'])})" if observed["version"] else "none"


def _came_and_went(before: list[str], after: list[str]) -> str:
    came = [f"{version} came" for version in after if version not in before]
    went = [f"{version} went" for version in before if version not in after]
    return f"version {', '.join(came + went)}"


def _sources(saved: Plan, fresh: Plan) -> Iterator[str]:
    now = {image.image: image for image in fresh.images}
    changed = {image.image for image in saved.images if image.image in now and image.digest != now[image.image].digest}
    for image in saved.images:
        before, after = _source(image), _source(now[image.image]) if image.image in now else {}
        if before and after and before != after:
            base = after.get("image")
            follows = base in changed and base == before.get("image")
            if follows and any(before.get(key) != after.get(key) for key in FOLLOWING):
                yield f"image {image.image} stands on {base}, which changed"
            for difference in differences(before, after):
                if follows and difference.path[0] in FOLLOWING:
                    continue
                moved = f"{difference.before or 'none'} -> {difference.after or 'none'}"
                name = spelled(difference.path)
                yield f"image {image.image}: the source's {name} moved{'' if difference.diff else f': {moved}'}"


def _source(image: ImagePlan) -> dict[str, Any]:
    steps = [item.step for item in image.steps if item.step.kind.startswith(SOURCE_PREFIX)]
    return {"kind": steps[0].kind, **steps[0].inputs} if steps else {}


def _images(saved: Plan, fresh: Plan) -> Iterator[str]:
    """What else an apply would do otherwise. Says nothing new where a file or a version has been named."""
    now = {image.image: image for image in fresh.images}
    for before in saved.images:
        after = now.pop(before.image, None)
        if after is None:
            yield f"image {before.image} is not planned any more"
        elif after.action == Action.BLOCKED:
            continue  # said already
        elif _result(before) != _result(after):
            old, new = _result(before), _result(after)
            what = ", ".join(f"{name} {old[name]} -> {new[name]}" for name in old if old[name] != new[name])
            yield f"image {before.image} would be made otherwise: {what}"
        elif not set(before.retires) <= set(after.retires):
            kept = sorted(set(before.retires) - set(after.retires))
            yield f"image {before.image}: version {', '.join(kept)} should stay now"
    for name in now:
        yield f"image {name} is planned now and was not"


def _result(image: ImagePlan) -> dict[str, str]:
    """What makes two plans of an image the same: the action, the version, and every step's digest."""
    steps = [item.step.digest for item in image.steps if item.step.identity]
    # Which versions retention lets go is compared apart: time alone adds some
    only_retains = image.action == Action.RETIRE and not image.is_retired
    return {
        "action": "none" if only_retains else _SAME_RESULT.get(image.action, image.action),
        "version": str(image.version),
        "content": short(image.digest),
        "result": short(steps[-1]) if steps else "",
        "tests": " ".join(short(item.step.digest) for item in image.steps if item.step.stage == "test"),
    }
