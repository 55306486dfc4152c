"""Reads a project's specs: YAML text to images, rendered, checked and complete. Runs nothing, writes nothing."""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import BuildError, Diagnostic, Place, SpecInvalid
from builder.model.canonical import Json
from builder.model.spec import ImageDocument
from builder.spec.drafts import NAMES_FROM, Draft
from builder.spec.fill import merged
from builder.spec.places import Layer, LayeredPlaces
from builder.spec.project import (
    ProjectConfig,
    find_root,
    is_project,
    load_project,
    read_text,
    real,
    spec_files,
)
from builder.spec.rules import check_images
from builder.spec.schema import load_schema
from builder.spec.scope import Scope
from builder.spec.templating import Budget
from builder.spec.variables import combinations, has_templates, scope_of, variables_of
from builder.spec.yaml_text import YamlInvalid, parse

# Whoever runs build in a folder of its own, or forgot build.yaml, sees why variables are missing
NO_PROJECT = "no build.yaml was found here or above: `vars` in it hold for all specs; `--var NAME=VALUE` sets one"


@dataclass(frozen=True)
class Loaded:
    """Valid specs. `inputs` is the sha256 of every file that made them, by its path below `root`."""

    root: Path
    project: ProjectConfig
    documents: tuple[ImageDocument, ...]
    inputs: Mapping[str, str]
    warnings: tuple[Diagnostic, ...] = ()


@dataclass
class _Reading:
    """What is being read: the settings that hold for all specs, and what was found so far."""

    project: ProjectConfig
    environment: str | None
    variables: Mapping[str, str]
    inputs: dict[str, str]
    drafts: dict[str, list[Draft]] = field(default_factory=dict)
    found: dict[Diagnostic, None] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)
    # Names of images in files that were looked into for what others stand on, and not read
    others: set[str] = field(default_factory=set)


def load(
    paths: Sequence[Path], *, environment: str | None = None, variables: Mapping[str, str] | None = None
) -> Loaded:
    """The images of spec files, of folders of them, or (without paths) of the whole project.

    Images that those stand on are loaded too. `environment` is one of build.yaml's; `variables` win over all others.
    Raises SpecInvalid with everything that is wrong with all of them, and BuildError when there is nothing to load.
    """
    loaded, wrong = load_valid(paths, environment=environment, variables=variables)
    if wrong:
        raise SpecInvalid([*wrong, *loaded.warnings], root=loaded.root)
    return loaded


def load_valid(
    paths: Sequence[Path], *, environment: str | None = None, variables: Mapping[str, str] | None = None
) -> tuple[Loaded, list[Diagnostic]]:
    """As `load`: the images of those specs that are valid, and the errors of the others.

    Raises SpecInvalid when build.yaml is invalid: then nothing is known of any image.
    """
    with _without_collection():
        return _load(paths, environment, dict(variables or {}))


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection: reading makes many small objects, none of them garbage, and it would look at all again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(paths: Sequence[Path], environment: str | None, given: Mapping[str, str]) -> tuple[Loaded, list[Diagnostic]]:
    root = find_root(paths[0] if paths else Path())
    project, inputs = load_project(root, environment)
    reading = _Reading(project, environment, given, inputs, unused=set(given))
    reading.unused -= _declared(project, environment)
    files, misplaced = spec_files(project, paths)
    if not files and not misplaced:
        raise _no_specs(project, paths)
    reading.found |= dict.fromkeys(misplaced)
    for file in files:
        _read(reading, file)
    _read_bases(reading)
    drafts = [draft for made in reading.drafts.values() for draft in made]
    wrong_files: set[str] = set()
    for draft in drafts:
        found = draft.check()
        reading.found |= dict.fromkeys(found)
        if _errors(found):
            wrong_files.add(draft.file)
    specs = [draft.checked for draft in drafts if draft.checked]
    complete = len(specs) == len(drafts)
    reading.found |= dict.fromkeys(check_images(specs, complete=complete, store=project.store, others=reading.others))
    errors = _errors(reading.found)
    wrong_files |= {item.place.file for item in errors}
    if not errors:
        _refuse_unused(reading)
    documents = tuple(draft.document() for draft in drafts if draft.checked and draft.file not in wrong_files)
    warnings = tuple(sorted(item for item in reading.found if item.severity != "error"))
    return Loaded(root, project, documents, reading.inputs, warnings), errors


def _no_specs(project: ProjectConfig, paths: Sequence[Path]) -> BuildError:
    """What was looked for, and what would be found: `build init` refuses where build.yaml stands."""
    globs = ", ".join(project.specs)
    inner = [path for path in paths if real(path) != project.root]
    if inner:
        message = f"there are no specs in {', '.join(map(str, inner))}"
        hint = f"a folder's specs are those of {globs} below {project.root} that it holds, or its own .yaml files"
        return BuildError(message, code="no-specs", hint=hint)
    if project.document is None:
        because = "git's top level is the root" if is_project(project.root) else "the folder itself is the root"
        message = f"there are no specs in {project.root}: without a build.yaml here or above, {because}"
        hint = f"specs are looked for in {globs}; `build init` writes a first one, and build.yaml"
        return BuildError(message, code="no-specs", hint=hint)
    message = f"there are no specs in {project.root}: no file matches {globs}"
    if ("specs",) in project.document.keys:
        hint, where = "change `specs` in build.yaml, or put a spec there", project.document.key_place(("specs",))
        return BuildError(message, code="no-specs", where=where, hint=hint)
    return BuildError(message, code="no-specs", hint="put a spec there, or say in build.yaml where they are: `specs`")


def _errors(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    return [item for item in found if item.severity == "error"]


def _declared(project: ProjectConfig, environment: str | None) -> set[str]:
    own = project.environments[environment].get("vars", {}) if environment else {}
    return {*project.vars, *own}


def _refuse_unused(reading: _Reading) -> None:
    """A variable that nothing uses is most likely misspelt."""
    if reading.unused:
        name = min(reading.unused)
        hint = "variables are declared by `vars` in specs and in build.yaml"
        raise BuildError(f"no spec uses a variable {name!r}", code="unknown-variable", hint=hint)


def _read(reading: _Reading, file: Path) -> None:
    """Read a spec file into drafts, once."""
    root = reading.project.root
    name = file.relative_to(root).as_posix()
    if name in reading.drafts:
        return
    reading.drafts[name] = []
    try:
        data = read_text(file, name, root)
        document = parse(data, name)
    except YamlInvalid as invalid:
        reading.found[invalid.diagnostic] = None
        return
    reading.inputs[name] = hashlib.sha256(data).hexdigest()
    reading.unused -= {variable for variable in reading.unused if re.search(rb"\b%s\b" % variable.encode(), data)}
    reading.found |= dict.fromkeys(document.problems)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "must be a map of keys and values"
        help = "`build init` writes a spec to start from"
        reading.found[Diagnostic(Place(name), "type", f"the spec {what}", help)] = None
        return
    reading.drafts[name] = _drafts(reading, Layer(document), name)


def _drafts(reading: _Reading, own: Layer, name: str) -> list[Draft]:
    """One draft for each combination of a document's matrix; one for a document without."""
    project, document = reading.project, own.document
    layers, base = _defaults(project, reading.environment)
    value = merged(base, document.value, load_schema("image").schema) if base else document.value
    places = LayeredPlaces((own, *layers))
    budget = Budget()
    templated = frozenset(key for key, item in value.items() if key not in NAMES_FROM and has_templates(item))
    broken = any(_broken(value, part) for part in NAMES_FROM)
    if broken:
        # Its names can't be known: what can be checked without them is
        return [Draft(name, project.root, value, places, {}, budget, templated=templated, names_known=False)]
    made, problems = combinations(document, value["matrix"]) if "matrix" in value else ([{}], [])
    reading.found |= dict.fromkeys(problems)
    variables = variables_of(project, document, reading.environment, reading.variables)
    drafts = []
    for combination in made:
        names: dict[str, Json] = {
            "environment": reading.environment or "",
            "matrix": Scope("matrix", combination),
        }
        scope, problems = scope_of(variables, names, budget, help="" if project.document else NO_PROJECT)
        reading.found |= dict.fromkeys(problems)
        names["vars"] = scope
        drafts.append(
            Draft(name, project.root, value, places, names, budget, templated=templated, names_known=not problems)
        )
    return drafts


def _broken(value: Mapping[str, Json], part: str) -> bool:
    return part in value and bool(load_schema("image").part(part).check(value[part]))


def _defaults(project: ProjectConfig, environment: str | None) -> tuple[list[Layer], Mapping[str, Json]]:
    """The layers under every document, nearest first, and what they hold together."""
    if project.document is None:
        return [], {}
    layers = [Layer(project.document, ("defaults",))]
    base = project.defaults
    if environment and "defaults" in project.environments[environment]:
        layers.insert(0, Layer(project.document, ("environments", environment, "defaults")))
        base = merged(base, project.environments[environment]["defaults"], load_schema("image").schema)
    return layers, base


def _read_bases(reading: _Reading) -> None:
    """Read what images stand on, when it was not among the given paths."""
    others: list[Path] | None = None
    while True:
        drafts = [draft for made in reading.drafts.values() for draft in made]
        names = {draft.name_guess() for draft in drafts}
        missing = {draft.base_guess() for draft in drafts} - names - {None}
        if not missing:
            return
        if others is None:
            others = spec_files(reading.project, [])[0]
        unread = [file for file in others if file.relative_to(reading.project.root).as_posix() not in reading.drafts]
        if not _read_named(reading, unread, missing):
            return


def _read_named(reading: _Reading, files: Iterable[Path], names: set[str | None]) -> bool:
    """Read the files that hold images of these names, and no others."""
    found = False
    for file in files:
        made = drafts_of(reading.project, file, environment=reading.environment, variables=reading.variables)
        guessed = {draft.name_guess() for draft in made}
        if guessed & names:
            _read(reading, file)
            found = True
        else:
            reading.others |= {name for name in guessed if name}
    return found


def drafts_of(
    project: ProjectConfig, file: Path, *, environment: str | None = None, variables: Mapping[str, str] | None = None
) -> list[Draft]:
    """The drafts of one file, not checked yet; none when it can't be read."""
    reading = _Reading(project, environment, variables or {}, {})
    _read(reading, file)
    return [draft for made in reading.drafts.values() for draft in made]
