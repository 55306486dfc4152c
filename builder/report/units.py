"""Amounts as people read them."""

from __future__ import annotations

KIB = 1024


def bytes_text(count: int) -> str:
    """1536 → "1.5 KiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < KIB:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= KIB
    return f"{amount:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """75.2 → "1:15"; below a minute one digit after the point."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02} h" if hours else f"{minutes}:{left:02} min"
