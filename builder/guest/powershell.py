"""Renders PowerShell for Windows guests: literals that no value can break out of, calls, and whole scripts.

Scripts are for Windows PowerShell 5.1, which every Windows since Server 2016 has. What is rendered is plain ASCII:
5.1 reads a script without a byte order mark in the system's own code page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from builder.model.run import GuestScript

POWERSHELL = ("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File")
TEMPLATES = Path(__file__).parent / "templates"
BYTE_ORDER_MARK = "\ufeff"

Value = str | int | bool | Sequence[str] | None

# What every script begins with. No console is no reason to fail: then nothing is encoded for one
PREAMBLE = """\
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Set-StrictMode -Version {strictness}
$OutputEncoding = New-Object System.Text.UTF8Encoding $false
try { [Console]::OutputEncoding = $OutputEncoding } catch [System.IO.IOException] { $null = $_ }
$global:LASTEXITCODE = 0
trap {
    [Console]::Error.WriteLine("$_")
    [Console]::Error.WriteLine($_.ScriptStackTrace)
    exit 1
}
"""


def literal(value: Value) -> str:
    """A value as an expression of PowerShell: text, number, truth, list of texts, or nothing.

    Text stands in single quotes, in which only the quote itself means something. Everything but printable ASCII is
    spelled as the number of its UTF-16 unit: PowerShell takes typographic quotes for quotes too.
    """
    if value is None:
        return "$null"
    if isinstance(value, bool):
        return "$true" if value else "$false"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"
    if not isinstance(value, str):
        return f"@({', '.join(map(literal, value))})"
    units = value.encode("utf-16-le", "surrogatepass")
    numbers = [units[at] | units[at + 1] << 8 for at in range(0, len(units), 2)]
    parts: list[str] = []
    for plain, group in groupby(numbers, key=lambda number: 0x20 <= number <= 0x7E):
        if plain:
            parts.append("'" + "".join(map(chr, group)).replace("'", "''") + "'")
        else:
            parts += [f"[char]0x{number:04X}" for number in group]
    if len(parts) == 1 and parts[0].startswith("'"):
        return parts[0]
    # The first operand decides what `+` does: with text it joins
    return f"({' + '.join([chr(39) * 2, *parts])})" if parts else "''"


def call(function: str, **parameters: Value) -> str:
    """A call of a function, each parameter by its name. What is None is left out."""
    words = [f"-{name}:{literal(value)}" for name, value in parameters.items() if value is not None]
    return " ".join([function, *words])


def template(name: str) -> str:
    """A file of functions."""
    return (TEMPLATES / f"{name}.ps1").read_text(encoding="utf-8")


def script(
    title: str,
    lines: Sequence[str],
    *,
    templates: Sequence[str] = (),
    files: Mapping[str, bytes | Path] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> GuestScript:
    """A whole script: the preamble, files of functions, then these lines. `title` names it in its first line."""
    text = "\n".join([_first_line(title), _preamble("Latest"), *map(template, templates), *lines, "exit 0", ""])
    return GuestScript(text, interpreter=POWERSHELL, files=files or {}, env=env or {}, timeout=timeout)


def author_script(title: str, text: str, *, env: Mapping[str, str]) -> GuestScript:
    """A script of an author's own PowerShell: it stops at errors and unset variables, as `sh -eu` does.

    The exit code of the last program that ran is the script's own.
    """
    whole = f"{_first_line(title)}\n{_preamble('1.0')}\n{text}\nexit $LASTEXITCODE\n"
    return GuestScript(marked(whole), interpreter=POWERSHELL, env=env)


def marked(text: str) -> str:
    """The text with a byte order mark where one is needed to read it as UTF-8."""
    return text if text.isascii() or text.startswith(BYTE_ORDER_MARK) else BYTE_ORDER_MARK + text


def _first_line(title: str) -> str:
    """A comment that can't end before its line: titles hold names of files."""
    return "# build: " + "".join(sign if " " <= sign <= "~" else "?" for sign in title)


def _preamble(strictness: str) -> str:
    return PREAMBLE.replace("{strictness}", strictness)
