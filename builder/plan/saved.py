"""The saved plan: one JSON file that `build apply` carries out.

Secrets are references in it, but it holds the text of files that steps read: only its owner may read it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import BuildError, Place
from builder.model.canonical import canonical, digest
from builder.model.plan import PLAN_FORMAT, Action, ImagePlan, Plan, PlannedStep, Reason
from builder.model.steps import Step
from builder.plan.fingerprint import plan_digest
from builder.records.files import write_json

OWNER_ONLY = 0o600
# Says what the file is, also to people who find it
MARK = "build plan"


def save(plan: Plan, path: Path) -> None:
    """Write a plan, whole or not at all. Raises BuildError as `refuse_target` does, and when it can't be written."""
    refuse_target(path)
    try:
        content = plan.as_dict()
        write_json(path, {"file": MARK, "seal": digest(json.loads(canonical(content))), **content}, mode=OWNER_ONLY)
    except OSError as error:
        raise BuildError(f"the plan can't be saved to {path}: {error.strerror}", code="plan-file") from error


def refuse_target(path: Path) -> None:
    """Raise BuildError when a plan mustn't be saved here: "exists" for somebody's file, "plan-file" where it can't be.

    Only what `save` wrote is replaced.
    """
    # A folder that isn't there is most likely misspelt, and nobody asked for another
    if not path.parent.is_dir():
        raise BuildError(f"the plan can't be saved to {path}: there is no folder {path.parent}", code="plan-file")
    if path.is_dir():
        raise BuildError(
            f"the plan can't be saved to {path}: it is a folder",
            code="plan-file",
            hint=f"name a file in it, such as {path / 'build.buildplan'}",
        )
    if os.path.lexists(path) and not is_saved(path):
        raise BuildError(
            f"{path} exists already and is not a saved plan, so it isn't overwritten",
            code="exists",
            hint="give --out a new name, such as build.buildplan",
        )


def is_saved(path: Path) -> bool:
    """Whether a file says at its beginning that it is a saved plan: it may still be damaged, or of another format."""
    try:
        # A pipe or a device would be waited for, and a disk needn't be read whole
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return bool(_BEGINNING.match(file.read(256)))
    except OSError:
        return False


def load(path: Path) -> Plan:
    """The plan that `save` wrote.

    A plan of a newer minor format is read, what it adds is ignored. Raises BuildError (code "plan-file") for another
    major format, for what isn't a saved plan, and for one that was changed.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise BuildError(f"the plan {path} can't be read: {error.strerror}", code="plan-file") from error
    except ValueError as error:
        if is_saved(path):
            raise BuildError(f"the plan {path} is damaged: {error}", code="plan-file", hint=_AGAIN) from error
        raise BuildError(f"{path} is not a saved plan", code="plan-file", hint=_MADE_BY) from error
    if not isinstance(data, dict) or data.get("file") != MARK:
        raise BuildError(f"{path} is not a saved plan", code="plan-file", hint=_MADE_BY)
    wrote = str(data.get("format_version"))
    if wrote.split(".", maxsplit=1)[0] != PLAN_FORMAT.split(".", maxsplit=1)[0]:
        raise BuildError(
            f"the plan {path} has format {wrote}; this version of build reads {PLAN_FORMAT}",
            code="plan-file",
            hint="plan again with this version",
        )
    try:
        plan = _plan(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BuildError(f"the plan {path} is damaged: {error!r}", code="plan-file", hint=_AGAIN) from error
    sealed = {key: value for key, value in data.items() if key not in ("file", "seal")}
    # The plan's own digest leaves out id, times and root, which decide as well what is applied where
    changed = wrote == PLAN_FORMAT and (digest(sealed) != data.get("seal") or plan_digest(plan) != plan.digest)
    if changed or not _ID.fullmatch(plan.id):
        raise BuildError(f"the plan {path} was changed after it was made", code="plan-file", hint=_AGAIN)
    return plan


# It names a file in the store
_ID = re.compile(r"[0-9a-f]{6,64}")
_BEGINNING = re.compile(rb'\s*\{\s*"file"\s*:\s*"%s"' % MARK.encode())
_MADE_BY = "a saved plan is what `build plan --out FILE` writes"
_AGAIN = "make it with `build plan --out FILE`"


def _plan(data: Mapping[str, Any]) -> Plan:
    return Plan(
        **{
            **_known(Plan, data),
            "images": tuple(_image(image) for image in data["images"]),
        }
    )


def _image(data: Mapping[str, Any]) -> ImagePlan:
    return ImagePlan(
        **{
            **_known(ImagePlan, data),
            "place": Place(**data["place"]),
            "action": Action(data["action"]),
            "reasons": tuple(_reason(reason) for reason in data["reasons"]),
            "steps": tuple(
                PlannedStep(Step.from_dict(_known(Step, item["step"])), item["action"]) for item in data["steps"]
            ),
            "destinations": tuple(data["destinations"]),
            "retires": tuple(data["retires"]),
            "notes": tuple(_reason(note) for note in data.get("notes", ())),
        }
    )


def _reason(data: Mapping[str, Any]) -> Reason:
    place = Place(**data["place"]) if data["place"] else None
    return Reason(**{**_known(Reason, data), "place": place, "diff": tuple(data["diff"])})


def _known(kind: type[Plan | ImagePlan | Reason | Step], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in kind.__dataclass_fields__ if name in data}
