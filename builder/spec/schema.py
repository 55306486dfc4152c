"""The published schemas as validators: all findings of a document at once, each with the path of what it is about.

The validator is jsonschema's, with a few keywords taught more: a misspelt key is checked under the key it was meant
to be, and then doesn't count as missing. `requiredAfterDefaults` is ours: keys that build.yaml's defaults may bring.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.messages import Problem, problem_of
from builder.spec.published import read_schema

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

Schema = Mapping[str, Any]

# Keywords that only people and editors read; the validator is quicker without them
_SCHEMA_MAPS = ("properties",)
_SCHEMAS = ("additionalProperties", "items", "propertyNames")
# Keywords of ours that number the schemas whose valid parts are remembered
_DOCUMENT = "documentNumber"
_CHOICE = "choiceNumber"
_numbers = itertools.count(1)
_DROPPED = ("definitions", "$schema", "$id", "title")


@dataclass(frozen=True)
class CheckedSchema:
    """A schema with every reference followed, and its validator."""

    schema: Schema
    validator: Validator

    def check(self, value: Json) -> list[Problem]:
        """Everything that is wrong with a value, in the order in which the schema finds it."""
        found = [problem_of(error) for error in self.validator.iter_errors(value)]
        # A value of the wrong type breaks other rules too, but that says nothing more
        wrong = {problem.path for problem in found if problem.code == "type"}
        found = [problem for problem in found if problem.code == "type" or problem.at_key or problem.path not in wrong]
        # The keys of a map that should be a list are those of its item
        lists = {problem.path for problem in found if isinstance(problem.instead, list)}
        return [problem for problem in found if problem.path[:-1] not in lists] if lists else found

    def part(self, *keys: str) -> CheckedSchema:
        """The schema of a property (of a property ...), as one of its own."""
        schema = self.schema
        for key in keys:
            schema = schema["properties"][key]
        return CheckedSchema(schema, self.validator.evolve(schema=_bare(schema)))


@cache
def load_schema(name: str) -> CheckedSchema:
    """The published schema `image` or `project`."""
    document = json.loads(read_schema(name))
    schema = _Inliner({f"{name}.schema.json": document, "": document}).schema(document, f"{name}.schema.json")
    if name == "project":
        # Defaults are parts: what they lack, the documents bring
        schema = without_keyword(schema, "requiredAfterDefaults")
    return CheckedSchema(schema, _validator_class()(_bare(schema)))


class _Inliner:
    """Follows references, so that the validator needn't look them up at every value."""

    def __init__(self, documents: dict[str, Json]) -> None:
        self.documents = documents
        self.done: dict[str, Schema] = {}

    def reference(self, target: str, base: str) -> Schema:
        name, _, pointer = target.partition("#/")
        name = name or base
        if name not in self.documents:
            self.documents[name] = json.loads(read_schema(name.removesuffix(".schema.json")))
        key = f"{name}#/{pointer}"
        if key not in self.done:
            found = self.documents[name]
            for word in pointer.split("/"):
                found = found[word]
            self.done[key] = self.schema(found, name)
        return self.done[key]

    def schema(self, schema: Schema, base: str) -> Schema:
        if "$ref" in schema:
            return self.reference(schema["$ref"], base)
        return map_schema(schema, lambda inner: self.schema(inner, base))


def map_schema(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy of a schema in which `change` was applied to every schema directly in it."""
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _SCHEMA_MAPS:
            result[keyword] = {name: change(inner) for name, inner in value.items()}
        elif keyword in _SCHEMAS and isinstance(value, dict):
            result[keyword] = change(value)
        elif keyword not in _DROPPED:
            result[keyword] = value
    return result


def without_keyword(schema: Schema, keyword: str) -> Schema:
    """A copy of a schema that lacks a keyword everywhere."""
    kept = {name: value for name, value in schema.items() if name != keyword}
    return map_schema(kept, lambda inner: without_keyword(inner, keyword))


def _bare(schema: Schema) -> Schema:
    """A copy without what only people read, but for what messages use: examples, and descriptions of patterns."""
    people = {"default", "shortFor"} | ({"description", "format"} if "pattern" not in schema else set())
    kept = {name: value for name, value in schema.items() if name not in people}
    if is_choice(schema):
        kept[_CHOICE] = next(_numbers)
    elif "requiredAfterDefaults" in schema:
        kept[_DOCUMENT] = next(_numbers)
    return map_schema(kept, _bare)


def schema_at(schema: Schema, path: KeyPath) -> Schema | None:
    """The schema of the value at a path, or None where the schema has none."""
    found: Schema | None = schema
    for key in path:
        if not isinstance(found, Mapping):
            return None
        if isinstance(key, int):
            found = found.get("items")
        else:
            known = found.get("properties", {})
            found = known[key] if key in known else found.get("additionalProperties")
    return found if isinstance(found, Mapping) else None


def is_choice(schema: Schema) -> bool:
    """Whether a value is a one-key map, such as `source: {marketplace: {...}}`."""
    return schema.get("maxProperties") == 1 and schema.get("minProperties") == 1


def guess(key: str, known: Iterable[str], taken: Iterable[str] = ()) -> str | None:
    """The key that a misspelt one was meant to be, if one is near enough and not there already."""
    free = [name for name in known if name not in taken]
    folded = {re.sub(r"[-_\s]", "", name).lower(): name for name in free}
    same = folded.get(re.sub(r"[-_\s]", "", key).lower())
    if same:
        return same
    close = difflib.get_close_matches(key, free, 1, cutoff=0.65)
    return close[0] if close else None


@cache
def _validator_class() -> type[Validator]:
    from jsonschema import Draft7Validator, validators

    taught = {
        "properties": _properties,
        "items": _items,
        "additionalProperties": _additional_properties,
        "required": _required,
        "requiredAfterDefaults": _required,
        "propertyNames": _property_names,
        "uniqueItems": _unique_items,
    }
    made: type[Validator] = validators.extend(Draft7Validator, taught)  # type: ignore[no-untyped-call]
    return made


class _Descending(Protocol):
    """What a validator offers to its keywords."""

    def descend(self, instance: Json, schema: Schema, path: str | int | None = None) -> Iterator[ValidationError]:
        """The errors of a part of the value."""


def _unknown_keys(instance: Mapping[str, Json], schema: Schema) -> dict[str, str | None]:
    """The keys that a closed schema doesn't have, with what each was meant to be."""
    known = schema.get("properties", {})
    if schema.get("additionalProperties", True) is not False:
        return {}
    return {key: guess(key, known, instance) for key in instance if key not in known}


# Parts of documents that were found valid, by the number of their schema: specs of one project share most of what they
# say
_VALID: set[tuple[int, str, str]] = set()
MOST_REMEMBERED = 50_000


def _remembering(
    validator: _Descending, schema: Schema, value: Json, path: str | int, known: tuple[int, str]
) -> Iterator[ValidationError]:
    """The errors of a part; none at once where the same part was valid before. `known` names its schema."""
    part = (*known, json.dumps(value))
    if part in _VALID:
        return
    valid = True
    for error in validator.descend(value, schema, path=path):
        valid = False
        yield error
    if valid and len(_VALID) < MOST_REMEMBERED:
        _VALID.add(part)


def _properties(
    validator: _Descending, known: Mapping[str, Schema], instance: Json, schema: Schema
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    number = schema.get(_DOCUMENT)
    for key, value in instance.items():
        if key not in known:
            continue
        if number and isinstance(value, dict):
            yield from _remembering(validator, known[key], value, key, (number, key))
        else:
            yield from validator.descend(value, known[key], path=key)


def _items(validator: _Descending, items: Schema, instance: Json, schema: Schema) -> Iterator[ValidationError]:
    if not isinstance(instance, list):
        return
    number = items.get(_CHOICE)
    for index, item in enumerate(instance):
        if number:
            yield from _remembering(validator, items, item, index, (number, ""))
        else:
            yield from validator.descend(item, items, path=index)


def _additional_properties(
    validator: _Descending,
    allowed: Schema | bool,
    instance: Json,
    schema: Schema,
) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    if not isinstance(allowed, bool):
        for key, value in instance.items():
            if key not in known:
                yield from validator.descend(value, allowed, path=key)
        return
    for key, meant in _unknown_keys(instance, schema).items():
        yield ValidationError("", validator="unknown-key", validator_value=meant, path=(key,), instance=list(known))
        if meant:
            yield from validator.descend(instance[key], known[meant], path=key)


def _required(validator: _Descending, required: list[str], instance: Json, schema: Schema) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    missing = [key for key in required if key not in instance]
    if missing:
        meant = set(_unknown_keys(instance, schema).values())
        for key in missing:
            if key not in meant:
                yield ValidationError("", validator="missing-key", validator_value=key, instance=instance)


def _property_names(validator: _Descending, names: Schema, instance: Json, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for key in instance:
            for error in validator.descend(key, names, path=key):
                error.validator = "key-pattern"
                yield error


def _unique_items(validator: _Descending, unique: bool, instance: Json, schema: Schema) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not unique or not isinstance(instance, list):
        return
    seen: set[str] = set()
    for index, item in enumerate(instance):
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            yield ValidationError("", validator="duplicate-item", path=(index,), instance=item)
        seen.add(text)
