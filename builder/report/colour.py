"""Whether to use colour, and colour itself. Rich is imported only when there is some."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

MUTED = "dim"
CREATED = "green"
CHANGED = "yellow"
DELETED = "bold red"


@dataclass(frozen=True)
class Span:
    """A piece of a line. `style` is one of the names above, or "" for plain text."""

    text: str
    style: str = ""


Line = Sequence[Span]


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """The conventions: NO_COLOR wins, then FORCE_COLOR, then whether a capable terminal reads (no-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") not in ("dumb", "")


def rendered(lines: Sequence[Line], *, colour: bool) -> str:
    """The lines as text. Both ways say the same: colour repeats what symbols and words say."""
    if not colour:
        return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)
    from rich.console import Console
    from rich.text import Text

    # The stream is ours: no cursor movements, whatever the terminal is
    target = io.StringIO()
    console = Console(
        file=target, force_terminal=True, force_interactive=False, color_system="standard", legacy_windows=False
    )
    for line in lines:
        text = Text(end="\n", no_wrap=True, overflow="ignore")
        for span in line:
            text.append(span.text, style=span.style or None)
        text.rstrip()
        console.print(text, soft_wrap=True, highlight=False)
    return target.getvalue()
