"""Where the published schemas are: in the checkout, or inside an installed package."""

from __future__ import annotations

from pathlib import Path

import builder
from builder.errors import BuildError


def schema_path(name: str) -> Path:
    """The file of a published schema. Raises BuildError when this installation lacks it."""
    package = Path(builder.__file__).parent
    for folder in (package / "schemas", package.parent / "schemas"):
        path = folder / f"{name}.schema.json"
        if path.is_file():
            return path
    raise BuildError(f"this installation has no schema {name!r}", code="schema-missing", hint="install build again")


def read_schema(name: str) -> str:
    """The text of a published schema."""
    return schema_path(name).read_text(encoding="utf-8")
