"""Registry hives for tests, written by hivexsh (libhivex). It only changes hives, so that a blank one is made here.

Source: hivex's documentation of the format (base block, one hbin with the root key and its security descriptor).
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

NOTHING = 0xFFFFFFFF
PAGE = 4096
# An absolute minimum: revision 1, self-relative, without owner and lists
DESCRIPTOR = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)

Values = Mapping[str, int | str]


def blank_hive() -> bytes:
    """A hive with a root key that holds nothing."""
    root_at, security_at = 0x20, 0x20 + 96
    name = b"ROOT"
    root = struct.pack(
        "<2sHQIIIIIIIIIIIIIIIHH", b"nk", 0x2C, 0, 0, NOTHING, 0, 0, NOTHING, NOTHING, 0, NOTHING, security_at,
        NOTHING, 0, 0, 0, 0, 0, len(name), 0,
    ) + name  # fmt: skip
    security = struct.pack("<2sHIIII", b"sk", 0, security_at, security_at, 1, len(DESCRIPTOR)) + DESCRIPTOR
    cells = _cell(root, 96) + _cell(security, 64)
    free = PAGE - 0x20 - len(cells)
    page = struct.pack("<4sIIQQI", b"hbin", 0, PAGE, 0, 0, 0) + cells + struct.pack("<i", free).ljust(free, b"\0")
    base = struct.pack("<4sIIQIIIIII", b"regf", 1, 1, 0, 1, 3, 0, 1, root_at, PAGE) + struct.pack("<I", 1)
    base = base.ljust(508, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", base):
        checksum ^= word
    return (base + struct.pack("<I", checksum)).ljust(PAGE, b"\0") + page


def _cell(data: bytes, size: int) -> bytes:
    return struct.pack("<i", -size) + data.ljust(size - 4, b"\0")


def write_hive(path: Path, keys: Mapping[str, Values]) -> None:
    """Write a hive with these keys (`\\` between their parts) and values."""
    path.write_bytes(blank_hive())
    made: set[str] = set()
    lines = []
    for key, values in keys.items():
        parts = key.split("\\")
        for depth in range(1, len(parts) + 1):
            inside = "\\".join(parts[:depth])
            if inside.lower() not in made:
                made.add(inside.lower())
                lines += ["cd \\" + "\\".join(parts[: depth - 1]), f"add {parts[depth - 1]}"]
        lines += ["cd \\" + key]
        if values:
            lines.append(f"setval {len(values)}")
            for name, value in values.items():
                lines += [name, f"dword:{value}" if isinstance(value, int) else f"string:{value}"]
    lines += ["commit", "quit"]
    script = "\n".join(lines) + "\n"
    done = subprocess.run(["hivexsh", "-w", str(path)], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
