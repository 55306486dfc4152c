"""`build promote`: let everybody take a version that was held back."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from builder.cli.common import Environment, Variables, confirm, parse_variables
from builder.errors import BuildError, ExitCode


def command(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image's name.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that is held back, such as 1.4.2.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    environment: Environment = None,
    variables: Variables = None,
) -> int:
    """Promote a version whose tests failed, or were never run: from then on it is taken as the latest."""
    from builder.apply.executor import Executor, Options, Tools
    from builder.cli.interrupts import stop_on_signals
    from builder.cli.planning import PlanRequest, destinations_of, load_request, print_plan
    from builder.machines.registry import machine_for
    from builder.model.version import is_version
    from builder.plan.planner import NEUTRAL_VERSION
    from builder.plan.promotion import promotion
    from builder.plan.selection import known
    from builder.records.store import Store
    from builder.report.plan_words import Presentation
    from builder.report.progress import progress_for

    if not is_version(version):
        raise BuildError(f"{version!r} is no version", code="usage", hint="three numbers with dots, such as 1.4.2")
    loaded, _ = load_request(PlanRequest(environment=environment, variables=parse_variables(variables)))
    document = next((found for found in loaded.documents if found.name == image), None)
    if document is None:
        names = [found.name for found in loaded.documents]
        raise BuildError(f"there is no image {image!r}", code="not-found", hint=known(image, names))
    destinations = destinations_of(loaded)
    plan = promotion(document, version, destinations(document.render(NEUTRAL_VERSION)), root=loaded.root)
    print_plan(plan, Presentation(applying=True), "text", target=environment or "")
    sys.stdout.flush()
    if not plan.has_changes:
        return ExitCode.DONE
    if not yes:
        confirm("Do exactly this?", unasked="give --yes")
    store = loaded.root / loaded.project.store
    with ExitStack() as stack:
        listener = stack.enter_context(progress_for("auto"))
        tools = Tools(Store(store), lambda spec: machine_for(spec, store), destinations, listener)
        executor = Executor(tools, loaded.documents, Options())
        stack.enter_context(stop_on_signals(tools.stop))
        executor.apply(plan)
    return ExitCode.DONE
