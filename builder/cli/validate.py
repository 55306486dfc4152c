"""`build validate`: check specs and show every error with its place."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.common import Environment, Paths, Variables, parse_variables
from builder.errors import ExitCode, SpecInvalid


class Format(StrEnum):
    """How findings are shown."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def command(
    paths: Paths = None,
    env: Environment = None,
    var: Variables = None,
    format: Annotated[Format, typer.Option("--format", help="How findings are shown.")] = Format.TEXT,
) -> int:
    """Check specs and show every error with its place. Reads files of the repository only, and runs nothing."""
    from builder.report import diagnostics as report
    from builder.spec.loader import load

    found: tuple[object, ...] = ()
    try:
        loaded = load(paths or [], environment=env, variables=parse_variables(var))
        names, found, root = [document.name for document in loaded.documents], (), loaded.root
    except SpecInvalid as error:
        names, found, root = [], error.diagnostics, error.root
    if format is Format.JSON:
        print(report.as_json(found, names))
    elif format is Format.SARIF:
        print(report.as_sarif(found))
    elif found:
        print(report.as_text(found, root), file=sys.stderr)
    else:
        print(f"{len(names)} {'image is' if len(names) == 1 else 'images are'} valid: {_few(names)}")
    return ExitCode.SPEC_INVALID if found else ExitCode.DONE
