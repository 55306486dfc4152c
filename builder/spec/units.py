"""Sizes and lengths of time as the spec writes them, in bytes and seconds."""

from __future__ import annotations

import re

from builder.model.spec import GIB, MIB

SIZES = {"MiB": MIB, "GiB": GIB, "TiB": 1024 * GIB}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_SIZE = re.compile(r"([0-9]+)(MiB|GiB|TiB)")
_PART = re.compile(r"([0-9]+)([smhdw])")


def size_of(text: str) -> int:
    """`30GiB` in bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size")
    return int(found[1]) * SIZES[found[2]]


def seconds_of(text: str | int) -> float:
    """`1h30m`, `90s`, `30d`, or a number of seconds, in seconds. Raises ValueError."""
    if isinstance(text, int):
        return float(text)
    if not text or _PART.sub("", text):
        raise ValueError(f"{text!r} is not a length of time")
    return float(sum(int(number) * SECONDS[unit] for number, unit in _PART.findall(text)))


def size_text(size: int) -> str:
    """A size in bytes as the spec writes it: `30GiB`."""
    for unit in ("TiB", "GiB"):
        if size and size % SIZES[unit] == 0:
            return f"{size // SIZES[unit]}{unit}"
    return f"{size / MIB:g}MiB"
