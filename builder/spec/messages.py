"""What the schema's findings mean, in words for people who write specs."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.values import AS_WRITTEN, QUOTE_IT
from builder.spec.yaml_text import plain

if TYPE_CHECKING:
    from jsonschema import ValidationError

# What a pattern lets pass, in words: a keyword that editors show too
ALLOWED = "patternErrorMessage"
MOST_LISTED = 12
LONGEST_SHOWN = 60
# Text that is the same with and without quotes, also inside { } and [ ]
_UNQUOTED = re.compile(r"[A-Za-z0-9_./-]([A-Za-z0-9_./ @+-]|:(?! ))*")

_TYPES = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True)
class Problem:
    """One finding of the schema. `path` leads to the value; `at_key` when it is the key that is wrong.

    `meant` is the key that a misspelt one was meant to be; `instead` the value that was surely meant; `missing` the key
    that a map at `path` lacks.
    """

    path: KeyPath
    code: str
    message: str
    help: str | None = None
    at_key: bool = False
    meant: str | None = None
    instead: Json = None
    missing: str | None = None


def problem_of(error: ValidationError) -> Problem:
    """The problem that a validation error of jsonschema stands for."""
    path = tuple(error.absolute_path)
    describe = _MESSAGES.get(str(error.validator))
    if describe is None:
        return Problem(path, str(error.validator), error.message)
    return describe(path, error)


def shown(value: Json) -> str:
    """A value in a message: quoted, and cut when it is long."""
    text = f"'{value}'" if isinstance(value, str) and "'" not in value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def flow(value: Json) -> str:
    """A value as YAML on one line: `{family: linux, release: "12"}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    unquoted = isinstance(value, str) and isinstance(plain(value), str) and _UNQUOTED.fullmatch(value)
    return value if unquoted else json.dumps(value, ensure_ascii=False)


def listed(words: list[str]) -> str:
    """`a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _named(path: KeyPath) -> str:
    """What a value is called: its key, or the key of the list that it is in."""
    for key in reversed(path):
        if isinstance(key, str):
            return f"'{key}'" if key == path[-1] else f"an item of '{key}'"
    return "the document"


def _is(value: Json) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (dict, "a map"),
        (list, "a list"),
        (str, "text"),
        ((int, float), "a number"),
    )
    return next(name for kind, name in names if isinstance(value, kind))


def _rule(error: ValidationError) -> Json:
    """What the schema says for the keyword."""
    return error.validator_value


def _instance(error: ValidationError) -> Json:
    return error.instance


def _schema(error: ValidationError) -> Mapping[str, Json]:
    """The schema that the value breaks."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def _type(path: KeyPath, error: ValidationError) -> Problem:
    wanted = [_rule(error)] if isinstance(_rule(error), str) else list(_rule(error))
    value = _instance(error)
    message = f"{_named(path)} must be {listed([_TYPES[name] for name in wanted])}, not {_is(value)}"
    help = None
    choices = _choices(error)
    if choices and "string" not in wanted and isinstance(value, str | None):
        return _type_of_choice(path, error, message, choices)
    meant = _with_its_key(path, value) if "object" in wanted and "string" not in wanted else None
    if meant is not None:
        return Problem(path, "type", message, f"write {flow(meant)}", instead=meant)
    if value is None:
        help = f"write {_least(path, wanted, error)}, or remove the key"
    elif "string" in wanted and isinstance(value, int | float):
        # The loader makes the help of the number as it is written
        schema = _schema(error)
        format, allowed = schema.get("format", ""), schema.get(ALLOWED)
        fits = allowed is None or re.search(schema["pattern"], str(value))
        help = format if format in AS_WRITTEN else QUOTE_IT if fits else allowed
    elif "array" in wanted and _items_are_choices(error) and isinstance(value, dict | str):
        help = f"start each {'step' if path[-1:] == ('prepare',) else 'item'} with `- `"
    elif "array" in wanted and isinstance(value, str):
        help = f"write [{value}]" if len(value) < LONGEST_SHOWN else None
    elif "boolean" in wanted and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        help = f"write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    elif "integer" in wanted and isinstance(value, str) and value.isdigit():
        help = f"write {value} without quotes"
    elif "object" in wanted and isinstance(value, str) and len(_schema(error).get("required", ())) == 1:
        (needed,) = _schema(error)["required"]
        meant = {needed: value}
        return Problem(path, "type", message, f"write {flow(meant)}", instead=meant)
    return Problem(path, "type", message, help)


# The key of a map for what is often written in place of the map, by the map's own key, and what that is
_KEY_OF_VALUE: Mapping[str, tuple[str, type]] = {
    "packages": ("install", str),
    "services": ("enable", str),
    "retain": ("versions", int),
}


def _with_its_key(path: KeyPath, value: Json) -> Json:
    """The map that was meant by a value in its place: `{install: [nginx]}` by `nginx`; None if nobody knows."""
    key, kind = _KEY_OF_VALUE.get(str(path[-1]) if path else "", ("", str))
    items = value if isinstance(value, list) else [value]
    if not key or not items or not all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
        return None
    return {key: items} if kind is str else {key: value} if value is items[0] and value > 0 else None


def _least(path: KeyPath, wanted: list[str], error: ValidationError) -> str:
    """The least that can be written where nothing is."""
    schema = _schema(error)
    key, _ = _KEY_OF_VALUE.get(str(path[-1]) if path else "", ("", str))
    if schema.get("examples") and ("minProperties" in schema or "minItems" in schema):
        return flow(schema["examples"][0])
    if key:
        return f"{{{key}: [{_ANYTHING}]}}"
    if "array" in wanted and "minItems" in schema:
        return "a list"
    return next(({"object": "{}", "array": "[]"}[name] for name in wanted if name in ("object", "array")), "a value")


def _type_of_choice(path: KeyPath, error: ValidationError, message: str, choices: list[str]) -> Problem:
    """Text, or nothing, where a one-key map belongs: `machine: local` for `machine: {local: {}}`."""
    if "keyVault" in choices:
        # The text is most likely the secret itself
        return Problem(
            path, "type", message, "write {env: NAME}: a spec says where a secret comes from, never its value"
        )
    value = _instance(error)
    close = difflib.get_close_matches(value, choices, 1) if value else []
    if not close:
        return Problem(path, "type", message, f"it has one of these keys: {', '.join(choices)}")
    inner = _schema(error)["properties"][close[0]]
    values = dict.fromkeys(inner.get("required", ()), _ANYTHING)
    short = "string" in inner.get("type", ())
    written = f"{close[0]}: {_ANYTHING if short else flow(values)}"
    key = path[-1] if path else ""
    help = f"write `- {written}`" if isinstance(key, int) else f"write `{key}: {{{written}}}`"
    return Problem(path, "type", message, help, instead=None if short else {close[0]: {}})


def _items_are_choices(error: ValidationError) -> bool:
    return bool(_schema(error).get("items", {}).get("maxProperties") == 1)


_ANYTHING = "..."


def _enum(path: KeyPath, error: ValidationError) -> Problem:
    by_text = {str(item): item for item in _rule(error)}
    allowed = list(by_text)
    close = difflib.get_close_matches(str(error.instance), allowed, 1)
    folded = [item for item in allowed if item.lower() == str(error.instance).lower()]
    suggestion = next(iter([*folded, *close]), None)
    choices = f": {listed(allowed)}" if len(allowed) <= MOST_LISTED else ""
    message = f"{shown(error.instance)} is not a value of {_named(path)}"
    help = f"did you mean '{suggestion}'?" if suggestion else (f"it is one of{choices}" if choices else None)
    instead = by_text[suggestion] if suggestion else None
    return Problem(path, "enum", f"{message}{choices}" if suggestion else message, help, instead=instead)


def _pattern(path: KeyPath, error: ValidationError) -> Problem:
    schema = _schema(error)
    fix = AS_WRITTEN.get(schema.get("format", ""))
    help = fix(str(error.instance)) if fix else schema.get(ALLOWED)
    return Problem(path, "pattern", f"{shown(error.instance)} can't be {_named(path)}", help)


def _key_pattern(path: KeyPath, error: ValidationError) -> Problem:
    help = _schema(error).get(ALLOWED)
    return Problem(path, "key-pattern", f"{shown(error.instance)} can't be a name here", help, at_key=True)


def _unknown_key(path: KeyPath, error: ValidationError) -> Problem:
    meant, known = _rule(error), _instance(error)
    help = None
    if meant:
        help = f"did you mean '{meant}'?"
    elif known and len(known) <= MOST_LISTED:
        help = f"keys are: {', '.join(known)}"
    return Problem(path, "unknown-key", f"unknown key '{path[-1]}'", help, at_key=True, meant=meant or None)


def _missing_key(path: KeyPath, error: ValidationError) -> Problem:
    where = f" in {_named(path)}" if path else ""
    key, value = _rule(error), _instance(error)
    if set(value) & set(_schema(error).get("items", {}).get("properties", ())):
        # One item of a list, in place of the list
        message = f"{_named(path)} must be a list, not a map"
        return Problem(path, "type", message, "start each item with `- `", instead=[value])
    wanted = _schema(error).get("properties", {}).get(key, {})
    examples = wanted.get("examples") or wanted.get("enum")
    help = f"for example `{key}: {flow(examples[0])}`" if examples else None
    return Problem(path, "missing-key", f"key '{key}' is missing{where}", help, at_key=True, missing=key)


def _few(path: KeyPath, error: ValidationError) -> Problem:
    choices = _choices(error)
    if choices:
        return Problem(path, "empty", f"{_named(path)} needs one key", f"one of: {', '.join(choices)}", at_key=True)
    return Problem(path, "empty", f"{_named(path)} must not be empty")


def _many(path: KeyPath, error: ValidationError) -> Problem:
    keys = list(_instance(error))
    if _choices(error):
        message = f"{_named(path)} can have one key, not {len(keys)}: it already has '{keys[0]}'"
        help = "write each step as an item of its own" if path and isinstance(path[-1], int) else None
        return Problem((*path, keys[1]), "one-of", message, help, at_key=True)
    return Problem(path, "too-many", f"{_named(path)} can have at most {error.validator_value} entries")


def _choices(error: ValidationError) -> list[str]:
    schema = _schema(error)
    return list(schema.get("properties", {})) if schema.get("maxProperties") == 1 else []


def _limit(text: str) -> Callable[[KeyPath, ValidationError], Problem]:
    def problem(path: KeyPath, error: ValidationError) -> Problem:
        return Problem(path, str(error.validator), f"{_named(path)} {text.format(error.validator_value)}")

    return problem


def _duplicate_item(path: KeyPath, error: ValidationError) -> Problem:
    return Problem(path, "duplicate-item", f"{shown(error.instance)} is listed twice")


_MESSAGES: Mapping[str, Callable[[KeyPath, ValidationError], Problem]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "key-pattern": _key_pattern,
    "unknown-key": _unknown_key,
    "missing-key": _missing_key,
    "minProperties": _few,
    "maxProperties": _many,
    "minItems": _limit("must not be empty"),
    "maxItems": _limit("can have at most {} items"),
    "minLength": _limit("must not be empty"),
    "maxLength": _limit("can have at most {} characters"),
    "minimum": _limit("must be at least {}"),
    "maximum": _limit("can be at most {}"),
    "duplicate-item": _duplicate_item,
}
