"""`build gc`: remove what no build needs any more, from the local store and where machines left it."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.cli.common import Environment, Variables, parse_variables


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

    Old runs' records and old downloads go, too, and what dead runs and expired checkpoints left in a cloud. Versions in
    galleries are never touched. Losing a checkpoint costs time at the next build, nothing else.
    """
    from builder.apply.collect import DAY_SECONDS, Needed, collect, kept_artifacts
    from builder.cli.planning import PlanRequest, destinations_of, make_plan
    from builder.errors import BuildError
    from builder.machines.base import Keep
    from builder.machines.registry import Machines
    from builder.model.plan import Action
    from builder.plan.planner import NEUTRAL_VERSION
    from builder.records.store import Store
    from builder.report.units import bytes_text

    planned = make_plan(PlanRequest(environment=environment, variables=parse_variables(variables)))
    checkpoints = {item.step.digest for image in planned.plan.images for item in image.steps}
    artifacts = {(item.step.digest, image.image) for image in planned.plan.images for item in image.steps}
    adopted = {(image.start, image.image) for image in planned.plan.images if image.action == Action.ADOPT}
    blocked = frozenset(image.image for image in planned.plan.images if image.action == Action.BLOCKED)
    destinations = destinations_of(planned.loaded)
    for document in planned.loaded.documents:
        image = document.render(NEUTRAL_VERSION)
        for destination in destinations(image):
            newest = destination.observe(image).newest
            if newest is not None and newest.manifest is not None:
                # Steps of other versions of this tool may have no digest
                steps = {str(step["digest"]) for step in newest.manifest.steps if step.get("digest")}
                checkpoints |= steps
                # What a version holds is not captured twice, unless the plan is to publish it again
                artifacts -= {(digest, image.name) for digest in steps} - adopted
    needed = Needed(frozenset(checkpoints), frozenset(artifacts), blocked)
    store = Store(planned.store)
    keep = Keep(needed.checkpoints, kept_artifacts(store, needed), days)
    if days is None:
        days = int(planned.loaded.project.expire_checkpoints // DAY_SECONDS)
    found = collect(store, needed=needed, days=days, dry_run=dry_run)
    images = [document.render(NEUTRAL_VERSION) for document in planned.loaded.documents]
    machines = Machines(planned.store)
    failed = []
    for machine in {machines(image).name: machines(image) for image in images}.values():
        for cleaned in machine.clean([image for image in images if machines(image) is machine], keep, dry_run=dry_run):
            if cleaned.error is None:
                print(f"- {cleaned.what}")
            else:
                failed.append(f"{cleaned.what}: {cleaned.error.message}")
    for removed in found:
        print(f"- {removed.what}  {bytes_text(removed.size)}")
    total = bytes_text(sum(removed.size for removed in found))
    print(f"{'Would remove' if dry_run else 'Removed'} {len(found)} of the local store's entries, {total}.")
    if failed:
        subject = "1 left-over" if len(failed) == 1 else f"{len(failed)} left-overs"
        raise BuildError(
            f"{subject} could not be removed",
            code="left-over",
            hint="mend that and run `build gc` again",
            detail="\n".join(failed),
        )
