"""The prepare kinds: `prepare_step` makes the step of an entry of `prepare`.

Adding a kind is one file with a function for the step and one for the script, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from builder.errors import BuildError
from builder.guest.kinds import files, packages, scripts, services, users, windows_settings
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
    "windowsFeatures": windows_settings.features_step,
    "windowsUpdates": windows_settings.updates_step,
    "registry": windows_settings.registry_step,
}
WINDOWS_ONLY = frozenset({"windowsFeatures", "windowsUpdates", "registry"})


def prepare_step(choice: Choice, image: ImageSpec) -> Step:
    """The step of one entry of `prepare`, not chained yet. Reads the repository's files that it names.

    Raises BuildError for a kind that the image's family doesn't have and for files that can't be used.
    """
    if image.os.family != "windows" and choice.kind in WINDOWS_ONLY:
        raise BuildError(
            f"`{choice.kind}` can't be done in a Linux image",
            code="unsupported-step",
            where=image.place(*choice.path),
            hint=f"steps for Linux are {', '.join(name for name in STEP_BUILDERS if name not in WINDOWS_ONLY)}",
        )
    return STEP_BUILDERS[choice.kind](choice, image)


def paths_of_ours(image: ImageSpec) -> tuple[str, ...]:
    """The paths of all files that the spec puts into the image, sorted."""
    return paths_in(prepare_step(choice, image) for choice in image.prepare)


def paths_in(steps: Iterable[Step]) -> tuple[str, ...]:
    """The paths of all files that prepare steps put into the image, sorted."""
    return tuple(sorted({change.name for step in steps for change in step.changes if change.kind == "file"}))
