"""`build schema`: print a published JSON Schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class SchemaName(StrEnum):
    """The schemas that this tool publishes."""

    IMAGE = "image"
    PROJECT = "project"
    PLAN = "plan"
    MANIFEST = "manifest"


def command(
    name: Annotated[
        SchemaName, typer.Argument(metavar="[SCHEMA]", help=f"Which one: {', '.join(SchemaName)}.")
    ] = SchemaName.IMAGE,
) -> None:
    """Print a published JSON Schema (draft-07).

    Editors read it: put `# yaml-language-server: $schema=FILE` at the top of a spec.
    """
    from builder.spec.published import read_schema

    print(read_schema(name.value), end="")
