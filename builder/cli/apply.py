"""`build apply`: carry a plan out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli.app import report
from builder.cli.common import Environment, Variables, parse_variables
from builder.cli.plan import Exclude, Rebuild, arguments
from builder.errors import BuildError, ExitCode, Interrupted, PolicyDenied, SomeImagesFailed

if TYPE_CHECKING:
    from builder.apply.executor import Executor, Tools
    from builder.cli.planning import Planned
    from builder.events import Listener
    from builder.model.plan import ImagePlan, Plan
    from builder.report.progress import Progress

# In a terminal a person would rather know at once; a pipeline would rather wait for its neighbour
CI_LOCK_SECONDS = 300.0


class ProgressMode(StrEnum):
    """How an apply shows what it does."""

    AUTO = "auto"
    TTY = "tty"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SPEC|IMAGE|PLANFILE]...",
        help="Specs, image names, or one saved plan. None: all images. A plan or folder that is called as an image is"
        " given as ./NAME.",
    ),
]


def command(
    targets: Targets = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask. A plan file is never asked about.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Go the same way without any effect.")] = False,
    environment: Environment = None,
    variables: Variables = None,
    exclude: Exclude = None,
    rebuild: Rebuild = None,
    allow_delete: Annotated[
        bool, typer.Option("--allow-delete", help="Let versions be removed (retention, `state: retired`) unasked.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first image that fails.")] = False,
    lock_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Wait so long for another run of the same image. Without it: not at a terminal, 300 elsewhere.",
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, max=500, metavar="N", help="Make at most so many images at once, where they can be.")
    ] = 16,
    progress: Annotated[
        ProgressMode, typer.Option(help="Live lines, plain lines, JSON lines on standard output, or nothing.")
    ] = ProgressMode.AUTO,
    events: Annotated[
        Path | None, typer.Option("--events", metavar="FILE", help="Write every event to FILE too, as JSON lines.")
    ] = None,
) -> int:
    """Carry a plan out: plan, ask, build, test, publish.

    With a plan file, exactly that plan is carried out, once, or refused when anything moved since (exit code 5).
    """
    from builder.apply.executor import Executor, Options
    from builder.cli.interrupts import stop_on_signals
    from builder.cli.planning import PlanRequest, make_plan, print_plan
    from builder.cli.targets import is_plan_file
    from builder.report.plan_words import Presentation
    from builder.report.progress import progress_for

    names = targets or []
    saved = [name for name in names if is_plan_file(name, environment, parse_variables(variables))]
    if saved and len(names) > 1:
        raise BuildError("a saved plan is carried out alone", code="usage", hint="give the plan file and nothing else")
    if saved:
        if exclude or variables or environment or rebuild:
            raise BuildError(
                "a saved plan is carried out as it is: --env, --var, --exclude and --rebuild can't change it",
                code="usage",
                hint="give them to `build plan`, and apply the new plan",
            )
        planned = _checked_again(Path(names[0]))
        ask = False
        refused = _deletes(planned.plan) and not allow_delete and not _somebody_is_there()
    else:
        request = PlanRequest.of(
            targets,
            exclude=tuple(exclude or ()),
            rebuild=tuple(rebuild or ()),
            environment=environment,
            variables=parse_variables(variables),
        )
        planned = make_plan(request, progress=True)
        ask = not (yes or dry_run)
        refused = _deletes(planned.plan) and not allow_delete and not ask
    plan = planned.plan
    words = Presentation(arguments=arguments(targets, environment, variables, exclude, rebuild), applying=True)
    print_plan(plan, words, "text", target=environment or "")
    sys.stdout.flush()
    if not plan.has_changes:
        return _end(plan)
    if refused and not dry_run:
        raise PolicyDenied(
            "this plan removes versions, and nobody is asked",
            code="delete-not-allowed",
            hint="give --allow-delete if that is right",
        )
    with ExitStack() as stack:
        listener = progress_for(progress.value)
        tools = _tools(planned, stack, listener, events)
        if lock_timeout is None:
            lock_timeout = 0.0 if _somebody_is_there() else CI_LOCK_SECONDS
        options = Options(lock_timeout, fail_fast=fail_fast, dry_run=dry_run, side_by_side=parallel)
        executor = Executor(tools, planned.loaded.documents, options)
        executor.preflight(plan)
        if ask:
            _confirm(plan)
        # From here on the display is live, and a signal asks for a clean stop
        stack.enter_context(listener)
        stack.enter_context(stop_on_signals(executor.tools.stop))
        _apply(executor, planned)
    return _end(plan)


def _somebody_is_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _checked_again(path: Path) -> Planned:
    """A saved plan, with what it is carried out with; refused when the world is not as it was."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from builder.cli.planning import plan_again
    from builder.plan.saved import load
    from builder.plan.staleness import approved, check
    from builder.records.store import Store

    saved = load(path)
    if saved.options.get("offline"):
        raise BuildError(
            "this plan was made offline: nobody knows what it would do",
            code="plan-offline",
            hint="plan without --offline",
        )
    fresh = plan_again(saved)
    check(saved, fresh.plan, now=datetime.now(UTC), applied=Store(fresh.store).was_applied(saved.id))
    # What is known already (checkpoints) may be more by now than when the plan was made
    return replace(fresh, plan=approved(saved, fresh.plan))


def _tools(planned: Planned, stack: ExitStack, progress: Progress, events: Path | None) -> Tools:
    from builder.apply.executor import Tools
    from builder.cli.planning import destinations_of
    from builder.machines.registry import machine_for
    from builder.records.store import Store
    from builder.report.progress import JsonLines, both

    listener: Listener = progress
    if events is not None:
        try:
            file = stack.enter_context(events.open("w", encoding="utf-8"))
        except OSError as error:
            raise BuildError(f"events can't be written to {events}: {error.strerror}", code="usage") from error
        listener = both(listener, JsonLines(file))
    return Tools(
        store=Store(planned.store),
        machine_for=lambda image: machine_for(image, planned.store),
        destinations_for=destinations_of(planned.loaded),
        listener=listener,
    )


def _apply(executor: Executor, planned: Planned) -> None:
    """Apply, and when it fails say how to go on."""
    from builder.report.plan_words import how_to_go_on

    try:
        executor.apply(planned.plan)
    except BuildError as error:
        for image, failure in error.failures if isinstance(error, SomeImagesFailed) else ():
            print(f"\n{image}:", file=sys.stderr)
            report(failure)
        if executor.folder.exists() and error.exit_code not in (ExitCode.LOCKED, ExitCode.PLAN_STALE):
            how = how_to_go_on(planned.plan, interrupted=isinstance(error, Interrupted))
            print(f"\n{how}\nThe log and journal of this run: {_shown(executor.folder)}", file=sys.stderr)
        raise


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _deletes(plan: Plan) -> bool:
    return any(image.retires for image in plan.images)


def _confirm(plan: Plan) -> None:
    """Only the word `yes` goes on. Where nobody can be asked, --yes or a plan file is needed."""
    if not _somebody_is_there():
        raise BuildError(
            "nobody can be asked here whether to go on",
            code="not-confirmed",
            hint="give --yes, or apply a saved plan: build plan --out FILE, then build apply FILE",
        )
    if _deletes(plan):
        gone = sum(len(image.retires) for image in plan.images)
        print(f"{gone} {'version' if gone == 1 else 'versions'} will be removed.", file=sys.stderr)
    try:
        answer = input("Do exactly this? Only 'yes' goes on: ")
    except EOFError:
        answer = ""
        print(file=sys.stderr)
    if answer != "yes":
        raise BuildError("not confirmed: nothing was done", code="not-confirmed")


def _end(plan: Plan) -> int:
    """The exit code once the work is done: images that were blocked are still an error."""
    if plan.blocked:
        names = ", ".join(_name(item) for item in plan.blocked)
        message = f"blocked, so not built: {names}"
        if len(plan.images) > len(plan.blocked):
            raise SomeImagesFailed(message, hint="the plan above says why")
        raise BuildError(message, code="plan-blocked", hint="the plan above says why")
    return ExitCode.DONE


def _name(item: ImagePlan) -> str:
    return f"{item.image} ({item.reasons[0].message})" if item.reasons else item.image
