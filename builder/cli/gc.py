"""`build gc`: remove what no build needs any more, from the local store and where machines left it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli.common import Environment, Variables, parse_variables
from builder.errors import BuildError, Unreachable

if TYPE_CHECKING:
    from builder.apply.collect import Needed
    from builder.cli.planning import Planned
    from builder.destinations.base import Destination
    from builder.model.cleaning import Cleaned
    from builder.model.plan import Plan
    from builder.model.spec import ImageSpec


def command(
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            min=0,
            metavar="N",
            help="Keep checkpoints, runs and downloads that were made in the last N days. "
            "Default: `checkpoints.expire` of build.yaml, else 30.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    environment: Environment = None,
    variables: Variables = None,
) -> None:
    """Remove left-overs of dead runs, and checkpoints that neither a present spec nor its newest version stands on.

    Old runs' records and old downloads go, too, and what dead runs, expired uploads and expired checkpoints left in a
    cloud, wherever images are built or published. Versions in galleries are never touched. Losing a checkpoint costs
    time at the next build, nothing else.
    """
    from builder.apply.collect import collect, kept_artifacts
    from builder.apply.elsewhere import clean_elsewhere
    from builder.cli.planning import destinations_of
    from builder.machines.registry import Machines
    from builder.model.cleaning import DAY_SECONDS, Keep
    from builder.plan.planner import NEUTRAL_VERSION
    from builder.records.store import Store
    from builder.report.units import bytes_text

    planned, unreachable = _plan(environment, parse_variables(variables))
    loaded = planned.loaded
    destinations = destinations_of(loaded)
    images = [document.render(NEUTRAL_VERSION) for document in loaded.documents]
    needed, missed = _needed(planned.plan, images, destinations)
    if unreachable:
        needed = replace(needed, blocked=frozenset(image.name for image in images))
    store = Store(planned.store)
    keep = Keep(needed.checkpoints, kept_artifacts(store, needed), days)
    if days is None:
        days = int(loaded.project.expire_checkpoints // DAY_SECONDS)
    found = collect(store, needed=needed, days=days, dry_run=dry_run)
    elsewhere = clean_elsewhere(images, Machines(planned.store), destinations, store, keep, dry_run=dry_run)
    for cleaned in elsewhere.cleaned:
        if cleaned.error is None:
            print(f"- {cleaned.what}")
    for removed in found:
        print(f"- {removed.what}  {bytes_text(removed.size)}")
    total = bytes_text(sum(removed.size for removed in found))
    print(f"{'Would remove' if dry_run else 'Removed'} {len(found)} of the local store's entries, {total}.")
    _warn([*missed, *elsewhere.missed])
    _refuse(elsewhere.cleaned)


def _plan(environment: str | None, variables: dict[str, str]) -> tuple[Planned, bool]:
    """The plan, and whether no image could be looked at: then it is made offline, which is enough for this host."""
    from builder.cli.planning import PlanRequest, make_plan

    request = PlanRequest(environment=environment, variables=variables)
    try:
        return make_plan(request), False
    except Unreachable:
        return make_plan(replace(request, offline=True)), True


def _needed(
    plan: Plan, images: Sequence[ImageSpec], destinations: Callable[[ImageSpec], Sequence[Destination]]
) -> tuple[Needed, list[tuple[str, BuildError]]]:
    """What present specs and their newest versions need, and the destinations that could not be asked."""
    from builder.apply.collect import Needed
    from builder.model.plan import Action

    checkpoints = {item.step.digest for image in plan.images for item in image.steps}
    artifacts = {(item.step.digest, image.image) for image in plan.images for item in image.steps}
    adopted = {(image.start, image.image) for image in plan.images if image.action == Action.ADOPT}
    blocked = {image.image for image in plan.images if image.action == Action.BLOCKED}
    missed: list[tuple[str, BuildError]] = []
    for image in images:
        for destination in destinations(image):
            try:
                newest = destination.observe(image).newest
            except BuildError as error:
                # What it holds may be what an artifact is still needed for
                blocked.add(image.name)
                missed.append((destination.name, error))
                continue
            if newest is not None and newest.manifest is not None:
                # Steps of other versions of this tool may have no digest
                steps = {str(step["digest"]) for step in newest.manifest.steps if step.get("digest")}
                checkpoints |= steps
                # What a version holds is not captured twice, unless the plan is to publish it again
                artifacts -= {(digest, image.name) for digest in steps} - adopted
    return Needed(frozenset(checkpoints), frozenset(artifacts), frozenset(blocked)), missed


def _warn(missed: Iterable[tuple[str, BuildError]]) -> None:
    """Say what was not looked at, each reason once: what is local was cleaned all the same."""
    for name, error in {error.message: (name, error) for name, error in missed}.values():
        print(f"warning: {name} was not looked at: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)


def _refuse(cleaned: Iterable[Cleaned]) -> None:
    """Raise BuildError for what could not be removed."""
    failed = [f"{item.what}: {item.error.message}" for item in cleaned if item.error is not None]
    if failed:
        subject = "1 left-over" if len(failed) == 1 else f"{len(failed)} left-overs"
        raise BuildError(
            f"{subject} could not be removed",
            code="left-over",
            hint="mend that and run `build gc` again",
            detail="\n".join(failed),
        )
