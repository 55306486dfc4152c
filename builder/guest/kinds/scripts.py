"""`script`, `run` and `restart`: what an author does with own means. Plans can't look into them (preview: opaque)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import BuildError, Place
from builder.guest.kinds import windows
from builder.guest.kinds.common import Staged, file_input, make_step, place_of, register
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestFacts, GuestScript, StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import FileInput, Preview, Step

VERSION = 1
SHELL = ("/bin/sh", "-eu")
LONGEST_TITLE = 60


def script_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `script`. Raises BuildError for a file that is missing or no text."""
    values = choice.values
    where = place_of(choice, image, "path")
    file = file_input(image, values["path"], where)
    arguments = [str(word) for word in values.get("args") or ()]
    if windows.is_windows(image):
        interpreter = windows.interpreter(values.get("interpreter"), file.path, arguments, where)
    else:
        interpreter = _interpreter(values.get("interpreter"), image, file, where)
    return make_step(
        choice,
        image,
        title=f"script {values['path']}",
        inputs={
            "path": file.path,
            "interpreter": list(interpreter),
            "args": arguments,
            "env": dict(values.get("env") or {}),
            "secrets": dict(values.get("secrets") or {}),
        },
        preview=Preview.OPAQUE,
        files=[file],
    )


def _interpreter(given: str | None, image: ImageSpec, file: FileInput, where: Place) -> list[str]:
    """What was asked for, else what the first line says, else sh that stops at the first error."""
    text = file.text if file.text is not None else _text(image.root / file.path)
    if text is None or "\0" in text:
        raise BuildError(f"{file.path} is not a script: it is no UTF-8 text", code="not-a-script", where=where,
                         hint="put a program into the image with `files` and start it with `run`")  # fmt: skip
    first = text.split("\n", 1)[0]
    if first.endswith("\r"):
        raise BuildError(f"{file.path} has Windows line ends: no interpreter would be found", code="line-ends",
                         where=where, hint="save it with LF line ends")  # fmt: skip
    if given:
        return shlex.split(given)
    if not first.startswith("#!"):
        return list(SHELL)
    # As the kernel does it: the rest of the line is one argument
    return first[2:].strip().split(None, 1) or list(SHELL)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def script_of_file(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """The file's text under its interpreter."""
    return GuestScript(
        files[inputs["path"]].read_text(encoding="utf-8"),
        interpreter=tuple(inputs["interpreter"]),
        arguments=tuple(inputs["args"]),
        env=inputs["env"],
    )


def run_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `run`: a line or more of shell."""
    values = choice.values
    command = values["command"]
    lines = command.strip().splitlines() or [""]
    shown = lines[0] if len(lines[0]) <= LONGEST_TITLE else lines[0][: LONGEST_TITLE - 1] + "…"
    return make_step(
        choice,
        image,
        title=f"run {shown}" + (" …" if len(lines) > 1 else ""),
        inputs={
            "command": command,
            "env": dict(values.get("env") or {}),
            "secrets": dict(values.get("secrets") or {}),
        },
        preview=Preview.OPAQUE,
    )


def script_of_command(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """The command under sh that stops at the first error and at unset variables."""
    return GuestScript(inputs["command"].rstrip("\n") + "\n", interpreter=SHELL, env=inputs["env"])


def restart_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of `restart`; its title says when it does nothing."""
    offline = image.machine.kind == "local"
    return make_step(
        choice,
        image,
        title="restart (does nothing offline)" if offline else "restart",
        inputs={},
        preview=Preview.EXACT,
    )


def _restart(step: Step, context: StepContext) -> None:
    session = context.session
    if session.guest.live:
        session.restart(step.timeout)
    else:
        context.log("nothing to restart: the disk is worked on offline, and every VM from it boots afresh")


register("script", VERSION, {"linux": script_of_file, "windows": windows.script_of_file})
register("run", VERSION, {"linux": script_of_command, "windows": windows.script_of_command})
KINDS.register(Kind("restart", VERSION, _restart))
