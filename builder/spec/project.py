"""The project: its root, build.yaml, and which files are specs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import Diagnostic, Place, SpecInvalid
from builder.model.canonical import Json
from builder.spec.document import Document
from builder.spec.messages import Problem
from builder.spec.schema import guess, load_schema
from builder.spec.templating import is_templated
from builder.spec.units import seconds_of
from builder.spec.values import AS_WRITTEN, QUOTE_IT
from builder.spec.yaml_text import LARGEST_TEXT, YamlInvalid, parse

PROJECT_FILE = "build.yaml"
DEFAULT_SPECS = ("images/*.yaml", "images/*.yml")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class ProjectConfig:
    """What images share. Paths are relative to `root`; `expire_checkpoints` in seconds.

    `defaults` and `environments` are as written: they are merged under each document before it is checked. `document`
    is build.yaml itself (None when there is none), for places.
    """

    root: Path
    specs: tuple[str, ...] = DEFAULT_SPECS
    store: str = ".build"
    defaults: Mapping[str, Json] = field(default_factory=dict)
    vars: Mapping[str, Json] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    records: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    expire_checkpoints: float = seconds_of("30d")
    document: Document | None = None


def find_root(start: Path) -> Path:
    """The project's root: the nearest folder above with build.yaml, else git's top level, else the start itself.

    Free of links. A link belongs to the project where it stands: a link from a pull request must not make another
    folder of the host the root, whose files could then be read.
    """
    absolute = start.absolute()
    folder = Path(absolute.anchor)
    for part in absolute.parts[1:]:
        inner = folder / part
        if not inner.is_dir():
            break
        around = _marked(folder) if inner.is_symlink() else None
        if around is not None:
            return around
        folder = real(inner)
    return _marked(folder) or folder


def is_project(root: Path) -> bool:
    """Whether something says that a project's root is here, rather than that no other was found."""
    return _marked(root) == root


def _marked(folder: Path) -> Path | None:
    """The nearest folder with build.yaml at or above this one, else with `.git`. What stands there isn't followed."""
    for marker in (PROJECT_FILE, ".git"):
        for candidate in (folder, *folder.parents):
            if os.path.lexists(candidate / marker):
                return candidate
    return None


def real(path: Path) -> Path:
    """The path with its links followed, as far as they lead; a link that leads to itself stays."""
    return Path(os.path.realpath(path))


def read_text(path: Path, name: str, root: Path) -> bytes:
    """The bytes of a spec, never more than a spec can have. Raises YamlInvalid when it can't or mustn't be read."""
    try:
        # A link may lead anywhere: what a pull request shows must be what is read
        if not real(path).is_relative_to(root):
            help = "copy the file into the repository"
            raise YamlInvalid(Diagnostic(Place(name), "path-outside", "leads out of the project", help))
        if path.is_symlink() and not path.exists():
            raise YamlInvalid(Diagnostic(Place(name), "unreadable", "is a link that leads to nothing"))
        # A pipe or a device would be waited for, perhaps for ever
        if path.exists() and not path.is_file():
            raise YamlInvalid(Diagnostic(Place(name), "unreadable", "is not a regular file"))
        with path.open("rb") as file:
            return file.read(4 * LARGEST_TEXT + 1)
    except OSError as error:
        message = f"can't be read: {error.strerror}"
        raise YamlInvalid(Diagnostic(Place(name), "unreadable", message)) from error


def load_project(root: Path, environment: str | None) -> tuple[ProjectConfig, dict[str, str]]:
    """The project at a root, and the sha256 of its build.yaml by name. Raises SpecInvalid."""
    path = root / PROJECT_FILE
    if not os.path.lexists(path):
        if environment:
            message = f"there is no environment {environment!r}: the project has no {PROJECT_FILE}"
            raise SpecInvalid([Diagnostic(Place(PROJECT_FILE), "unknown-environment", message)], root=root)
        return ProjectConfig(root), {}
    try:
        data = read_text(path, PROJECT_FILE, root)
        document = parse(data, PROJECT_FILE)
    except YamlInvalid as invalid:
        raise SpecInvalid([invalid.diagnostic], root=root) from invalid
    value = {} if document.value is None else document.value
    found = [*document.problems, *_check(document, value)]
    if not found and environment and environment not in value.get("environments", {}):
        found.append(_unknown_environment(document, environment, value.get("environments", {})))
    if found:
        raise SpecInvalid(found, root=root)
    return _config(root, document, value), {PROJECT_FILE: hashlib.sha256(data).hexdigest()}


def _config(root: Path, document: Document, value: Mapping[str, Json]) -> ProjectConfig:
    return ProjectConfig(
        root=root,
        specs=tuple(value.get("specs", DEFAULT_SPECS)),
        store=value.get("store", ".build"),
        defaults=value.get("defaults", {}),
        vars=value.get("vars", {}),
        environments=value.get("environments", {}),
        records=value.get("records", {}),
        expire_checkpoints=seconds_of(value.get("checkpoints", {}).get("expire", "30d")),
        document=document,
    )


def _check(document: Document, value: Json) -> list[Diagnostic]:
    problems = load_schema("project").check(value)
    found = [diagnostic(document, item) for item in problems if not templated_at(value, item)]
    if not isinstance(value, dict):
        return found
    outside = [
        Diagnostic(document.place(path), "path-outside", f"'{name}' must be a path below the project's root")
        for path, name in _paths(value)
        if name.startswith("/") or ".." in Path(name).parts
    ]
    return [*found, *outside]


def _paths(value: Mapping[str, Json]) -> Iterable[tuple[tuple[str | int, ...], str]]:
    specs = value.get("specs")
    for index, name in enumerate(specs if isinstance(specs, list) else []):
        if isinstance(name, str):
            yield ("specs", index), name
    if isinstance(value.get("store"), str):
        yield ("store",), value["store"]


def templated_at(value: Json, problem: Problem) -> bool:
    """Whether the problem is about a value that is a template: what it is gets known with each document."""
    for key in problem.path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(value, str) and is_templated(value)


def diagnostic(document: Document, problem: Problem) -> Diagnostic:
    """A problem of the schema with its place."""
    place = document.key_place(problem.path) if problem.at_key else document.place(problem.path)
    help = quoted_help(problem, document.written.get(problem.path))
    return Diagnostic(place, problem.code, problem.message, help)


def quoted_help(problem: Problem, written: str | None) -> str | None:
    """The problem's help; where it depends on a number as the author wrote it (`1.10`), the help made from that."""
    fix = AS_WRITTEN.get(problem.help or "")
    if fix is None:
        return problem.help
    return fix(written) if written else QUOTE_IT


def _unknown_environment(document: Document, name: str, known: Mapping[str, Json]) -> Diagnostic:
    meant = guess(name, known)
    help = f"did you mean '{meant}'?" if meant else f"environments are: {', '.join(known) or 'none'}"
    place = document.key_place(("environments",))
    return Diagnostic(place, "unknown-environment", f"there is no environment {name!r}", help)


def spec_files(project: ProjectConfig, paths: Sequence[Path]) -> tuple[list[Path], list[Diagnostic]]:
    """The spec files that paths select, in a stable order, and what is wrong with the paths.

    A file is itself. A folder is the project's specs in it; when there is none, the YAML files directly in it. Without
    paths, all of the project's specs.
    """
    project_specs = _glob(project)
    if not paths:
        return project_specs, []
    files: dict[Path, None] = {}
    found: list[Diagnostic] = []
    for path in paths:
        # The folder's links are followed, not the file's: its name is what the author knows
        chosen = real(path) if path.is_dir() else real(path.absolute().parent) / path.name
        if not chosen.is_relative_to(project.root):
            place = Place(os.path.relpath(path, project.root))
            found.append(Diagnostic(place, "path-outside", f"is outside the project at {project.root}"))
        elif chosen.is_dir():
            inside = [spec for spec in project_specs if spec.is_relative_to(chosen)]
            files |= dict.fromkeys(inside or [item for item in sorted(chosen.iterdir()) if _is_spec(item)])
        else:
            files[chosen] = None
    return list(files), found


def _is_spec(path: Path) -> bool:
    """Whether a path has the name of a spec. What can't be read (a link to nothing, a pipe) is told when it is read."""
    # `.#web.yaml` is a link to nothing by which Emacs marks a file that it edits
    named = path.suffix in SUFFIXES and path.name != PROJECT_FILE and not path.name.startswith(".#")
    return named and not path.is_dir()


def _glob(project: ProjectConfig) -> list[Path]:
    found: dict[Path, None] = {}
    for pattern in project.specs:
        exact = project.root / pattern
        # A glob leaves out a link to nothing that is named in full
        matches = sorted(project.root.glob(pattern)) or ([exact] if exact.is_symlink() else [])
        for path in matches:
            if _is_spec(path):
                found[path] = None
    return list(found)
