"""What programs and services said, as an error shows it: nothing of it drives the reader's terminal or floods it."""

from __future__ import annotations

from builder.report.plan_words import plural, printable

# Enough for a stack trace or the end of a boot console. The end says most of programs, the beginning of services
FIRST_LINES, LAST_LINES = 20, 60
LONGEST_LINE = 1000


def detail_lines(detail: str) -> list[str]:
    """The lines of a detail, those in the middle of a long one left out."""
    lines = detail.splitlines()
    more = len(lines) - FIRST_LINES - LAST_LINES
    if more <= 1:
        return [_line(line) for line in lines]
    first, last = lines[:FIRST_LINES], lines[-LAST_LINES:]
    return [*map(_line, first), f"({plural(more, 'line')} left out here)", *map(_line, last)]


def safe(text: str) -> str:
    """`text` with its lines and tabs, and whatever else isn't printable spelled out."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _line(line: str) -> str:
    more = len(line) - LONGEST_LINE
    return safe(line) if more <= 0 else f"{safe(line[:LONGEST_LINE])}... ({plural(more, 'character')} more)"
