"""What rules are made of: a finding with its place, and walks over an image."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping

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
    schema = load_schema("image").schema["properties"]
    for choice in (image.source, image.machine):
        branch = schema[choice.path[0]]["properties"][choice.kind]
        yield from _of_format(choice.values, branch, choice.path, formats)
    for step in image.prepare:
        branch = schema["prepare"]["items"]["properties"][step.kind]
        yield from _of_format(step.values, branch, step.path, formats)


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
