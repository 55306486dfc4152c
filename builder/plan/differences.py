"""Differences between two JSON values or two texts, as people read them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from builder.model.canonical import canonical

CONTEXT_LINES = 3
# Longer values are compared line by line instead of being put on one line
LONGEST_INLINE = 100

SHOWN_OF_HASH = 12

_HASH = re.compile("(sha256:)?[0-9a-f]{64}")
# What stands for a value that is not there
ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One value that differs. `path` are keys and indexes below the compared value; None stands for "not there".

    Values that don't fit on a line have `diff`, the lines of a unified diff, instead of `before` and `after`.
    """

    path: tuple[str | int, ...]
    before: str | None = None
    after: str | None = None
    diff: tuple[str, ...] = ()


def unified(before: str, after: str) -> tuple[tuple[str, ...], int]:
    """The lines of a unified diff (without its two header lines), and the first changed line of `after`."""
    old, new = before.splitlines(), after.splitlines()
    lines = tuple(difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm=""))[2:]
    if not lines and before != after:
        return ("\\ only line ends differ",), 1
    return lines, _first_changed_line(lines)


def _first_changed_line(lines: tuple[str, ...]) -> int:
    line = 1
    for text in lines:
        if text.startswith("@@"):
            # "@@ -3,4 +3,5 @@": the new file's part; an empty part is numbered from the line before it
            start, _, count = text.split()[2].removeprefix("+").partition(",")
            line = int(start) + (count == "0")
        elif text.startswith(" "):
            line += 1
        else:
            return max(line, 1)
    return line


def differences(before: Any, after: Any, path: tuple[str | int, ...] = ()) -> Iterator[Difference]:  # noqa: ANN401
    """The smallest parts of two JSON values that differ, in the order of the keys of `after`."""
    if before is not ABSENT and after is not ABSENT and canonical(before) == canonical(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*after, *(key for key in before if key not in after)]:
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), (*path, key))
    elif _same_length_of_maps(before, after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, (*path, index))
    else:
        yield _leaf(before, after, path)


def _same_length_of_maps(before: Any, after: Any) -> bool:  # noqa: ANN401
    # Lists of scalars are shown whole ("nginx" -> "nginx, jq"); a list of maps is a table with rows to compare
    return (
        isinstance(before, list | tuple)
        and isinstance(after, list | tuple)
        and len(before) == len(after)
        and all(isinstance(item, Mapping) for item in (*before, *after))
    )


def _leaf(before: Any, after: Any, path: tuple[str | int, ...]) -> Difference:  # noqa: ANN401
    old, new = _inline(before), _inline(after)
    if all(text is None or _short(text) for text in (old, new)):
        return Difference(path, old, new)
    lines, _ = unified(_lines(before), _lines(after))
    return Difference(path, diff=lines)


def _short(text: str) -> bool:
    return len(text) <= LONGEST_INLINE and "\n" not in text


def _inline(value: Any) -> str | None:  # noqa: ANN401
    if value is ABSENT:
        return None
    if isinstance(value, str):
        # People compare the beginnings of hashes
        return value.removeprefix("sha256:")[:SHOWN_OF_HASH] if _HASH.fullmatch(value) else value
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _lines(value: Any) -> str:  # noqa: ANN401
    if value is ABSENT:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False, indent=2)


def spelled(path: tuple[str | int, ...]) -> str:
    """A path as people write it: `files[0].mode`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
