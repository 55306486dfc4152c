"""`build validate`: check specs and show every error with its place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.common import Environment, Targets, Variables, parse_variables
from builder.errors import ExitCode, SpecInvalid

MOST_NAMES = 10


class Format(StrEnum):
    """How findings are shown."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def command(
    targets: Targets = None,
    env: Environment = None,
    var: Variables = None,
    format: Annotated[Format, typer.Option("--format", help="How findings are shown.")] = Format.TEXT,
) -> int:
    """Check specs and show every error with its place. Runs nothing.

    Paths that you give are read wherever they are; what a spec names never leads outside its repository.
    """
    from builder.cli.planning import PlanRequest, load_request
    from builder.plan.selection import matching
    from builder.report import diagnostics as report

    request = PlanRequest.of(targets, environment=env, variables=parse_variables(var))
    try:
        loaded, include = load_request(request)
        names, found, root = [document.name for document in loaded.documents], loaded.warnings, loaded.root
        if request.images:
            chosen = matching(include, names, option="")
            names = [name for name in names if name in chosen]
    except SpecInvalid as error:
        names, found, root = [], error.diagnostics, error.root or Path()
    if format is Format.JSON:
        print(report.as_json(found, names))
    elif format is Format.SARIF:
        print(report.as_sarif(found))
    else:
        if found:
            print(report.as_text(found, root))
        if names:
            print(_valid(names))
    return ExitCode.DONE if names else ExitCode.SPEC_INVALID


def _valid(names: list[str]) -> str:
    """`3 images are valid: base, db, web`."""
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    return f"{len(names)} {'image is' if len(names) == 1 else 'images are'} valid: {shown}"
