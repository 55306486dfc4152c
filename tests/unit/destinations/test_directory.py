"""A directory as a destination: what it sees, what it plans, and what it never touches."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builder.destinations.directory import Directory
from builder.errors import Place
from builder.model.artifact import Inventory, Manifest
from builder.model.observed import Traits
from builder.model.spec import Choice, DisksSpec, ImageSpec, OsSpec, Places, PublishSpec

MANIFEST = Manifest(
    image="web",
    version="1.0.0",
    digest="sha256:" + "ab" * 32,
    created="2026-01-01T00:00:00+00:00",
    tool="build 0.1.0",
    run="r",
    generalized=True,
    kind="osImage",
    architecture="x64",
    generation=2,
    source={},
    steps=(),
    disks=(),
    recorded_inventory=Inventory().as_dict(),
)


@pytest.fixture
def image(tmp_path: Path) -> ImageSpec:
    choice = Choice("directory", {"path": "gallery"}, ("publish", "to", 0, "directory"))
    return ImageSpec(
        name="web",
        os=OsSpec("linux"),
        source=Choice("bootstrap", {}),
        machine=Choice("local", {}),
        disks=DisksSpec(),
        prepare=(),
        generalize=None,
        capture="osImage",
        test=(),
        publish=PublishSpec(to=(choice,)),
        root=tmp_path,
        file="web.yaml",
        places=Places({(): Place("web.yaml"), ("publish",): Place("web.yaml", 9, 1)}),
    )


def destination(image: ImageSpec) -> Directory:
    return Directory(image.publish.to[0], image)


def publish(image: ImageSpec, version: str, text: str | None = None) -> None:
    folder = image.root / "gallery/web" / version
    folder.mkdir(parents=True)
    written = json.dumps(replace(MANIFEST, version=version).as_dict()) if text is None else text
    (folder / "manifest.json").write_text(written)


def test_versions_are_in_the_order_of_numbers(image: ImageSpec) -> None:
    for version in ("1.10.0", "1.9.0", "1.0.0"):
        publish(image, version)
    found = destination(image).observe(image)
    assert [item.version for item in found.versions] == ["1.0.0", "1.9.0", "1.10.0"]
    assert found.newest is not None
    assert found.newest.version == "1.10.0"
    assert found.newest.manifest is not None
    assert found.newest.manifest.digest == MANIFEST.digest
    assert found.newest.manifest.inventory == Inventory()


@pytest.mark.parametrize("text", ["not json", "{}", '{"format_version": "1.0"}', "[1]"])
def test_what_another_tool_wrote_is_foreign(text: str, image: ImageSpec) -> None:
    publish(image, "1.0.0", text)
    found = destination(image).observe(image)
    assert [(item.version, item.manifest) for item in found.versions] == [("1.0.0", None)]
    assert found.newest is None


@pytest.mark.parametrize("name", [".publishing-run", ".retiring-run-1.0.0", "1.0", "latest", "01.0.0", "1.0.0.tmp"])
def test_what_is_no_version_is_not_seen(name: str, image: ImageSpec) -> None:
    publish(image, name)
    assert destination(image).observe(image).versions == ()


def test_nothing_there_yet(image: ImageSpec) -> None:
    found = destination(image).observe(image)
    assert (found.versions, found.blockers) == ((), ())


def test_a_file_in_the_way_blocks(image: ImageSpec) -> None:
    (image.root / "gallery").write_text("a file")
    (blocker,) = destination(image).observe(image).blockers
    assert "not a folder" in blocker.message
    assert blocker.place == Place("web.yaml", 9, 1)


def test_its_steps_say_what_they_do(image: ImageSpec) -> None:
    (step,) = destination(image).publish_steps(image, "1.2.3", Traits(), held=False)
    assert (step.kind, step.identity, step.changes[0].name) == ("publish.directory", False, "gallery/web/1.2.3")
    retired = destination(image).retire_steps(image, ("1.0.0", "1.1.0"))
    assert [item.changes[0].name for item in retired] == ["gallery/web/1.0.0", "gallery/web/1.1.0"]


def test_disks_of_a_cloud_do_not_fit(image: ImageSpec) -> None:
    assert destination(image).check(image, Traits()) == ()
    (blocker,) = destination(image).check(image, Traits(where="westeurope"))
    assert "westeurope" in blocker.message
