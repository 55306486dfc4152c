"""Drafts: a document with one combination of its matrix, on the way from YAML to an ImageSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import Diagnostic, Place, SpecInvalid
from builder.model.canonical import Json
from builder.model.spec import ImageDocument, ImageSpec, KeyPath, Places
from builder.spec.files import FileInvalid, repository_path
from builder.spec.fill import fill
from builder.spec.image import image_spec
from builder.spec.messages import Problem
from builder.spec.places import LayeredPlaces, Renames
from builder.spec.project import quoted_help, templated_at
from builder.spec.repair import is_empty_map, repaired
from builder.spec.rules import check_image
from builder.spec.schema import load_schema
from builder.spec.scope import Scope
from builder.spec.template_errors import TemplateInvalid
from builder.spec.templating import LONGEST_TEMPLATE, Budget, render
from builder.spec.variables import Rendering

# What `{{ image.version }}` is while nothing is published: any spec must be valid with it
NEUTRAL_VERSION = "0.0.0"
# Parts that make up the names which templates use: they are rendered before the rest, or not at all
NAMES_FROM = ("vars", "matrix")


@dataclass
class Draft:
    """One image to be. `value` is the merged document; `names` are those that its templates may use (no `image` yet).

    `templated` are the keys that hold templates: without any, the spec is the same for every version.
    `names_known` is False when what its templates use is invalid itself. `checked` is set by `check`.
    """

    file: str
    root: Path
    value: Mapping[str, Json]
    places: LayeredPlaces
    names: Mapping[str, Json]
    budget: Budget
    templated: frozenset[str]
    names_known: bool = True
    checked: ImageSpec | None = None

    def check(self) -> list[Diagnostic]:
        """Everything that is wrong: schema, templates and rules. Sets `checked` to what could be made of it."""
        schema = load_schema("image")
        if not self.names_known:
            problems = [problem for problem in schema.check(self.value) if not templated_at(self.value, problem)]
            return [self._diagnostic(problem) for problem in problems]
        value, found = self._rendered(NEUTRAL_VERSION)
        problems = schema.check(value)
        # Where a template failed, its text is still there: what the schema says of that is of no use
        failed = {path for path, _ in found}
        problems = [problem for problem in problems if problem.path not in failed]
        diagnostics = [diagnostic for _, diagnostic in found] + [self._diagnostic(problem) for problem in problems]
        renames: Renames = {}
        removed = set(failed)
        wholes = repaired(value, problems, removed, renames) if diagnostics else [value]
        built = [self._build(whole, NEUTRAL_VERSION, renames) for whole in wholes]
        if built:
            # What misses something only because it was left out as invalid is not worth a word
            beside = {self._place(part) for path in removed for part in _around(path)}
            each = [[*more, *check_image(spec)] for spec, more in built]
            # A step that holds nothing is told so once
            beside |= {self._place(problem.path) for problem in problems if is_empty_map(value, problem)}
            diagnostics += [item for item in each[0] if item.place not in beside and all(item in one for one in each)]
        if len(built) == 1 and ("name",) not in removed:
            self.checked = built[0][0]
        return diagnostics

    def name_guess(self) -> str | None:
        """The image's name, as far as it can be told before the draft is checked."""
        return self._text(self.value.get("name"))

    def base_guess(self) -> str | None:
        """The name of the image that it stands on, as far as it can be told before the draft is checked."""
        source = self.value.get("source")
        base = source.get("image") if isinstance(source, dict) else None
        return self._text(base.get("name") if isinstance(base, dict) else base)

    def _text(self, value: Json) -> str | None:
        if not isinstance(value, str) or not self.names_known:
            return None
        rendering = Rendering(self.names, self.budget)
        text = rendering.of(value)
        return None if rendering.failed else str(text)

    def document(self) -> ImageDocument:
        """The valid image, to be rendered with the version that it gets."""
        assert self.checked is not None
        name = self.checked.name
        return ImageDocument(name, self.places.key(("name",)), self.render)

    def render(self, version: str) -> ImageSpec:
        """The spec for a version. Raises SpecInvalid when it is invalid with this one."""
        if self.checked and (not self.templated or version == NEUTRAL_VERSION):
            return self.checked
        self.budget.left = Budget().left
        value, found = self._rendered(version)
        diagnostics = [diagnostic for _, diagnostic in found]
        diagnostics += [self._diagnostic(problem) for problem in load_schema("image").check(value)]
        if diagnostics:
            raise SpecInvalid(diagnostics, root=self.root)
        spec, more = self._build(value, version, {})
        diagnostics = [*more, *check_image(spec)]
        if any(item.severity == "error" for item in diagnostics):
            raise SpecInvalid(diagnostics, root=self.root)
        return spec

    def _rendered(self, version: str) -> tuple[Mapping[str, Json], list[tuple[KeyPath, Diagnostic]]]:
        """The document with its templates rendered, and what went wrong, by path."""
        if not self.templated:
            return self.value, []
        schema = load_schema("image").schema["properties"]
        found: list[tuple[KeyPath, Diagnostic]] = []

        def part(keys: list[str], image: Mapping[str, Json] | None) -> dict[str, Json]:
            names = dict(self.names) if image is None else {**self.names, "image": _image_scope(image)}
            rendering = Rendering(names, self.budget)
            here = [key for key in keys if key in self.templated]
            made = {key: rendering.of(self.value[key], (key,), schema.get(key)) for key in here}
            for path, error in rendering.failed:
                place = self.places.inside(path, error.at)
                found.append((path, Diagnostic(place, error.code, error.message, error.help)))
            return {key: made.get(key, self.value[key]) for key in keys}

        keys = [key for key in self.value if key not in NAMES_FROM]
        made = part([key for key in keys if key == "name"], None)
        about = {"name": made.get("name"), **part([key for key in keys if key == "os"], made)}
        # The version comes from `publish.version`: a version that names itself would go in a circle
        versioned = {**about, "version": version}
        made |= part([key for key in keys if key not in made and key != "os"], versioned)
        if "os" in about:
            made["os"] = about["os"]
        apart = {key: self.value[key] for key in NAMES_FROM if key in self.value}
        return {**{key: made[key] for key in keys}, **apart}, found

    def _build(self, value: Mapping[str, Json], version: str, renames: Renames) -> tuple[ImageSpec, list[Diagnostic]]:
        whole = fill(value, load_schema("image").schema, (), renames)
        found = self._templates(whole, version)
        places = LayeredPlaces(self.places.layers, renames)
        return image_spec(whole, self.root, self.file, Places(places)), found

    def _templates(self, value: Mapping[str, Json], version: str) -> list[Diagnostic]:
        """Give every `template` step its content. A file that isn't there is for the rules to tell."""
        found = []
        image = {"name": value["name"], "version": version, "os": value["os"]}
        names = {**self.names, "image": _image_scope(image)}
        folder = (self.root / self.file).parent
        for step in value.get("prepare", ()):
            values = step.get("template") if step else None
            if values is None:
                continue
            values["content"] = ""
            try:
                path = repository_path(folder, values["source"], self.root)
            except FileInvalid:
                continue
            name = path.relative_to(self.root).as_posix()
            try:
                values["content"] = render(_template_text(path), names, self.budget)
            except TemplateInvalid as failed:
                for error in failed.each():
                    found.append(Diagnostic(Place(name, *(error.at or (1, 1))), error.code, error.message, error.help))
        return found

    def _diagnostic(self, problem: Problem) -> Diagnostic:
        place = self.places.key(problem.path) if problem.at_key else self._place(problem.path)
        help = quoted_help(problem, self.places.as_written(problem.path))
        return Diagnostic(place, problem.code, problem.message, help)

    def _place(self, path: KeyPath) -> Place:
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path] if path in self.places else self.places.key(())


def _image_scope(image: Mapping[str, Json]) -> Scope:
    system = image.get("os")
    return Scope("image", {**image, "os": Scope("image.os", system)} if isinstance(system, dict) else image)


def _around(path: KeyPath) -> tuple[KeyPath, ...]:
    """What may be found wanting because a value is left out: its map, or its list and the map that has it."""
    return (path, path[:-1], path[:-2]) if len(path) > 2 and isinstance(path[-1], int) else (path, path[:-1])


def _template_text(path: Path) -> str:
    """The text of a template file. Raises TemplateInvalid."""
    try:
        with path.open("rb") as file:
            data = file.read(4 * LONGEST_TEMPLATE + 1)
        return data.decode("utf-8")
    except OSError as error:
        raise TemplateInvalid("unreadable", f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TemplateInvalid("template-encoding", "a template must be UTF-8 text") from error
