"""A plan as a comment on a pull request.

It is made from the plan's data at the richest level of detail that fits the limit; text is never cut. Deletions and
blocked images stand before everything else and outside every fold. What a spec says is escaped: it can't make headings,
links or mentions in the comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from builder.model.plan import Action, ImagePlan, Plan, Reason
from builder.report.plan_words import (
    SYMBOLS,
    Presentation,
    change_sign,
    changed_images,
    counts,
    legend,
    mark,
    next_commands,
    noted_images,
    opaque_steps,
    own_means,
    plural,
    printable,
    running,
    sentence,
    short_reason,
    shown_changes,
    step_ranges,
    transition,
    verdict,
)

# GitHub refuses comments above 65,536 characters; other systems count some characters twice
BUDGET = 60_000
LONGEST_HEADING = 80
# So many notes about images that nothing happens to are shown
FEW = 10
# Alerts name so many images, then say how many more there are
NAMED = 50
# A longer line (minified files) is described instead of shown
LONGEST_LINE = 400
# A single reason or list can't take the whole comment
LONGEST_DIFF = 200
REASONS = 50


@dataclass(frozen=True)
class _Detail:
    """How much is shown. What a lower level drops is dropped for all images alike."""

    diff_lines: int
    changes: int
    steps: bool
    folds: bool
    commands: bool = False
    scripts: bool = False


# Dropped in this order: scripts, long diffs, commands, diffs, changes and steps, the folds themselves
_LEVELS = (
    _Detail(diff_lines=LONGEST_DIFF, changes=LONGEST_DIFF, steps=True, folds=True, commands=True, scripts=True),
    _Detail(diff_lines=LONGEST_DIFF, changes=LONGEST_DIFF, steps=True, folds=True, commands=True),
    _Detail(diff_lines=10, changes=20, steps=True, folds=True, commands=True),
    _Detail(diff_lines=10, changes=20, steps=True, folds=True),
    _Detail(diff_lines=0, changes=10, steps=True, folds=True),
    _Detail(diff_lines=0, changes=0, steps=False, folds=True),
    _Detail(diff_lines=0, changes=0, steps=False, folds=False),
)


def plan_comment(plan: Plan, presentation: Presentation, *, target: str = "", budget: int = BUDGET) -> str:
    """The comment. `target` tells comments of one pull request apart, such as the environment's name."""
    changed = changed_images(plan)
    head = "\n\n".join(_head(plan, changed, presentation, target)) + "\n\n"
    foot = "\n\n".join(_foot(plan, presentation)) + "\n"
    room = budget - len(head) - len(foot)
    for detail in _LEVELS if presentation.full else _LEVELS[1:]:
        body = _body(changed, detail, room)
        if body is not None:
            return head + body + foot
    return head + _rows_that_fit(changed, room) + foot


def _head(plan: Plan, changed: Sequence[ImagePlan], presentation: Presentation, target: str) -> Iterator[str]:
    yield _marker(plan, target) + "\n" + _heading(plan, target)
    if presentation.stale:
        yield "> [!WARNING]\n" + "\n".join(f"> **STALE** because {_text(reason)}" for reason in presentation.stale)
    deletions = [_deletion(image) for image in changed if image.retires]
    if deletions:
        retired = sum(image.is_retired for image in changed)
        count = sum(len(image.retires) for image in changed)
        first = f"> **Retires {plural(retired, 'image')}**, d" if retired else "> **D"
        yield f"> [!CAUTION]\n{first}eletes {plural(count, 'version')}{'' if retired else '**'}:\n" + _listed(deletions)
    if plan.blocked:
        blocked = [
            f"{_code(image.image)}: {_text(short_reason(image))}, {_code(_where(image))}" for image in plan.blocked
        ]
        yield f"> [!WARNING]\n> **Blocked: {plural(len(blocked), 'image')}**\n" + _listed(blocked)


def _marker(plan: Plan, target: str) -> str:
    facts = {"target": target, "plan": plan.id, "digest": plan.digest}
    # An HTML comment ends at "-->": such characters are written as JSON's escapes
    safe = re.sub("[<>&-]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(facts))
    return f"<!-- build:plan v1 {safe} -->"


def _heading(plan: Plan, target: str) -> str:
    name = re.sub(r"[^\w. -]", "", target).strip()
    for start in (f"### build plan - {name}: " if name else "", "### build plan: "):
        if start and len(start + verdict(plan)) <= LONGEST_HEADING:
            return start + verdict(plan)
    counted = counts(plan)
    changes = sum(counted.values()) - counted[Action.NONE] - counted[Action.BLOCKED]
    return f"### build plan: {plural(changes, 'change')}, {counted[Action.BLOCKED]} blocked"


def _deletion(image: ImagePlan) -> str:
    versions = ", ".join(_code(version) for version in image.retires[:NAMED])
    more = f" and {len(image.retires) - NAMED} more" if len(image.retires) > NAMED else ""
    why = "" if image.action == Action.RETIRE else f", once {_code(str(image.version))} is published"
    return f"{_code(image.image)} {versions}{more}{why}"


def _listed(items: Sequence[str]) -> str:
    lines = [f"> - {item}" for item in items[:NAMED]]
    if len(items) > NAMED:
        lines.append(f"> - and {len(items) - NAMED} more")
    return "\n".join(lines)


def _foot(plan: Plan, presentation: Presentation) -> Iterator[str]:
    facts = [plural(counts(plan)[Action.NONE], "image") + " unchanged"]
    skipped = plan.selection.get("skipped", 0)
    if skipped:
        facts.append(f"{skipped} not looked at")
    if opaque_steps(plan):
        facts.append(f"{plural(opaque_steps(plan), 'step')} not previewed")
    yield f"{', '.join(facts)}. Plan {_code(plan.id)} expires {plan.expires}."
    if legend(plan):
        yield legend(plan)
    notes = [
        f"- {_code(image.image)}: {_text(transition(note))}" for image in noted_images(plan) for note in image.notes
    ]
    if notes:
        more = [f"- and {len(notes) - FEW} more"] if len(notes) > FEW else []
        yield "\n".join([*notes[:FEW], *more])
    command = next_commands(plan, presentation)[0]
    yield f"{'To apply' if ' apply' in command else 'To plan again'}: {_code(command)}"


_TABLE_HEAD = "| | image | version | why |\n|-|-|-|-|\n"


def _body(changed: Sequence[ImagePlan], detail: _Detail, room: int) -> str | None:
    """The table and the folds; None as soon as they are known not to fit."""
    parts = [_TABLE_HEAD] if changed else []
    for part in chain(map(_row, changed), ["\n"], (_fold(image, detail) for image in changed if detail.folds)):
        parts.append(part)
        room -= len(part)
        if room < len(_TABLE_HEAD):
            return None
    return "".join(parts)


def _rows_that_fit(changed: Sequence[ImagePlan], room: int) -> str:
    """The table alone, with as many whole rows as fit, and how many more there are of each action."""
    note_room = 300
    text, shown = _TABLE_HEAD, 0
    for image in changed:
        row = _row(image)
        if len(text) + len(row) + note_room > room:
            break
        text += row
        shown += 1
    rest = groupby(changed[shown:], key=lambda image: image.action)
    return f"{text}\nNot listed: {', '.join(f'{len(list(images))} {action}' for action, images in rest)}.\n\n"


def _row(image: ImagePlan) -> str:
    version = image.version or ""
    if image.current_version and image.current_version != version:
        version = f"{image.current_version} -> {version}" if version else image.current_version
    return f"| {SYMBOLS[image.action]} | {_cell(image.image)} | {version} | {_text(short_reason(image), cell=True)} |\n"


def _fold(image: ImagePlan, detail: _Detail) -> str:
    lines = list(_diff_lines(image, detail))
    # The fence is longer than any run of backticks inside, so that nothing inside can end it
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    title = f"{SYMBOLS[image.action]} <b>{_html(image.image)}</b> {_html(sentence(image))}"
    return "\n".join([f"<details><summary>{title}</summary>", "", f"{fence}diff", *lines, fence, "</details>", "", ""])


def _diff_lines(image: ImagePlan, detail: _Detail) -> Iterator[str]:
    """What the fold shows; signs stand in the first column, where diff colouring looks for them."""
    for reason in image.reasons[:REASONS]:
        yield _line(f"! because {transition(reason)}" + (f"  {reason.place}" if reason.place else ""))
        if reason.help:
            yield _line(f"#   {reason.help}")
        yield from _reason_diff(reason, detail)
    if len(image.reasons) > REASONS:
        yield f"# {len(image.reasons) - REASONS} more reasons"
    yield from (f"- version {version}" for version in image.retires)
    for note in image.notes[:REASONS]:
        yield _line(f"# note: {transition(note)}")
    if detail.steps and running(image):
        yield f"# steps {step_ranges(image)}"
        for item in running(image):
            yield _line(f"#   {item.step.index} {item.step.stage}: {item.step.title} {mark(item)}".rstrip())
            if detail.commands:
                # Whole, however long its lines are: who approves the plan approves them
                lines = own_means(item.step, files=detail.scripts)
                yield from (f"#     {printable(line)}" for line in lines)
    changes = shown_changes(image)
    for change in changes[: detail.changes]:
        sign = {"~": "!"}.get(change_sign(change.action), change_sign(change.action))
        yield _line(f"{sign} {change.kind} {change.name} {change.detail}".rstrip())
    if len(changes) > detail.changes:
        yield f"# {plural(len(changes) - detail.changes, 'change')} not shown"


def _reason_diff(reason: Reason, detail: _Detail) -> Iterator[str]:
    yield from map(_line, reason.diff[: detail.diff_lines])
    if len(reason.diff) > detail.diff_lines:
        yield f"# {plural(len(reason.diff) - detail.diff_lines, 'line')} of the diff not shown"


def _line(text: str) -> str:
    clean = printable(text)
    return clean if len(clean) <= LONGEST_LINE else f"{text[:1]} (a line of {len(text)} characters)"


def _where(image: ImagePlan) -> str:
    reason = image.reasons[0] if image.reasons else None
    place = reason.place if reason and reason.place else image.place
    return f"{place.file}:{place.line}"


def _text(text: str, *, cell: bool = False) -> str:
    """Text that renders as it is: no markup, no link, no mention."""
    clean = printable(text)
    if len(clean) > LONGEST_LINE:
        return f"(a reason of {len(clean)} characters)"
    escaped = re.sub(r"([\\`*_\[\]~#|])", r"\\\1", _html(clean))
    # A zero-width space keeps "@name" from notifying anyone, and "://" from becoming a link
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def _code(text: str) -> str:
    """A code span that can hold backticks."""
    clean = printable(text)
    longest = max((len(run) for run in re.findall("`+", clean)), default=0)
    if not longest:
        return f"`{clean}`"
    ticks = "`" * (longest + 1)
    return f"{ticks} {clean} {ticks}"


def _cell(text: str) -> str:
    # A pipe ends a table's cell even inside a code span
    return _code(text).replace("|", "\\|")


def _html(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
