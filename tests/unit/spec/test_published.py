"""The published schemas: what editors and later floors rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from builder.guest.operations import all_operations
from builder.machines.local.distributions import DISTRIBUTIONS
from builder.spec.published import read_schema
from builder.spec.reference import reference
from builder.spec.rules.machines import BOOTSTRAP
from builder.spec.schema import load_schema
from builder.spec.values import AS_WRITTEN

NAMES = ("image", "project")


def schemas(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, with where it is."""
    yield path, schema
    for keyword in ("properties", "definitions"):
        for name, inner in schema.get(keyword, {}).items():
            yield from schemas(inner, f"{path}/{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from schemas(schema[keyword], f"{path}/{keyword}")


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_draft_07(name: str):
    document = json.loads(read_schema(name))
    assert document["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(document)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_described_and_every_map_closed(name: str):
    for path, schema in schemas(json.loads(read_schema(name))):
        if "$ref" in schema:
            continue
        assert schema.get("description"), path
        if "object" in schema.get("type", ()):
            assert "additionalProperties" in schema, path


@pytest.mark.parametrize("name", NAMES)
def test_defaults_and_examples_are_valid(name: str):
    for path, schema in schemas(load_schema(name).schema):
        validator = Draft7Validator(schema)
        for value in (*schema.get("examples", ()), *([schema["default"]] if "default" in schema else ())):
            assert not list(validator.iter_errors(value)), (path, value)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_pattern_wants_is_said_in_words(name: str):
    """By a format that has words of its own, or beside the pattern: nobody should have to read the expression."""
    for path, schema in schemas(json.loads(read_schema(name))):
        for inner in (schema, schema.get("propertyNames", {})):
            words = schema.get("format") in AS_WRITTEN or "patternErrorMessage" in inner
            assert words or "pattern" not in inner, path


def test_the_operations_are_those_of_the_table():
    generalize = load_schema("image").schema["properties"]["generalize"]["properties"]
    names = sorted(operation.id for operation in all_operations())
    assert generalize["skip"]["items"]["enum"] == names
    assert generalize["add"]["items"]["enum"] == names


def test_bootstrap_knows_what_the_machine_knows():
    assert {name: dict(known.releases) for name, known in DISTRIBUTIONS.items()} == BOOTSTRAP


@pytest.mark.parametrize(
    "row",
    [
        "| `secrets.NAME.env` | text |",
        "| `secrets.NAME.file` | text |",
        "| `secrets.NAME.keyVault` | text |",
        "| `NAME.vars` | map |",
        "| `NAME.defaults` | map |",
        "For example `environments: {prod: {vars: {level: strict}, ",
        "`timeout: 300` is five minutes",
    ],
)
def test_the_reference_tells_what_stands_in_maps_of_chosen_names(row: str):
    assert row in reference()


def test_the_reference_is_current():
    page = Path(__file__).parents[3] / "docs/spec.md"
    assert page.read_text(encoding="utf-8") == reference(), "run: python -m builder.spec.reference > docs/spec.md"
