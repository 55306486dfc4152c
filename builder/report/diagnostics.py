"""Findings about specs as text with the source line, as JSON, and as SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import builder
from builder.errors import Diagnostic

# What YAML takes for the end of a line: the places count by it
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
WIDEST_SOURCE = 120
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SARIF_LEVELS = {"error": "error", "warning": "warning"}


def as_text(diagnostics: Sequence[Diagnostic], root: Path | None, *, paths_from: Path | None = None) -> str:
    """Findings for people: `file:line:col: error[code]: message`, the line with a caret, the help; a count last.

    `root` is the project's root, which the places are relative to (None: no source lines); paths are shown relative to
    `paths_from` (default: the current folder), so that a terminal can open them.
    """
    lines_of = cache(lambda file: _read_lines(root, file) if root else [])
    start = paths_from or Path.cwd()
    blocks = [_one(item, lines_of, root, start) for item in diagnostics]
    return "\n".join([*blocks, "", count(diagnostics)])


def count(diagnostics: Sequence[Diagnostic]) -> str:
    """How many findings of each severity, in how many files: `3 errors in 2 files`."""
    severities = [item.severity for item in diagnostics]
    parts = [_plural(severities.count(name), name) for name in dict.fromkeys(severities)]
    files = len({item.place.file for item in diagnostics})
    return f"{', '.join(parts) or 'no errors'} in {_plural(files, 'file')}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _one(item: Diagnostic, lines_of: Callable[[str], list[str]], root: Path | None, start: Path) -> str:
    place = item.place
    file = os.path.relpath(root / place.file, start) if root else place.file
    parts = [f"{file}:{place.line}:{place.column}: {item.severity}[{item.code}]: {_printable(item.message)}"]
    lines = lines_of(place.file)
    if place.line <= len(lines) and lines[place.line - 1].strip():
        source, offset = _window(lines[place.line - 1], place.column)
        number = f"{place.line:5}"
        parts += [f"{number} | {source}".rstrip(), f"{' ' * len(number)} | {' ' * offset}^"]
    if item.help:
        parts.append(f"      = help: {_printable(item.help)}")
    return "\n".join(parts)


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a line around a column, safe to print, and how many terminal cells stand before that column."""
    first = max(0, column - 1 - WIDEST_SOURCE // 2) if len(line) > WIDEST_SOURCE else 0
    before, after = line[first : column - 1], line[column - 1 : first + WIDEST_SOURCE]
    return _printable(before + after), sum(_cells(character) for character in _printable(before))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _printable(text: str) -> str:
    """Text that can't drive the terminal: a spec may come from a stranger's pull request."""
    if text.isprintable():
        return text
    shown = (character if character.isprintable() else repr(character)[1:-1] for character in text.replace("\t", " "))
    return "".join(shown)


def _read_lines(root: Path, file: str) -> list[str]:
    """The lines of a file below the root; none of what a link shows of the rest of the host, or of a pipe."""
    path = Path(os.path.realpath(root / file))
    if not path.is_relative_to(os.path.realpath(root)) or not path.is_file():
        return []
    try:
        return LINE_BREAK.split(path.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError:
        # The file may have gone since it was checked; the message stands without its line
        return []


def as_json(diagnostics: Sequence[Diagnostic], images: Sequence[str] = ()) -> str:
    """Findings for programs: `valid`, the names of `images`, and `diagnostics` with their places."""
    document = {
        "valid": not any(item.severity == "error" for item in diagnostics),
        "images": list(images),
        "diagnostics": [
            {
                "file": item.place.file,
                "line": item.place.line,
                "column": item.place.column,
                "severity": item.severity,
                "code": item.code,
                "message": item.message,
                "help": item.help,
            }
            for item in diagnostics
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """Findings as a SARIF 2.1.0 log, for code scanning in pull requests. Paths are relative to the project's root."""
    codes = sorted({item.code for item in diagnostics})
    driver = {
        "name": "build",
        "version": builder.__version__,
        "rules": [{"id": code, "name": _camel(code)} for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"ROOT": {"description": {"text": "The root of the project"}}},
        "results": [_sarif_result(item, codes.index(item.code)) for item in diagnostics],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _sarif_result(item: Diagnostic, rule: int) -> dict[str, object]:
    # The line is not part of the fingerprint: a finding stays the same one when lines are added above it
    fingerprint = hashlib.sha256(f"{item.code}\0{item.place.file}\0{item.message}".encode()).hexdigest()
    return {
        "ruleId": item.code,
        "ruleIndex": rule,
        "level": SARIF_LEVELS.get(item.severity, "note"),
        "message": {"text": f"{item.message}\n{item.help}" if item.help else item.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(item.place.file), "uriBaseId": "ROOT"},
                    "region": {"startLine": item.place.line, "startColumn": item.place.column},
                }
            }
        ],
        "partialFingerprints": {"finding/v1": fingerprint[:32]},
    }


def _camel(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
