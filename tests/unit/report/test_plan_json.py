import json
from pathlib import Path

import jsonschema
import pytest

from builder.report.plan_json import plan_document
from builder.report.plan_words import Presentation
from tests.golden.plans import PLANS
from tests.unit.plan.world import World, document

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "plan.schema.json").read_text())


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_as_its_schema_says(name):
    golden = PLANS[name]()
    text = json.dumps(plan_document(golden.plan, golden.presentation))
    jsonschema.validate(json.loads(text), SCHEMA, cls=jsonschema.Draft7Validator)


def described(schema, path=""):
    """Every key that the schema names, as `path`, with its description."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from described(part, path)
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}", inner.get("description", "")
        yield from described(inner, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from described(schema[key], f"{path}[]")


def emitted(value, keys, path=""):
    """Every key that a document has, as the schema spells it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            own = f"{path}.{key}" if f"{path}.{key}" in keys else f"{path}[]"
            if own.endswith("[]") and not any(known.startswith(own) for known in keys) and isinstance(inner, dict):
                own = f"{path}.{key}"
            yield own
            yield from emitted(inner, keys, own)
    elif isinstance(value, list):
        for inner in value:
            yield from emitted(inner, keys, f"{path}[]")


def test_every_key_is_described():
    found = dict(described(SCHEMA))
    assert [key for key, description in found.items() if not description] == []
    golden = PLANS["everything"]()
    # What a step was given, and what the caller asked for, is theirs to name; the same goes for names as keys
    open_ended = (
        ".options",
        ".inputs",
        ".image_changes[].steps[].inputs",
        ".observed[]",
        ".image_changes[].change.after_",
    )
    missing = [
        key
        for key in emitted(plan_document(golden.plan, golden.presentation), found)
        if key not in found and not key.startswith(open_ended)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unchanged", (False, True)),
        ("first-build", (True, True)),
        ("everything", (True, False)),
        ("stale", (False, True)),
    ],
)
def test_whether_it_can_be_applied_and_is_complete(name, expected):
    golden = PLANS[name]()
    made = plan_document(golden.plan, golden.presentation)
    assert (made["applyable"], made["complete"]) == expected


def test_every_deletion_is_found_by_its_action():
    golden = PLANS["everything"]()
    changes = plan_document(golden.plan)["image_changes"]
    actions = {image["image"]: image["change"]["actions"] for image in changes}
    assert actions == {
        "blocked": ["blocked"],
        "old": ["retire"],
        "web": ["rebuild", "publish", "retire"],
        "app": ["rebuild", "publish"],
        "new": ["build", "publish"],
        "died": ["adopt", "publish"],
        "mirrored": ["publish"],
    }
    assert all(bool(image["retires"]) == ("retire" in image["change"]["actions"]) for image in changes)


def test_secrets_are_marked_and_never_there(monkeypatch):
    monkeypatch.setenv("APP_TOKEN", "hunter2-hunter2")
    steps = [{"run": {"command": "login", "secrets": {"TOKEN": {"env": "APP_TOKEN"}}}}]
    plan = World([document("web", prepare=steps)]).plan()
    made = plan_document(plan, Presentation())
    (image,) = made["image_changes"]
    assert image["change"]["after_sensitive"] == {"steps": {"2": {"secrets": {"TOKEN": True}}}}
    assert "hunter2" not in json.dumps(made)


def test_a_whole_diff_is_in_the_document():
    world = World([document("web", prepare=[{"script": {"path": "a.sh"}}])], files={"a.sh": "old\n" * 90})
    world.apply(world.plan())
    world.files["a.sh"] = "new\n" * 90
    (image,) = plan_document(world.plan())["image_changes"]
    assert len(image["because"][0]["diff"]) == 181
