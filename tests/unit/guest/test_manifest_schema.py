"""schemas/manifest.schema.json: it is sound, describes every key, and real manifests are valid."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from builder.model.artifact import Inventory, InventoryFile, Manifest, ManifestDisk, Package, User
from builder.model.steps import Change, FileInput, Stage, Step
from builder.spec.published import schema_path

SCHEMA = json.loads(schema_path("manifest").read_text(encoding="utf-8"))
SHA = "0" * 64
DIGEST = f"sha256:{SHA}"
STEP = Step(
    Stage.PREPARE, "script", "script x.sh", {"path": "x.sh", "secrets": {"A": {"env": "A"}}},
    changes=(Change("create", "file", "/x"),), files=(FileInput("x.sh", SHA, 3, "id\n"), FileInput("y", SHA, 9)),
    digest=DIGEST,
)  # fmt: skip
MANIFEST = Manifest(
    image="web", version="1.0.0", digest=DIGEST, created="2026-01-01T00:00:00+00:00", tool="build 0.1.0", run="r1",
    generalized=True, kind="vmImage", architecture="x64", generation=2, source={"suite": "bookworm"},
    steps=({**{key: STEP.as_dict()[key] for key in ("stage", "kind", "title", "inputs", "digest")},
            "files": list(STEP.as_dict()["files"])},),
    disks=(ManifestDisk("os.vhd", None, 30 * 1024**3, DIGEST, 10**9), ManifestDisk("data-0.vhd", 0, 2**30, DIGEST, 0)),
    recorded_inventory=Inventory({"ID": "debian"}, ("6.1.0",), (Package("jq", "1.6", "amd64", "deb"),),
                        (InventoryFile("/x", SHA, "0644", "root:root"),), (User("root", 0, 0, "/root", "/bin/sh"),),
                        ("nginx.service",)).as_dict(),
    tests=({"name": "provision", "passed": True, "seconds": 1.5, "detail": ""},), timings={"1 packages": 2.5},
    tags={"team": "web"},
)  # fmt: skip


def as_json(manifest: Manifest) -> dict[str, Any]:
    data = json.loads(json.dumps(manifest.as_dict()))
    assert isinstance(data, dict)
    return data


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_a_manifest_is_valid() -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(as_json(MANIFEST))
    assert Manifest.from_dict(as_json(MANIFEST)) is not None


def _nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from _nodes(child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _nodes(schema[key])


def test_everything_has_a_description() -> None:
    assert [node for node in _nodes(SCHEMA) if not node.get("description")] == []


def _undescribed(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and "properties" in schema:
        for key, child in value.items():
            if key in schema["properties"]:
                yield from _undescribed(child, schema["properties"][key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(value, list):
        for child in value:
            yield from _undescribed(child, schema["items"], path)


def test_every_key_of_a_manifest_is_described() -> None:
    assert list(_undescribed(as_json(MANIFEST), SCHEMA)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("digest",), "md5:0"),
        (("format_version",), "2.0"),
        (("version",), "latest"),
        (("disks",), []),
        (("disks", 0, "size"), -1),
        (("inventory", "packages", 0, "type"), "gem"),
        (("inventory", "files", 0, "mode"), "rw"),
        (("steps", 0, "files", 0, "sha256"), "short"),
        (("kind",), "disk"),
    ],
)
def test_what_is_wrong_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    data = copy.deepcopy(as_json(MANIFEST))
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.Draft7Validator(SCHEMA).validate(data)
    assert tuple(caught.value.absolute_path) == path
