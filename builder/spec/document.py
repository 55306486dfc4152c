"""A parsed YAML text: its values, and where in the file each stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.errors import Diagnostic, Place
from builder.model.canonical import Json
from builder.model.spec import KeyPath

# As YAML 1.1's parser takes them
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

# A line and a column, both from 1: a plain tuple, because there is one for every node of every spec
Position = tuple[int, int]


@dataclass(frozen=True)
class Document:
    """A parsed YAML text.

    `places` has the position of every value by its path, `keys` that of every mapping key by the path of its value.
    A block collection under a key stands where its key does: that is where a reader looks for it. `written` is the
    text of scalars that are not text (numbers, booleans, null), so that a message can quote them as written.
    `problems` are findings that left a value to work with, such as duplicate keys (the first one counts).
    `text` is what was parsed.
    """

    file: str
    value: Json
    places: Mapping[KeyPath, Position] = field(default_factory=dict)
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    written: Mapping[KeyPath, str] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()
    text: str = ""

    def place(self, path: KeyPath) -> Place:
        """Where a node stands, or its nearest ancestor that does."""
        while path not in self.places and path:
            path = path[:-1]
        return Place(self.file, *self.places.get(path, (1, 1)))

    def place_inside(self, path: KeyPath, at: Position | None) -> Place:
        """Where a part of a text stands, by its line and column within the text.

        Where the file has the text written in another way (folded, with escapes), the place of the text itself.
        """
        start, value = self.place(path), self.value
        if at is None or path not in self.places:
            return start
        for key in path:
            value = value[key]
        written = LINE_BREAK.split(self.text)
        first = written[start.line - 1][start.column - 1 :]
        lines = value.split("\n")
        if first.startswith("|"):
            index = start.line + at[0] - 1
            line, content = written[index] if index < len(written) else "", lines[at[0] - 1]
            indent = line.removesuffix(content)
            return Place(self.file, index + 1, len(indent) + at[1]) if indent.strip(" ") == "" else start
        quote = first[:1] if first[:1] in ("'", '"') else ""
        if len(lines) == 1 and first.startswith(quote + value + quote):
            return Place(self.file, start.line, start.column + len(quote) + at[1] - 1)
        return start

    def key_place(self, path: KeyPath) -> Place:
        """Where the key of a mapping's entry stands; for an item of a list, the place of the item."""
        found = self.keys.get(path)
        return Place(self.file, *found) if found else self.place(path)


def position_of(text: str, index: int) -> Position:
    """The line and column of a character."""
    lines = LINE_BREAK.split(text[:index])
    return len(lines), len(lines[-1]) + 1
