"""`build generalize --list`: the operations that take a machine's identity out."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """How the list is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def command(
    list_: Annotated[
        bool, typer.Option("--list", help="List all operations; it is all that this command does.")
    ] = True,
    format_: Annotated[Format, typer.Option("--format", help="`markdown` writes docs/generalize.md.")] = Format.TEXT,
) -> None:
    """List the operations that take a machine's identity out, with their defaults and reasons."""
    from builder.guest import operations_reference
    from builder.guest.operations import all_operations

    if format_ == Format.JSON:
        rows = [
            {"id": item.id, "default": item.default, "families": sorted(item.families), "reason": item.reason,
             "actions": item.describe(), "covers": list(item.covers)}
            for item in all_operations()
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
    elif format_ == Format.MARKDOWN:
        print(operations_reference.markdown(), end="")
    else:
        print(operations_reference.text(), end="")
