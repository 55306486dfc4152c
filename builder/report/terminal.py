"""A plan as text for people: a line per image, then what and why for each, then the sum and the next command."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from builder.errors import Place
from builder.model.plan import Action, ImagePlan, Plan, Reason
from builder.report.colour import CHANGED, CREATED, DELETED, Line, Span
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
    summary_line,
    transition,
)

# A section shows this many lines; `--full` shows all
SECTION_LINES = 10
# So few more are shown too: a line that says that they are left out would tell less
SPARE_LINES = 2
PIPE_WIDTH = 100
NARROWEST = 50
LONGEST_NAME = 32
LABEL = 10
INDENT = 4
STYLES = {"+": CREATED, "~": CHANGED, "^": CHANGED, "-": DELETED, "!": DELETED}
LOUD = (Action.RETIRE, Action.BLOCKED)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Limit:
    """How many lines of a section are shown (None: all), and how to see all."""

    lines: int | None
    option: str = ""

    def shown(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items that are shown."""
        all_of_them = self.lines is None or len(items) <= self.lines + SPARE_LINES
        return items if all_of_them else items[: self.lines]

    def more(self, items: Sequence[_Item], margin: str) -> Iterator[Line]:
        """The line that says how many are not."""
        hidden = len(items) - len(self.shown(items))
        if hidden:
            yield [Span(f"{margin}... {hidden} more{self.option}")]


_ALL = _Limit(None)


def plan_lines(plan: Plan, presentation: Presentation, *, width: int = PIPE_WIDTH) -> list[Line]:
    """The whole plan. Lines are wrapped at spaces to `width`; nothing is cut."""
    width = max(width, NARROWEST)
    lines: list[Line] = []
    for reason in presentation.stale:
        lines += _wrapped([Span("STALE", DELETED)], f"because {printable(reason)}", width)
    lines += [[Span(f"build {plan.tool}, {plural(len(plan.images), 'image')} checked")], []]
    changed = changed_images(plan)
    if changed:
        lines += [*_overview(plan, changed, width), []]
    for image in changed:
        lines += [*_image(image, presentation, width), []]
    for image in noted_images(plan):
        head = [Span(SYMBOLS[image.action]), Span(f" {printable(image.image)}")]
        lines += [*_with_place(head, sentence(image), image.place, width), *_notes(image, width), []]
    lines.append([Span(summary_line(plan))])
    if opaque_steps(plan):
        lines.append([Span(f"      {plural(opaque_steps(plan), 'step')} not previewed.")])
    if legend(plan):
        lines += _wrapped([Span(" " * 5)], legend(plan), width)
    lines += [[], *_next(plan, presentation)]
    return lines


def _overview(plan: Plan, changed: Sequence[ImagePlan], width: int) -> Iterator[Line]:
    name_width = min(max(_cells(printable(image.image)) for image in changed), LONGEST_NAME)
    rows: list[tuple[list[Span], str, Place]] = []
    for image in changed:
        symbol = SYMBOLS[image.action]
        head = [
            Span(f"  {symbol}", STYLES[symbol]),
            Span(f" {_padded(printable(image.image), name_width)}  "),
            Span(_padded(image.action, 8), DELETED if image.action in LOUD else ""),
        ]
        reason = image.reasons[0] if image.reasons else None
        rows.append((head, printable(short_reason(image)), reason.place if reason and reason.place else image.place))
    # Places stand in one column, but for rows that are too long to share their line with one
    column = max((_cells(text) for head, text, place in rows if _fits(head, text, place, width)), default=0)
    for head, text, place in rows:
        yield from _with_place(head, text, place, width, column=column)
    unchanged = counts(plan)[Action.NONE]
    if unchanged:
        yield [Span(f"  = {unchanged} unchanged")]


def _image(image: ImagePlan, presentation: Presentation, width: int) -> Iterator[Line]:
    symbol = SYMBOLS[image.action]
    head = [Span(symbol, STYLES[symbol]), Span(f" {printable(image.image)}")]
    yield from _with_place(head, sentence(image), image.place, width)
    # `apply` shows a plan on its way and has no such option
    limit = _ALL if presentation.full else _Limit(SECTION_LINES, "" if presentation.applying else " (--full)")
    yield from _because(image, limit, width)
    if running(image) and image.action != Action.RETIRE:
        yield from _section("steps", [[Span(step_ranges(image))]], _ALL)
        yield from _section("", _steps(image, full=presentation.full), limit)
    yield from _section("changes", _changes(image), limit)
    if image.retires:
        why = "" if image.is_retired else " (retention)"
        label = [Span(" " * INDENT + "deletes".ljust(LABEL - 1))]
        yield from _wrapped(label, ", ".join(image.retires) + why, width)
    if image.action == Action.RETIRE:
        yield from _section("at", [[Span(printable(name))] for name in image.destinations], limit)
    yield from _notes(image, width)


def _notes(image: ImagePlan, width: int) -> Iterator[Line]:
    for index, note in enumerate(image.notes):
        label = Span(" " * INDENT + ("note" if index == 0 else "").ljust(LABEL - 1))
        yield from _with_place([label], printable(transition(note)), note.place, width)
        if note.help:
            yield from _wrapped([Span(" " * (INDENT + LABEL - 1))], f"hint: {printable(note.help)}", width)


def _changes(image: ImagePlan) -> list[Line]:
    lines: list[Line] = []
    for change in shown_changes(image):
        sign = change_sign(change.action)
        detail = f"  {printable(change.detail)}" if change.detail else ""
        lines.append([Span(sign, STYLES[sign]), Span(f" {change.kind} {printable(change.name)}{detail}")])
    return lines


def _because(image: ImagePlan, limit: _Limit, width: int) -> Iterator[Line]:
    for index, reason in enumerate(limit.shown(image.reasons)):
        label = Span(" " * INDENT + ("because" if index == 0 else "").ljust(LABEL - 1))
        yield from _with_place([label], printable(transition(reason)), reason.place, width)
        yield from _diff(reason, limit)
        if reason.help:
            yield from _wrapped([Span(" " * (INDENT + LABEL - 1))], f"hint: {printable(reason.help)}", width)
    yield from limit.more(image.reasons, " " * (INDENT + LABEL))


def _diff(reason: Reason, limit: _Limit) -> Iterator[Line]:
    margin = " " * (INDENT + LABEL + 2)
    for text in limit.shown(reason.diff):
        sign = text[:1]
        yield [Span(margin), Span(sign, STYLES.get(sign, "") if sign in "+-" else ""), Span(printable(text[1:]))]
    yield from limit.more(reason.diff, margin)


def _steps(image: ImagePlan, *, full: bool) -> list[Line]:
    items = running(image)
    number_width = len(str(items[-1].step.index)) if items else 0
    lines: list[Line] = []
    for item in items:
        number = str(item.step.index).rjust(number_width)
        head = f"{number} {item.step.stage.ljust(10)} "
        lines.append([Span(f"{head}{printable(item.step.title)}  {mark(item)}".rstrip())])
        if full:
            lines += [[Span(f"{' ' * len(head)}{printable(line)}")] for line in own_means(item.step, files=True)]
    return lines


def _section(label: str, content: Sequence[Line], limit: _Limit) -> Iterator[Line]:
    for index, line in enumerate(limit.shown(content)):
        yield [Span(" " * INDENT + (label if index == 0 else "").ljust(LABEL)), *line]
    yield from limit.more(content, " " * (INDENT + LABEL))


def _next(plan: Plan, presentation: Presentation) -> Iterator[Line]:
    commands = next_commands(plan, presentation)
    if presentation.stale or plan.options.get("offline"):
        yield [Span(f"To plan again:  {commands[0]}")]
    elif presentation.saved_as is not None:
        yield [Span(f"Saved {printable(presentation.saved_as)} (id {plan.id}, expires {plan.expires}).")]
        if plan.has_changes:
            yield [Span(f"To do exactly this:  {commands[0]}")]
    elif plan.has_changes and not presentation.applying:
        yield [Span("Note: this plan is not saved: apply will make its own and ask.")]
        yield [Span(f"To apply:     {commands[0]}")]
        yield [Span(f"To save it:   {commands[1]}")]


def _where(place: Place | None) -> str:
    return f"{printable(place.file)}:{place.line}" if place else ""


def _fits(head: list[Span], text: str, place: Place | None, width: int) -> bool:
    return sum(_cells(span.text) for span in head) + 1 + _cells(text) + 2 + _cells(_where(place)) <= width


def _with_place(head: list[Span], text: str, place: Place | None, width: int, *, column: int = 0) -> Iterator[Line]:
    """`head`, the text wrapped, and the place at the end of the first line, or below where it doesn't fit."""
    where = _where(place)
    padded = _padded(text, column)
    for candidate in (padded, text):
        if _fits(head, candidate, place, width):
            yield [*head, Span(f" {candidate}"), *([Span(f"  {where}")] if where else [])]
            return
    yield from _wrapped(head, text, width)
    if where:
        yield [Span(" " * (sum(_cells(span.text) for span in head) + 1) + where)]


def _wrapped(head: list[Span], text: str, width: int) -> Iterator[Line]:
    """`head`, a space, and the text; what doesn't fit goes on below its beginning."""
    start = sum(_cells(span.text) for span in head) + 1
    room = max(width - start, NARROWEST // 2)
    first, *rest = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    yield [*head, Span(f" {first}")]
    yield from ([Span(" " * start + line)] for line in rest)


def _cells(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _padded(text: str, cells: int) -> str:
    return text + " " * (cells - _cells(text))
