"""Makes a plan for a command: reads the specs, and gives the planner the machines and destinations that exist.

`build plan`, `build apply` and `build show` all plan through here, so that they can't differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli.targets import is_path
from builder.errors import BuildError, SpecInvalid

if TYPE_CHECKING:
    from builder.destinations.base import Destination
    from builder.model.plan import Plan
    from builder.model.spec import ImageSpec
    from builder.report.plan_words import Presentation
    from builder.spec.loader import Loaded


@dataclass(frozen=True)
class PlanRequest:
    """What a person asked to plan. `specs` are files or folders, `images` globs over names.

    Without specs the project's are meant: that of `root`, or (None) of the current folder.
    """

    specs: tuple[Path, ...] = ()
    images: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rebuild: tuple[str, ...] = ()
    environment: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    root: Path | None = None
    offline: bool = False

    @staticmethod
    def of(targets: Sequence[str] | None, **options: Any) -> PlanRequest:  # noqa: ANN401 - the other fields
        """The request for the arguments of a command line, each of which is a path or a glob over image names.

        Raises BuildError (code "ambiguous") for one that is both.
        """
        request = PlanRequest(**options)
        paths = [target for target in targets or () if is_path(target, request.environment, request.variables)]
        names = [target for target in targets or () if target not in paths]
        return replace(request, specs=tuple(map(Path, paths)), images=tuple(names))


@dataclass(frozen=True)
class Planned:
    """A plan and what it was made from. `store` is the folder of the project's local store."""

    plan: Plan
    loaded: Loaded
    store: Path


def make_plan(request: PlanRequest, *, progress: bool = False) -> Planned:
    """The plan for a request. `progress` counts the images on standard error while a person watches.

    Raises SpecInvalid for invalid specs and BuildError for names that match nothing.
    """
    from builder.machines.registry import Machines
    from builder.plan.planner import Planner
    from builder.plan.selection import PlanOptions

    loaded, include = load_request(request)
    store = loaded.root / loaded.project.store
    planner = Planner(
        machine_for=Machines(store, offline=request.offline),
        destinations_for=destinations_of(loaded, offline=request.offline, planning=True),
    )
    root = loaded.root
    plan = planner.plan(
        loaded.documents,
        root=root,
        inputs=loaded.inputs,
        options=PlanOptions(
            include=include,
            exclude=request.exclude,
            rebuild=request.rebuild,
            request={
                "specs": [_below(path, root) for path in request.specs],
                "images": list(request.images),
                "environment": request.environment,
                "variables": request.variables,
                "offline": request.offline,
            },
            offline=request.offline,
        ),
        progress=_counter() if progress and sys.stderr.isatty() else lambda done, total, image: None,
    )
    return Planned(plan, loaded, store)


def destinations_of(
    loaded: Loaded, *, offline: bool = False, planning: bool = False
) -> Callable[[ImageSpec], Sequence[Destination]]:
    """Where the images of a project are published. What one of them asks of Azure, another need not ask again.

    `offline`: destinations in a cloud are not asked at all. `planning`: nothing changes while they are asked.
    """
    from builder.destinations.listings import Listings
    from builder.destinations.registry import destinations_for
    from builder.destinations.surroundings import Surroundings

    # Without a place that all share, records stay with this checkout: tags tell the rest of the world enough
    records = loaded.project.records or {"directory": {"path": loaded.project.store}}
    surroundings = Surroundings(records, listings=Listings(kept=planning))
    if offline:
        from builder.destinations.unseen import seen_offline

        return lambda image: [seen_offline(each) for each in destinations_for(image, surroundings)]
    return lambda image: destinations_for(image, surroundings)


def load_request(request: PlanRequest) -> tuple[Loaded, tuple[str, ...]]:
    """The specs, and the names (or globs over them) that the request selects of them (none: all).

    Raises SpecInvalid, and BuildError when there are no specs.
    """
    from builder.spec.loader import load, load_valid

    options: dict[str, Any] = {"environment": request.environment, "variables": request.variables}
    if not request.specs:
        paths = [request.root] if request.root else []
        loaded, wrong = load_valid(paths, **options)
        if wrong:
            error = SpecInvalid([*wrong, *loaded.warnings], root=loaded.root)
            error.hint = _files_instead(request.images, loaded, options)
            raise error
        return loaded, request.images
    loaded = load(request.specs, **options)
    named = _named_by(request.specs, loaded)
    if not request.images:
        # Images that those stand on were read too; the planner takes them in when they have to be built
        return loaded, () if len(named) == len(loaded.documents) else named
    return load([loaded.root, *request.specs], **options), (*named, *request.images)


def _files_instead(images: Sequence[str], loaded: Loaded, options: Mapping[str, Any]) -> str | None:
    """What to give where only other specs are invalid: names are looked for in all, a file is looked at for itself."""
    import os

    from builder.plan.selection import matching
    from builder.spec.loader import load

    try:
        asked = matching(images, [document.name for document in loaded.documents], option="")
        files = sorted({loaded.root / document.place.file for document in loaded.documents if document.name in asked})
        if not files:
            return None
        # What they stand on may be what is invalid
        load(files, **options)
    except BuildError:
        return None
    shown = " ".join(map(os.path.relpath, files[:3])) + (" ..." if len(files) > 3 else "")
    return f"other specs are invalid: give {shown} instead of {'a name' if len(files) == 1 else 'names'}"


def _named_by(specs: Sequence[Path], loaded: Loaded) -> tuple[str, ...]:
    """The images whose files are, or are below, the given paths."""
    given = [path.absolute().parent.resolve() / path.absolute().name for path in specs]
    folders = [path.resolve() for path in specs if path.is_dir()]
    found = []
    for document in loaded.documents:
        file = loaded.root / document.place.file
        if file in given or any(file.is_relative_to(folder) for folder in folders):
            found.append(document.name)
    return tuple(found)


def plan_again(saved: Plan) -> Planned:
    """A plan made now as a saved one was made: from the same specs, with the same options.

    Raises BuildError as `make_plan` does, and for a plan of another project ("plan-elsewhere").
    """
    options, selection = saved.options, saved.selection
    root = _project_of(saved)
    return make_plan(
        PlanRequest(
            root=root,
            specs=tuple(root / path for path in options["specs"]),
            images=tuple(options["images"]),
            exclude=tuple(selection["exclude"]),
            rebuild=tuple(selection["rebuild"]),
            environment=options["environment"],
            variables=dict(options["variables"]),
            offline=bool(options.get("offline")),
        )
    )


def _project_of(saved: Plan) -> Path:
    """The checkout that a saved plan is about: the one around the current folder, wherever the plan was made.

    Only outside of any project it is the one that the plan was made in.
    """
    from builder.spec.project import find_root, is_project

    here, made = find_root(Path()), Path(saved.root)
    if here == made or any((here / image.file).exists() for image in saved.images):
        return here
    if is_project(here):
        raise BuildError(
            f"this plan was made in {made}, and none of its specs is in the project here, {here}",
            code="plan-elsewhere",
            hint="apply it in a checkout of its own project",
        )
    return made if made.is_dir() else here


def _below(path: Path, root: Path) -> str:
    absolute = path.resolve()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)


def _counter() -> Callable[[int, int, str], None]:
    """Shows how far a plan is, on one line that is gone when it is done."""

    def show(done: int, total: int, image: str) -> None:
        text = "" if done + 1 == total else f"looking at {done + 1} of {total}: {image}"[:79]
        print(f"\r{text:<79}\r{text}", end="", file=sys.stderr, flush=True)

    return show


def print_plan(plan: Plan, presentation: Presentation, style: str, *, target: str = "") -> None:
    """Print a plan on standard output, in a style: text, markdown or json."""
    import os

    if style == "json":
        import json

        from builder.report.plan_json import plan_document

        print(json.dumps(plan_document(plan, presentation), indent=2, ensure_ascii=False))
        return
    if style == "markdown":
        from builder.report.markdown import plan_comment

        print(plan_comment(plan, presentation, target=target), end="")
        return
    import shutil

    from builder.report.colour import rendered, wants_colour
    from builder.report.terminal import PIPE_WIDTH, plan_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    lines = plan_lines(plan, presentation, width=width)
    print(rendered(lines, colour=wants_colour(sys.stdout, os.environ)), end="")


def refuse_blocked(plan: Plan, *, saved: Path | None = None) -> None:
    """Raise BuildError (code "plan-blocked") when images are blocked: the plan is shown and saved, but incomplete."""
    names = [image.image for image in plan.blocked]
    if not names:
        return
    subject = "1 image is" if len(names) == 1 else f"{len(names)} images are"
    hint = f"mend what the plan says blocks {'it' if len(names) == 1 else 'each'}"
    if len(names) < len(plan.images):
        excludes = " ".join(f"--exclude {name}" for name in names[:5])
        hint += f", or plan with {excludes}{' ...' if len(names) > 5 else ''}"
    raise BuildError(
        f"{subject} blocked, so this plan is not complete" + (f" (it was saved to {saved})" if saved else ""),
        code="plan-blocked",
        hint=hint,
    )
