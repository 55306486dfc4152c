"""`build show`: the versions of an image, a run, or a saved plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.cli.common import Environment, Variables, parse_variables
from builder.cli.plan import PlanFormat
from builder.errors import BuildError, ExitCode, SpecInvalid

if TYPE_CHECKING:
    from builder.model.observed import Published
    from builder.model.plan import Plan
    from builder.model.spec import ImageDocument
    from builder.records.store import Store
    from builder.report.shown import Unseen
    from builder.spec.loader import Loaded

# How many runs the overview lists
RUNS = 10
# What makes an argument a pattern: no name of an image has these
GLOB = frozenset("*?[")


def command(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE|PLANFILE|RUN]",
            help="An image, a saved plan, or a run. None, or a glob such as 'web-*': an overview.",
        ),
    ] = None,
    style: Annotated[PlanFormat, typer.Option("--format", help="Text or JSON; plans also as Markdown.")] = (
        PlanFormat.TEXT
    ),
    environment: Environment = None,
    variables: Variables = None,
    full: Annotated[bool, typer.Option("--full", help="Show all lines of a plan.")] = False,
) -> int:
    """Show the versions of an image, a run, or a saved plan. Without an argument: all images and the latest runs."""
    if what is not None and _is_file(what, environment, parse_variables(variables)):
        _show_plan(Path(what), style, full)
        return ExitCode.DONE
    if style == PlanFormat.MARKDOWN:
        raise BuildError("only plans are shown as Markdown", code="usage", hint="use --format text or json")
    from builder.plan.selection import known, matching
    from builder.records.store import Store
    from builder.report import shown
    from builder.spec.loader import load_valid

    loaded, wrong = load_valid([], environment=environment, variables=parse_variables(variables))
    # What is published can be seen, whatever a spec of another image says
    invalid = SpecInvalid(wrong, root=loaded.root) if wrong else None
    store = Store(loaded.root / loaded.project.store)
    names = [document.name for document in loaded.documents]
    if what is None or GLOB & set(what):
        chosen = names if what is None else matching([what], names, option="")
        listed = [document for document in loaded.documents if document.name in chosen]
        images = {document.name: _published(document, loaded) for document in listed}
        runs = [_run(store, run) for run in _run_names(store)[:RUNS]] if what is None else []
        _print(shown.overview_document(images, runs), shown.overview_text, style)
        if invalid:
            raise invalid
        return ExitCode.DONE
    for document in loaded.documents:
        if document.name == what:
            _print(shown.versions_document(what, _published(document, loaded)), shown.versions_text, style)
            return ExitCode.DONE
    if what in _run_names(store):
        _print(_run(store, what), shown.run_text, style)
        return ExitCode.DONE
    raise invalid or BuildError(
        f"{what!r} is no image, no run and no saved plan of this project",
        code="not-found",
        hint=f"{known(what, names)} (`build show` lists images and runs)",
    )


def _is_file(what: str, environment: str | None, variables: dict[str, str]) -> bool:
    from builder.cli.targets import SPEC_SUFFIXES, is_plan_file

    return is_plan_file(what, environment, variables) or (Path(what).is_file() and what.endswith(SPEC_SUFFIXES))


def _print(document: dict[str, Any], text: Any, style: PlanFormat) -> None:  # noqa: ANN401
    print(json.dumps(document, indent=2) + "\n" if style == PlanFormat.JSON else text(document), end="")


def _published(document: ImageDocument, loaded: Loaded) -> list[Published | Unseen]:
    """What each destination holds; one that can't be looked at doesn't hide the others."""
    from builder.cli.planning import destinations_of
    from builder.plan.planner import NEUTRAL_VERSION
    from builder.report.shown import Unseen

    image = document.render(NEUTRAL_VERSION)
    found: list[Published | Unseen] = []
    for destination in destinations_of(loaded)(image):
        try:
            found.append(destination.observe(image))
        except BuildError as error:
            found.append(Unseen(destination.name, error.message))
    return found


def _run_names(store: Store) -> list[str]:
    """The runs of a store, the latest first: their names sort by time."""
    return sorted((entry.name for entry in store.runs.iterdir()), reverse=True) if store.runs.is_dir() else []


def _run(store: Store, run: str) -> dict[str, Any]:
    from builder.records.journal import read
    from builder.report.shown import run_document, unreadable_run

    folder = store.run_folder(run)
    try:
        return run_document(run, read(folder), alive=store.is_alive(run), folder=str(folder))
    except PermissionError:
        return unreadable_run(run, folder=str(folder))


def _show_plan(path: Path, style: PlanFormat, full: bool) -> None:
    from builder.cli.planning import print_plan
    from builder.plan.saved import load
    from builder.report.plan_words import Presentation

    plan = load(path)
    presentation = Presentation(saved_as=str(path), stale=_stale(plan), full=full)
    print_plan(plan, presentation, style, target=plan.options.get("environment") or "")


def _stale(plan: Plan) -> list[str]:
    """Why a saved plan doesn't hold. A plan is always shown, also where its project can't be read any more."""
    from datetime import UTC, datetime

    from builder.cli.planning import plan_again
    from builder.plan.staleness import stale_because
    from builder.records.store import Store

    try:
        again = plan_again(plan)
    except (BuildError, OSError) as error:
        return [f"it can't be made again here: {error}"]
    applied = Store(again.store).was_applied(plan.id)
    return list(stale_because(plan, again.plan, now=datetime.now(UTC), applied=applied))
