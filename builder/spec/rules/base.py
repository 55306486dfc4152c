"""What rules are made of: a finding with its place, and walks over an image."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from builder.errors import Diagnostic
from builder.model.canonical import Json
from builder.model.spec import Choice, ImageSpec, KeyPath
from builder.spec.schema import Schema, load_schema

Rule = Callable[[ImageSpec], Iterator[Diagnostic]]


def finding(
    image: ImageSpec, path: KeyPath, code: str, message: str, help: str | None = None, *, severity: str = "error"
) -> Diagnostic:
    """A finding about the node of an image's document at a path."""
    return Diagnostic(image.place(*path), code, message, help, severity)


def steps_of(image: ImageSpec, *kinds: str) -> Iterator[Choice]:
    """The prepare steps of some kinds."""
    return (step for step in image.prepare if step.kind in kinds)


def destinations_of(image: ImageSpec, kind: str) -> Iterator[Choice]:
    """The destinations of a kind."""
    return (destination for destination in image.publish.to if destination.kind == kind)


def normal_path(path: str) -> str:
    """An absolute path of Linux without doubled slashes, dots and a last slash."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def values_of_format(image: ImageSpec, *formats: str) -> Iterator[tuple[str, KeyPath, str]]:
    """Every value of an image whose schema has one of these formats: the format, the path and the value."""
    for choice in (image.source, image.machine, *image.prepare):
        branch = _branch(str(choice.path[0]), choice.kind, formats)
        if branch is not None:
            yield from _of_format(choice.values, branch, choice.path, formats)


@cache
def _branch(part: str, kind: str, formats: tuple[str, ...]) -> Schema | None:
    """The schema of a choice's branch, or None when nothing in it has one of the formats."""
    schema = load_schema("image").schema["properties"][part]
    branch: Schema = schema.get("items", schema)["properties"][kind]
    return branch if _mentions(branch, formats) else None


def _mentions(schema: Schema, formats: tuple[str, ...]) -> bool:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return schema.get("format") in formats or any(_mentions(item, formats) for item in inner)


def _of_format(
    value: Json, schema: Schema, path: KeyPath, formats: tuple[str, ...]
) -> Iterator[tuple[str, KeyPath, str]]:
    if isinstance(value, str):
        if schema.get("format") in formats:
            yield schema["format"], path, value
    elif isinstance(value, Mapping):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _of_format(value[key], inner, (*path, key), formats)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _of_format(item, schema["items"], (*path, index), formats)
