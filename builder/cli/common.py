"""Options that several commands share, and what they do with them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from builder.errors import BuildError

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SPEC|IMAGE]...",
        help="Specs, folders, or image names such as 'web-*'. None: all images. A folder that is called as an image is"
        " given as ./NAME.",
    ),
]
Environment = Annotated[
    str | None, typer.Option("--env", metavar="NAME", help="A named environment of build.yaml, such as prod.")
]
Variables = Annotated[
    list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Set a variable; may be given several times.")
]


def confirm(question: str, *, unasked: str) -> None:
    """Ask at the terminal: only the word `yes` goes on. `unasked` is what to do where nobody can be asked.

    Raises BuildError ("not-confirmed").
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise BuildError("nobody can be asked here whether to go on", code="not-confirmed", hint=unasked)
    try:
        answer = input(f"{question} Only 'yes' goes on: ")
    except EOFError:
        answer = ""
        print(file=sys.stderr)
    if answer != "yes":
        raise BuildError("not confirmed: nothing was done", code="not-confirmed")


def parse_variables(given: list[str] | None) -> dict[str, str]:
    """`--var name=value` as a map. Raises BuildError for one without `=`."""
    variables = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise BuildError(f"--var {text!r} is not a name and a value", code="usage", hint="write --var NAME=VALUE")
        variables[name] = value
    return variables
