"""What all prepare kinds share: reading the repository's files into a step, and running its script in the guest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from builder.errors import BuildError, Place, PlanStale
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestFacts, GuestScript, StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, FileInput, Preview, Stage, Step

# Longer texts would make manifests and saved plans large, and nobody reads their differences
LONGEST_TEXT = 16 * 1024
MOST_NAMES_IN_TITLE = 3

Staged = Mapping[str, Path]
ScriptOf = Callable[[Mapping[str, Any], GuestFacts, Staged], GuestScript]


def register(name: str, version: int, scripts: Mapping[str, ScriptOf]) -> Kind:
    """Register a kind whose steps are one script, made by a pure function of inputs, facts, and the step's files.

    `scripts` has a function for each family of operating systems that the kind can work on.
    """

    def run(step: Step, context: StepContext) -> None:
        files = read_again(step, context.run.image.root)
        secrets = context.secrets(step.inputs.get("secrets", {}))
        guest = context.session.guest
        family = guest.facts.family
        if family not in scripts:
            raise BuildError(f"`{name}` can't be done in {family}", code="unsupported-step", where=step.place)
        made = scripts[family](step.inputs, guest.facts, files)
        guest.execute(replace(made, secrets=secrets, timeout=step.timeout), context.log)

    return KINDS.register(Kind(name, version, run))


def make_step(
    choice: Choice,
    image: ImageSpec,
    *,
    title: str,
    inputs: Mapping[str, Any],
    preview: Preview,
    changes: Sequence[Change] = (),
    files: Sequence[FileInput] = (),
) -> Step:
    """The step of one entry of `prepare`. What was not given (None) is left out of the inputs."""
    given = {key: value for key, value in inputs.items() if value is not None}
    return Step(
        stage=Stage.PREPARE,
        kind=choice.kind,
        title=title,
        inputs=given,
        preview=preview,
        changes=tuple(changes),
        files=tuple(files),
        place=image.place(*_path(choice)),
        places=_places(choice, image, given),
        timeout=choice.values.get("timeout"),
        checkpoint=True,
    )


def _path(choice: Choice) -> tuple[str | int, ...]:
    return choice.path if choice.path and choice.path[-1] == choice.kind else (*choice.path, choice.kind)


def place_of(choice: Choice, image: ImageSpec, *keys: str | int) -> Place:
    """Where a value of the entry stands. The short forms (`files: [...]`) leave the first key out."""
    base = _path(choice)
    for path in ((*base, *keys), (*base, *keys[1:])):
        if path in image.places.by_path:
            return image.place(*path)
    return image.place(*base, *keys)


def _places(choice: Choice, image: ImageSpec, inputs: Mapping[str, Any]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for key, value in inputs.items():
        found[key] = place_of(choice, image, key)
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    found[f"{key}.{index}"] = place_of(choice, image, key, index)
                    found |= {f"{key}.{index}.{name}": place_of(choice, image, key, index, name) for name in item}
    return found


def listed(names: Sequence[str], most: int = MOST_NAMES_IN_TITLE) -> str:
    """Names for a title: the first few and how many more."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def repository_path(image: ImageSpec, name: str, where: Place) -> str:
    """A file that a step names, as a path below the project's root. Raises BuildError for one outside of it."""
    path = Path(os.path.normpath(image.local_path(name)))
    if not path.is_relative_to(image.root) or not path.resolve().is_relative_to(image.root.resolve()):
        raise BuildError(f"{name} is outside of the project", code="path-outside", where=where,
                         hint="copy it into the project: what an image is made of belongs to its history")  # fmt: skip
    return path.relative_to(image.root).as_posix()


def file_input(image: ImageSpec, name: str, where: Place) -> FileInput:
    """A file of the repository with its digest. Raises BuildError when it can't be read."""
    path = repository_path(image, name, where)
    return read_file(image.root, path, where)


def read_file(root: Path, path: str, where: Place | None) -> FileInput:
    """As `file_input`, by the path below the root."""
    try:
        status = (root / path).stat()
        sha256, text = _read(root / path, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise BuildError(f"{path} can't be read: {error.strerror}", code="file-missing", where=where) from error
    return FileInput(path=path, sha256=sha256, size=status.st_size, text=text)


@lru_cache(maxsize=4096)
def _read(path: Path, size: int, modified: int, inode: int) -> tuple[str, str | None]:
    """Digest and, of a small text file, content. Size, time and inode only tell versions of a file apart."""
    with path.open("rb") as file:
        if size > LONGEST_TEXT:
            return hashlib.file_digest(file, "sha256").hexdigest(), None
        data = file.read()
    try:
        text = None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        text = None
    return hashlib.sha256(data).hexdigest(), text


def staged_files(entries: Sequence[Mapping[str, Any]], files: Staged) -> tuple[dict[str, bytes | Path], list[str]]:
    """What to stage for the entries of a step, by name, and the name that each entry has below `$BUILD_FILES`.

    Content comes in as staged files: it may be of any size, and binary. A folder is staged once, whatever it holds:
    thousands of files must not become thousands of mounts.
    """
    staged: dict[str, bytes | Path] = {}
    folders: dict[str, str] = {}
    names = []
    for index, entry in enumerate(entries):
        name = f"file-{index}"
        if "folder" in entry:
            rest = PurePosixPath(entry["source"]).relative_to(entry["folder"])
            name = folders.setdefault(entry["folder"], f"folder-{len(folders)}")
            staged[name] = files[entry["source"]].parents[len(rest.parts) - 1]
            name = f"{name}/{rest}"
        else:
            staged[name] = files[entry["source"]] if "source" in entry else entry["content"].encode()
        names.append(name)
    return staged, names


def read_again(step: Step, root: Path) -> dict[str, Path]:
    """The step's files on this host, by their path below the root. Raises PlanStale for one that was changed."""
    found = {}
    for file in step.files:
        if read_file(root, file.path, step.place).sha256 != file.sha256:
            raise PlanStale(f"{file.path} was changed after the plan was made", code="plan-stale", where=step.place,
                            hint="plan again")  # fmt: skip
        found[file.path] = root / file.path
    return found
