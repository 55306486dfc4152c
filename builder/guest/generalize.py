"""The generalize step: chosen operations as one script, run in the guest; and what the verifier checks afterwards.

What the spec itself puts into the image stays: its files and the keys of its users are kept, its users are not removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import BuildError, Place
from builder.guest.actions import Delete
from builder.guest.generalize_script import render_script
from builder.guest.keep import glob_of, matchers
from builder.guest.kinds import paths_in, paths_of_ours
from builder.guest.kinds.users import KEYS
from builder.guest.operation import Operation
from builder.guest.operations import all_operations, applicable, selected
from builder.guest.sysprep import sysprep_step
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestScript, StepContext
from builder.model.spec import ImageSpec
from builder.model.steps import Change, Preview, Stage, Step

if TYPE_CHECKING:
    from builder.disk.tree import GuestTree
    from builder.guest.verifier import Finding

# Raise it when the table or the templates make the script do something else
VERSION = 3


@dataclass(frozen=True)
class Selection:
    """What generalize does to one image: operations in order, globs of paths and names of users that it leaves."""

    operations: tuple[Operation, ...]
    keep: tuple[str, ...]
    users: tuple[str, ...]


def selection(image: ImageSpec, paths: Sequence[str] | None = None) -> Selection:
    """What the spec chose. Raises BuildError with the place of a wrong name.

    `paths` are those of the files that the spec puts into the image, where the caller knows them already.
    """
    chosen = image.generalize
    if chosen is None:
        return Selection((), (), ())
    try:
        operations = selected(chosen.keep, chosen.skip, chosen.add)
    except BuildError as error:
        error.where = error.where or place_of(image)
        raise
    ours = [glob_of(path) for path in (paths_of_ours(image) if paths is None else paths)]
    users = [user for choice in image.prepare if choice.kind == "users" for user in choice.values["users"]]
    # An account that exists has its home where it has it, whatever the spec expects
    keys = [f"~{user['name']}/{KEYS}" for user in users if user.get("sshKeys")]
    names = {user["name"] for user in users}
    return Selection(operations, tuple(sorted({*chosen.keep, *ours, *keys})), tuple(sorted(names)))


def deletes(image: ImageSpec, ending: str) -> bool:
    """Whether an image's operations delete a file of which only the end of the path is known, and nothing keeps it."""
    chosen = selection(image)
    every = (action for item in chosen.operations for action in item.actions if isinstance(action, Delete))
    paths = [path for action in every for path in action.paths if path.endswith(ending)]
    kept = matchers(chosen.keep)
    return bool(paths) and not any(pattern.match(path) for pattern in kept for path in paths)


def place_of(image: ImageSpec, *path: str) -> Place:
    """Where the spec says how to generalize, or a part of it; its name, where that is left to the default."""
    return image.place("generalize", *path) if ("generalize",) in image.places.by_path else image.place("name")


def generalize_step(image: ImageSpec, prepare: Sequence[Step] | None = None) -> Step:
    """The step that takes the machine's identity out. Only for an image whose `generalize` is not false.

    Sysprep does it for Windows. `prepare` are the image's prepare steps, where the caller has made them already.
    """
    if image.os.family == "windows":
        return sysprep_step(image)
    chosen = selection(image, None if prepare is None else paths_in(prepare))
    defaults = {item.id for item in all_operations() if item.default}
    names = {item.id for item in chosen.operations}
    differences = [f"without {name}" for name in sorted(defaults - names)] + [
        f"with {name}" for name in sorted(names - defaults)
    ]
    return Step(
        stage=Stage.GENERALIZE,
        kind="generalize",
        title="generalize" + (f" ({', '.join(differences)})" if differences else ""),
        inputs={
            "operations": [item.id for item in chosen.operations],
            "keep": list(chosen.keep),
            "users": list(chosen.users),
        },
        preview=Preview.PREDICTED,
        changes=(Change("clear", "identity", "of this machine", f"{len(chosen.operations)} operations"),),
        place=place_of(image),
        places={
            "operations": place_of(image),
            "keep": place_of(image, "keep"),
            "users": image.place("prepare"),
        },
        checkpoint=True,
    )


def steps(image: ImageSpec) -> list[Step]:
    """The steps of the stage: one, or none for a specialized image."""
    return [] if image.generalize is None else [generalize_step(image)]


def script(inputs: dict[str, Any], os_release: dict[str, str]) -> GuestScript:
    """The script for a step's inputs and a distribution."""
    operations = applicable(_by_names(inputs["operations"]), os_release)
    # -e would stop at the first failure; the script reports them all and fails at its end
    return GuestScript(render_script(operations, inputs["keep"], inputs["users"]), interpreter=("/bin/sh", "-u"))


def verify_image(tree: GuestTree, image: ImageSpec) -> list[Finding]:
    """What survived on a generalized disk, by the image's own selection. Nothing for a specialized image."""
    from builder.guest.inventory import os_release_of
    from builder.guest.verifier import verify

    if image.generalize is None:
        return []
    chosen = selection(image)
    operations = applicable(chosen.operations, os_release_of(tree))
    return verify(tree, operations, chosen.keep, chosen.users)


def _by_names(names: Sequence[str]) -> list[Operation]:
    wanted = set(names)
    return [item for item in all_operations() if item.id in wanted]


def _run(step: Step, context: StepContext) -> None:
    guest = context.session.guest
    guest.execute(script(dict(step.inputs), dict(guest.facts.os_release)), context.log)


KINDS.register(Kind("generalize", VERSION, _run))
