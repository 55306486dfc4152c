"""`services`: which services start at boot. Offline and live alike, only the links that say so are changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.guest.kinds import windows
from builder.guest.kinds.common import Staged, listed, make_step, register
from builder.model.run import GuestFacts, GuestScript
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Step

VERSION = 1
FUNCTIONS = Path(__file__).parents[1] / "templates" / "services.sh"
# In this order: what a service is masked against may be named under `disable` too
VERBS: Mapping[str, str] = {"disable": "disabled", "enable": "enabled", "mask": "masked"}


def step(choice: Choice, image: ImageSpec) -> Step:
    """The step; a unit may bring further links (`Also=`) that only the image knows."""
    details = windows.START_TYPES if windows.is_windows(image) else VERBS
    named = {verb: list(choice.values.get(verb, ())) for verb in VERBS}
    return make_step(
        choice,
        image,
        title="; ".join(f"{verb} {listed(names)}" for verb, names in named.items() if names) or "no services",
        inputs=named,
        preview=Preview.PREDICTED,
        changes=[Change("change", "service", name, details[verb]) for verb, names in named.items() for name in names],
    )


def script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """Calls of the functions in templates/services.sh."""
    lines = [FUNCTIONS.read_text(encoding="utf-8")]
    lines += [f"{verb} {shlex.join(inputs[verb])}" for verb in VERBS if inputs.get(verb)]
    return GuestScript("\n".join(lines) + "\n", env={"SYSTEMD_OFFLINE": "1"})


register("services", VERSION, {"linux": script, "windows": windows.services_script})
