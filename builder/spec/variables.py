"""The names that templates may use: variables from all their origins, and the combinations of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from builder.errors import Diagnostic
from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.document import Document
from builder.spec.project import ProjectConfig
from builder.spec.schema import Schema
from builder.spec.scope import Scope
from builder.spec.template_errors import TemplateInvalid
from builder.spec.templating import Budget, collection, is_templated, render
from builder.spec.yaml_text import plain

MOST_COMBINATIONS = 256


@dataclass(frozen=True)
class Variable:
    """A variable before it is rendered, and where it was set (no place: on the command line)."""

    name: str
    value: Json
    document: Document | None = None
    path: KeyPath = ()


def variables_of(
    project: ProjectConfig, document: Document, environment: str | None, given: Mapping[str, str]
) -> list[Variable]:
    """The variables that hold for a document, each once.

    Later origins win: build.yaml, the document, the environment, the command line. So a document declares what it needs
    with values that suit most cases, and an environment or a person sets them for theirs.
    """
    found: dict[str, Variable] = {}

    def add(values: Mapping[str, Json], origin: Document | None, prefix: KeyPath) -> None:
        for name, value in values.items():
            # At its new position: it may use the variables that stand before it there
            found.pop(name, None)
            found[name] = Variable(name, value, origin, (*prefix, name))

    add(project.vars, project.document, ("vars",))
    own = document.value.get("vars", {}) if isinstance(document.value, dict) else {}
    add(own, document, ("vars",))
    if environment:
        values = project.environments[environment].get("vars", {})
        add(values, project.document, ("environments", environment, "vars"))
    add({name: _given(text) for name, text in given.items()}, None, ())
    return list(found.values())


def _given(text: str) -> Json:
    """A value of the command line: true and false are booleans, whole numbers are numbers, all else is text."""
    value = plain(text)
    return text if value is None or isinstance(value, float) else value


def scope_of(
    variables: list[Variable], names: Mapping[str, Json], budget: Budget, *, help: str = ""
) -> tuple[Scope, list[Diagnostic]]:
    """The rendered variables. Each may use those before it. `help` is for one that isn't there."""
    scope = Scope("vars", {}, help, later=(variable.name for variable in variables))
    found: list[Diagnostic] = []
    for variable in variables:
        # What comes from the command line is text, never a template
        if variable.document is None:
            scope[variable.name] = variable.value
            continue
        rendering = Rendering({**names, "vars": scope}, budget)
        scope[variable.name] = rendering.of(variable.value, variable.path)
        for path, error in rendering.failed:
            place = variable.document.place_inside(path, error.at)
            found.append(Diagnostic(place, error.code, error.message, error.help))
    scope.later.clear()
    return scope, found


@dataclass
class Rendering:
    """Renders the templates in a value. `failed` gets what went wrong, by path; there, the template stays."""

    names: Mapping[str, Json]
    budget: Budget
    failed: list[tuple[KeyPath, TemplateInvalid]] = field(default_factory=list)

    def of(self, value: Json, path: KeyPath = (), schema: Schema | None = None) -> Json:
        """The rendered value; the very same object where there are no templates.

        What a template makes is text; where the schema wants something else, it is read as YAML reads it. A list or map
        stays one where that may stand (without a schema: in variables), if the template is nothing but its expression.
        """
        if isinstance(value, str) and is_templated(value):
            return self._text(value, path, schema)
        if isinstance(value, dict):
            known, other = (schema or {}).get("properties", {}), (schema or {}).get("additionalProperties")
            made = {key: self.of(item, (*path, key), _schema(known.get(key, other))) for key, item in value.items()}
            return made if any(made[key] is not item for key, item in value.items()) else value
        if isinstance(value, list):
            inner = _schema((schema or {}).get("items"))
            items = [self.of(item, (*path, index), inner) for index, item in enumerate(value)]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def _text(self, source: str, path: KeyPath, schema: Schema | None) -> Json:
        try:
            found = collection(source, self.names, self.budget) if _may_hold_others(schema) else None
            return _read_as(render(source, self.names, self.budget), schema) if found is None else found
        except TemplateInvalid as error:
            self.failed += [(path, each) for each in error.each()]
            return source


def _schema(found: Json) -> Schema | None:
    return found if isinstance(found, Mapping) else None


def _may_hold_others(schema: Schema | None) -> bool:
    return schema is None or bool({"array", "object"} & set(_types(schema)))


def _types(schema: Schema | None) -> list[str]:
    wanted = schema.get("type", "string") if schema else "string"
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _read_as(text: str, schema: Schema | None) -> Json:
    types = _types(schema)
    value = plain(text.strip())
    if "string" not in types:
        return value
    # A length of time may be text or a number of seconds
    return value if isinstance(value, int) and not isinstance(value, bool) and "integer" in types else text


def has_templates(value: Json) -> bool:
    """Whether there is a template anywhere in a value."""
    if isinstance(value, str):
        return is_templated(value)
    if isinstance(value, dict):
        return any(has_templates(item) for item in value.values())
    return isinstance(value, list) and any(has_templates(item) for item in value)


def combinations(document: Document, matrix: Mapping[str, Json]) -> tuple[list[dict[str, Json]], list[Diagnostic]]:
    """The combinations of a matrix: all of its axes' values, less `exclude`, then `include`."""
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_COMBINATIONS:
        message = f"the matrix has {count:,} combinations; at most {MOST_COMBINATIONS} are possible"
        return [], [Diagnostic(document.key_place(("matrix",)), "matrix-too-large", message)]
    made = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    found = []
    for index, excluded in enumerate(matrix.get("exclude", [])):
        kept = [combination for combination in made if not excluded.items() <= combination.items()]
        if len(kept) == len(made):
            place = document.place(("matrix", "exclude", index))
            found.append(Diagnostic(place, "matrix-exclude", "excludes nothing: no combination has all these values"))
        made = kept
    made += matrix.get("include", [])
    if not made and not found:
        place = document.key_place(("matrix",))
        found.append(Diagnostic(place, "matrix-empty", "the matrix has no combination left"))
    return made, found
