"""The words of a plan that every rendering shares: order, symbols, counts, sentences. Nothing here knows a medium.

`summary_line` and `verdict` are read by scripts: their wording is part of the interface and doesn't change.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.model.canonical import short
from builder.model.plan import Action, ImagePlan, Plan, PlannedStep, Reason
from builder.model.steps import Change, FileInput, Preview, Step
from builder.report.units import bytes_text

# In the order in which a reader should meet them: what needs a person first
ACTIONS = (
    Action.BLOCKED,
    Action.RETIRE,
    Action.REBUILD,
    Action.BUILD,
    Action.ADOPT,
    Action.PUBLISH,
)
SYMBOLS: Mapping[Action, str] = {
    Action.BLOCKED: "!",
    Action.RETIRE: "-",
    Action.REBUILD: "~",
    Action.BUILD: "+",
    Action.ADOPT: "^",
    Action.PUBLISH: "^",
    Action.NONE: "=",
}
_COUNTED = (
    (Action.BUILD, "to build"),
    (Action.REBUILD, "to rebuild"),
    (Action.ADOPT, "to adopt"),
    (Action.PUBLISH, "to publish"),
    (Action.RETIRE, "to retire"),
    (Action.BLOCKED, "blocked"),
    (Action.NONE, "unchanged"),
)
_CHANGE_SIGNS: Mapping[str, str] = {
    **dict.fromkeys(("add", "create", "enable", "install", "publish", "write"), "+"),
    **dict.fromkeys(("delete", "disable", "mask", "remove", "retire"), "-"),
}

_CERTAINTY: Mapping[Preview, str] = {Preview.PREDICTED: "predicted", Preview.OPAQUE: "not previewed"}
_LEGEND: Mapping[Preview, str] = {
    Preview.PREDICTED: "details may differ",
    Preview.OPAQUE: "only running it shows what it changes",
}
# What a command or script is given beside its text
GIVEN = ("interpreter", "args", "env", "secrets")


@dataclass(frozen=True)
class Presentation:
    """What a rendering is told beside the plan.

    `saved_as` is the file of a saved plan, `arguments` those of `build plan` that the next command repeats, `stale`
    why a saved plan doesn't hold any more, `full` asks for all lines, `applying` says that apply shows its own plan.
    """

    saved_as: str | None = None
    arguments: Sequence[str] = ()
    stale: Sequence[str] = ()
    full: bool = False
    applying: bool = False


def noted_images(plan: Plan) -> list[ImagePlan]:
    """The images that nothing happens to, and of which there is something to say all the same."""
    return [image for image in plan.images if image.action == Action.NONE and image.notes]


def changed_images(plan: Plan) -> list[ImagePlan]:
    """The images that something happens to, or should: in the order of `ACTIONS`, then in that of the plan."""
    ranks = {action: rank for rank, action in enumerate(ACTIONS)}
    return sorted((image for image in plan.images if image.action in ranks), key=lambda image: ranks[image.action])


def counts(plan: Plan) -> Counter[Action]:
    """How many images each action has."""
    return Counter(image.action for image in plan.images)


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def summary_line(plan: Plan) -> str:
    """`Plan: 1 to build, 43 unchanged.` or `No changes. 47 images match their specs (checked 47, 0 skipped).`"""
    counted = counts(plan)
    if counted.keys() <= {Action.NONE}:
        total = len(plan.images)
        match = "image matches its spec" if total == 1 else "images match their specs"
        skipped = plan.selection.get("skipped", 0)
        if skipped and not total:
            return f"No changes. Every image was left out (checked 0, {skipped} skipped)."
        return f"No changes. {total} {match} (checked {total}, {skipped} skipped)."
    return "Plan: " + ", ".join(f"{counted[action]} {words}" for action, words in _COUNTED if counted[action]) + "."


def verdict(plan: Plan) -> str:
    """The counts for a heading: `1 build, 1 rebuild, 43 unchanged`."""
    counted = counts(plan)
    if counted.keys() <= {Action.NONE}:
        return f"no changes, {plural(len(plan.images), 'image')}"
    words = {action: str(action) for action, _ in _COUNTED} | {Action.NONE: "unchanged"}
    return ", ".join(f"{counted[action]} {words[action]}" for action, _ in _COUNTED if counted[action])


def sentence(image: ImagePlan) -> str:
    """What happens to an image, without its name: `will be rebuilt as 1.0.1`."""
    gone = f"{plural(len(image.retires), 'version')} will be deleted"
    return {
        Action.BLOCKED: "is blocked",
        Action.RETIRE: f"will be retired: {gone}" if image.is_retired else f"stays at {image.current_version}: {gone}",
        Action.REBUILD: f"will be rebuilt as {image.version}",
        Action.BUILD: f"will be built as {image.version}",
        Action.ADOPT: f"was captured by an earlier run and will be published as {image.version}",
        Action.PUBLISH: f"{image.version} will be published where it is missing"
        if any(item.step.kind.startswith("publish.") for item in running(image))
        else f"{image.version} will be changed where it stands",
        Action.NONE: "is unchanged",
    }[image.action]


def decisive(image: ImagePlan) -> Reason | None:
    """The reason that decides."""
    return image.reasons[0] if image.reasons else None


def short_reason(image: ImagePlan) -> str:
    """The decisive reason in a line, and how many more there are."""
    reason = decisive(image)
    if reason is None:
        return ""
    more = len(image.reasons) - 1
    return transition(reason) + (f" (+{more} more)" if more else "")


def transition(reason: Reason) -> str:
    """A reason's message with what it was and is."""
    before, after = reason.before, reason.after
    if before is not None and after is not None:
        return f"{reason.message}: {before} -> {after}"
    if after is not None and reason.code != "step_added":
        return f"{reason.message}: now {after}"
    if before is not None and reason.code != "step_removed":
        return f"{reason.message}: was {before}"
    return reason.message


def running(image: ImagePlan) -> list[PlannedStep]:
    """The steps that will run."""
    return [item for item in image.steps if item.action == "run"]


def step_ranges(image: ImagePlan) -> str:
    """Which steps are taken from a checkpoint and which run: `1-4 from checkpoint 71d0c4a1b2c3, 5-8 run`."""
    reused = [item.step.index for item in image.steps if item.action == "reuse"]
    runs = [item.step.index for item in image.steps if item.action == "run"]
    parts = []
    if reused and image.start:
        what = "the captured artifact" if image.action == Action.ADOPT else "checkpoint"
        parts.append(f"{_range(reused)} from {what} {image.start.removeprefix('sha256:')[:12]}")
    if runs:
        parts.append(f"{_range(runs)} run")
    return ", ".join(parts)


def _range(indexes: Sequence[int]) -> str:
    return str(indexes[0]) if len(indexes) == 1 else f"{indexes[0]}-{indexes[-1]}"


def certainty(item: PlannedStep) -> str:
    """What the plan can't show of a step, "" when it shows everything."""
    return _CERTAINTY.get(item.step.preview, "")


def mark(item: PlannedStep) -> str:
    """What stands behind a step's title: how long a command is that it shows one line of, and its certainty."""
    lines = command_lines(item.step)
    words = [plural(len(lines), "line") if len(lines) > 1 else "", certainty(item)]
    told = ", ".join(word for word in words if word)
    return f"({told})" if told else ""


def command_lines(step: Step) -> list[str]:
    """The lines of a step's own command, [] where its title holds all of it. They are not printable yet."""
    command = step.inputs.get("command")
    if step.preview != Preview.OPAQUE or not isinstance(command, str) or step.title.endswith(f" {command.strip()}"):
        return []
    # As a shell takes it: other characters end no line
    return command.strip("\n").split("\n")


def own_means(step: Step, *, files: bool) -> list[str]:
    """What an author does by own means, whole, for those who approve it: what it is given, then its lines.

    `files` adds the text of the step's scripts, as far as the plan holds it. The lines are not printable yet.
    """
    lines = list(command_lines(step))
    if files and step.preview == Preview.OPAQUE:
        lines += [line for file in step.files for line in _file_lines(file)]
    given = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _given(step)]
    return [*given, *(f"| {line}" for line in lines)] if lines else []


def _given(step: Step) -> Iterator[tuple[str, Any]]:
    yield from ((key, step.inputs[key]) for key in GIVEN if step.inputs.get(key))


def _file_lines(file: FileInput) -> list[str]:
    if file.text is None:
        return [f"({file.path} is not in the plan: {bytes_text(file.size)}, sha256 {short(file.sha256)})"]
    return file.text.removesuffix("\n").split("\n")


def legend(plan: Plan) -> str:
    """What the words of `certainty` mean that the plan's steps have; "" when they have none."""
    listed = [image for image in plan.images if image.action != Action.RETIRE]
    found = {certainty(item) for image in listed for item in running(image)}
    return " ".join(f"({word}): {_LEGEND[preview]}." for preview, word in _CERTAINTY.items() if word in found)


def change_sign(action: str) -> str:
    """`+`, `-` or `~` for a change."""
    return _CHANGE_SIGNS.get(action, "~")


def shown_changes(image: ImagePlan) -> list[Change]:
    """The changes that the lines of steps and of deleted versions don't tell already."""
    return [
        change
        for change in image.changes
        if change.kind != "test" and (change.kind != "version" or (change.action == "create" and change.detail))
    ]


def opaque_steps(plan: Plan) -> int:
    """How many steps will run whose effect can't be shown before."""
    return sum(image.opaque_steps for image in plan.images)


def applyable(plan: Plan) -> bool:
    """Whether there is something to apply, by a plan that looked at what exists."""
    return plan.has_changes and not plan.options.get("offline")


def next_commands(plan: Plan, presentation: Presentation) -> tuple[str, ...]:
    """The exact command to go on with: apply, or plan again when the plan doesn't hold."""
    arguments = list(presentation.arguments)
    if presentation.stale or not applyable(plan):
        return (shlex.join(["build", "plan", *arguments]),)
    if presentation.saved_as is not None:
        return (shlex.join(["build", "apply", presentation.saved_as]),)
    return (shlex.join(["build", "apply", *arguments]), shlex.join(["build", "plan", "--out", FILE, *arguments]))


def how_to_go_on(plan: Plan, *, interrupted: bool = False) -> str:
    """What an apply that failed or was interrupted says: what to do, and which work need not be done again."""
    again = "To go on, " + ("" if interrupted else "mend that, then ") + "run the same `build apply` again"
    kept = [item.step.kept for image in plan.images for item in running(image) if item.step.checkpoint]
    if not kept:
        return f"{again}."
    if all(kept):
        return f"{again}: finished steps are kept as checkpoints."
    return (
        f"{again}: it starts at the last checkpoint, else at the source.\n"
        "Checkpoints are kept of steps with `checkpoint: true`, and of the last one before generalize."
    )


# What the note suggests to call a saved plan
FILE = "build.buildplan"


def printable(text: str) -> str:
    """`text` with control and invisible characters spelled out: a spec must not steer the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text.expandtabs(4))


def _escaped(char: str) -> str:
    return ascii(char)[1:-1]
