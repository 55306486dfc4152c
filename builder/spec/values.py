"""What a value of a known format should be, made from what the author wrote: the concrete text to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from builder.spec.yaml_text import plain

# The help for text that was read as a number; what it should be needs the number as it is written
QUOTE_IT = "put it in quotes"

_NAME_LENGTH = 64
_NUMBER_AND_UNIT = re.compile(r"([0-9]+)\s*([A-Za-z]*)")
_SIZE_UNITS = {"": "GiB", "m": "MiB", "mb": "MiB", "mib": "MiB", "g": "GiB", "gb": "GiB", "gib": "GiB"} | {
    "t": "TiB", "tb": "TiB", "tib": "TiB",
}  # fmt: skip
_TIME_UNITS = {"s": "s", "sec": "s", "second": "s", "m": "m", "min": "m", "minute": "m", "h": "h", "hour": "h"}


def _quoted(text: str) -> str:
    return f'write "{text}"'


def _size(text: str) -> str:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    unit = _SIZE_UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or not 0 < int(found[1]) < 10**7:
        return "write a size such as 512MiB, 30GiB or 1TiB"
    return f"write {int(found[1])}{unit}"


def _duration(text: str) -> str:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    unit = _TIME_UNITS.get(found[2].lower().removesuffix("s") or found[2].lower()) if found else None
    if found is None or unit is None or not 0 < int(found[1]) < 10**5:
        return "write a length of time such as 90s, 10m or 1h30m"
    return f"write {int(found[1])}{unit}"


def _days(text: str) -> str:
    found = re.fullmatch(r"0*([1-9][0-9]{0,4})( ?days?)?", text)
    return f"write {found[1]}d" if found else "write days or weeks, such as 30d or 2w"


def _version(text: str) -> str:
    if text.lower() in ("latest", "next"):
        return "write auto"
    found = re.match(r"[vV]?([0-9]{1,15}(?:\.[0-9]{1,15})*)(?![0-9])", text)
    parts = found[1].split(".") if found else []
    if not parts or len(parts) > 3:
        return 'write auto, 1.2.x, or three numbers such as "1.2.0"'
    if len(parts) == 3:
        return f"write {'.'.join(parts)}"
    major, minor = (*parts, "0")[:2]
    return f'write auto, {major}.{minor}.x or "{major}.{minor}.0"'


def _mode(text: str) -> str:
    digits = text.lower().removeprefix("0o").lstrip("0").zfill(3)
    if re.fullmatch("[0-7]{3,4}", digits):
        return f'write "{digits.zfill(4)}"'
    symbols = re.fullmatch("[-d]?((?:[-r][-w][-x]){3})", text)
    if symbols:
        bits = "".join("0" if letter == "-" else "1" for letter in symbols[1])
        return f'write "{int(bits, 2):04o}"'
    return 'write octal digits, such as "0644" for a file or "0755" for a program'


def _image_name(text: str) -> str:
    name = re.sub("[^a-z0-9._-]+", "-", text.lower())[:_NAME_LENGTH].strip("._-")
    if not name:
        return "a name is lower-case letters, digits, dots, dashes and underscores, at most 64, such as web"
    return f"write {name}" if isinstance(plain(name), str) else _quoted(name)


# By the format that the schema names, and QUOTE_IT for all other text
AS_WRITTEN: Mapping[str, Callable[[str], str]] = {
    QUOTE_IT: _quoted,
    "size": _size,
    "duration": _duration,
    "days": _days,
    "image-version": _version,
    "image-name": _image_name,
    "mode": _mode,
}
