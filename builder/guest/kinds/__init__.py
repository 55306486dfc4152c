"""The prepare kinds for Linux guests: `prepare_step` makes the step of an entry of `prepare`.

Adding a kind is one file with a function for the step and one for the script, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from builder.errors import BuildError
from builder.guest.kinds import files, packages, scripts, services, users
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Step

STEP_BUILDERS: Mapping[str, Callable[[Choice, ImageSpec], Step]] = {
    "packages": packages.step,
    "files": files.files_step,
    "template": files.template_step,
    "users": users.step,
    "services": services.step,
    "script": scripts.script_step,
    "run": scripts.run_step,
    "restart": scripts.restart_step,
}


def prepare_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of one entry of `prepare`, not chained yet. Reads the repository's files that it names.

    Raises BuildError for a kind that Linux guests don't have and for files that can't be used.
    """
    builder = STEP_BUILDERS.get(choice.kind)
    if builder is None:
        raise BuildError(
            f"`{choice.kind}` can't be done in a Linux image",
            code="unsupported-step",
            where=image.place(*choice.path),
            hint=f"steps for Linux are {', '.join(STEP_BUILDERS)}",
        )
    return builder(choice, image)


def paths_of_ours(image: ImageSpec) -> tuple[str, ...]:
    """The paths of all files that the spec puts into the image, sorted."""
    return paths_in(prepare_step(choice, image) for choice in image.prepare)


def paths_in(steps: Iterable[Step]) -> tuple[str, ...]:
    """The paths of all files that prepare steps put into the image, sorted."""
    return tuple(sorted({change.name for step in steps for change in step.changes if change.kind == "file"}))
