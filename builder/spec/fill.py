"""Values in their full form: short forms written out, defaults filled in, sizes in bytes, times in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from builder.model.canonical import Json
from builder.model.spec import KeyPath
from builder.spec.places import Renames
from builder.spec.schema import Schema
from builder.spec.units import seconds_of, size_of

FORMATS: Mapping[str, Callable[[Json], Json]] = {"size": size_of, "duration": seconds_of}


def fill(value: Json, schema: Schema, at: KeyPath, renames: Renames) -> Json:
    """The full form of a valid value, which the author wrote at `at`. `renames` gets what is written elsewhere.

    Keys without a default that the author left out stay out, but for `timeout`, which is then None. Items that are None
    (what was left out of a list because it is invalid) go away.
    """
    short = schema.get("shortFor")
    if short and not isinstance(value, dict):
        renames[at, short] = ()
        value = {short: value}
    if isinstance(value, dict):
        return _fill_map(value, schema, at, renames)
    if isinstance(value, list):
        return _fill_list(value, schema, at, renames)
    types = schema.get("type", ())
    if isinstance(value, str) and "array" in types and not isinstance(types, str):
        renames[at, 0] = ()
        return [value]
    convert = FORMATS.get(schema.get("format", ""))
    return value if convert is None or value is None else convert(value)


def _fill_map(value: Mapping[str, Json], schema: Schema, at: KeyPath, renames: Renames) -> dict[str, Json]:
    known = schema.get("properties", {})
    other = schema.get("additionalProperties")
    made: dict[str, Json] = {}
    for key, item in value.items():
        inner = known.get(key, other)
        inside = (*at, *renames.get((at, key), (key,)))
        made[key] = fill(item, inner, inside, renames) if isinstance(inner, Mapping) else item
    for key, inner in known.items():
        if key not in made and "default" in inner:
            made[key] = fill(copy.deepcopy(inner["default"]), inner, (*at, key), {})
        elif key == "timeout" and key not in made:
            made[key] = None
    return made


def _fill_list(value: list[Json], schema: Schema, at: KeyPath, renames: Renames) -> list[Json]:
    inner = schema.get("items")
    if not isinstance(inner, Mapping):
        return value
    made: list[Json] = []
    for index, item in enumerate(value):
        if item is None:
            continue
        if len(made) != index:
            renames[at, len(made)] = (index,)
        made.append(fill(item, inner, (*at, index), renames))
    return made


def merged(base: Json, over: Json, schema: Schema | None) -> Json:
    """`over` merged over `base`: maps key by key, all else replaced. Another choice replaces the whole choice."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if schema and schema.get("maxProperties") == 1 and set(base) != set(over):
        return over
    known = schema.get("properties", {}) if schema else {}
    result = dict(base)
    for key, value in over.items():
        result[key] = merged(base[key], value, known.get(key)) if key in base else value
    return result
