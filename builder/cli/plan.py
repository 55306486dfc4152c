"""`build plan`: show what apply would do, and why. Runs nothing, changes nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.common import Environment, Targets, Variables, parse_variables


class PlanFormat(StrEnum):
    """How a plan is shown."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave images out, by name.")]
Rebuild = Annotated[
    list[str] | None,
    typer.Option("--rebuild", metavar="IMAGE", help="Make it anew from its source, though nothing changed."),
]


def command(
    targets: Targets = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Save the plan, for `build apply FILE` to do exactly. Replaces no file but a saved plan.",
        ),
    ] = None,
    style: Annotated[PlanFormat, typer.Option("--format", help="For people, a pull request, or programs.")] = (
        PlanFormat.TEXT
    ),
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")
    ] = False,
    environment: Environment = None,
    variables: Variables = None,
    exclude: Exclude = None,
    rebuild: Rebuild = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no cloud anything: what the specs alone tell. Can't be applied.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show all lines, also of long lists and diffs.")] = False,
) -> int:
    """Show what apply would do, and why.

    Compares the specs with what is published. Reads only: it needs no root and is safe on specs that you don't trust.
    """
    from builder.cli.planning import PlanRequest, make_plan, print_plan, refuse_blocked
    from builder.errors import ExitCode
    from builder.plan.saved import refuse_target, save
    from builder.report.plan_words import Presentation

    if out is not None:
        # Known before the work of planning
        refuse_target(out)
    request = PlanRequest.of(
        targets,
        exclude=tuple(exclude or ()),
        rebuild=tuple(rebuild or ()),
        environment=environment,
        variables=parse_variables(variables),
        offline=offline,
    )
    plan = make_plan(request, progress=True).plan
    if out is not None:
        save(plan, out)
    presentation = Presentation(
        saved_as=str(out) if out else None,
        arguments=arguments(targets, environment, variables, exclude, rebuild),
        full=full,
    )
    print_plan(plan, presentation, style, target=environment or "")
    refuse_blocked(plan, saved=out)
    return ExitCode.CHANGES if detailed_exitcode and plan.has_changes else ExitCode.DONE


def arguments(
    targets: list[str] | None,
    environment: str | None,
    variables: list[str] | None,
    exclude: list[str] | None,
    rebuild: list[str] | None,
) -> list[str]:
    """The arguments that select the same images again, for the command that is suggested next."""
    options = [*(["--env", environment] if environment else [])]
    for name, values in (("--var", variables), ("--exclude", exclude), ("--rebuild", rebuild)):
        for value in values or ():
            options += [name, value]
    return [*options, *(targets or ())]
