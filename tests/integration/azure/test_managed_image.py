"""Managed images: made of snapshots, kept apart by version, changed in their tags alone, retired."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.ids import compute, group_id
from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import Project, snapshot

IMAGE = "managedImage: {resourceGroup: images}"
IMAGES = "Microsoft.Compute/images"
DATA_DISK = "capture: {kind: vmImage}\ndisks: {data: [{lun: 63, size: 4GiB}]}"
SHORTER = "write another `name`, shorter where it is too long: the version is added to it"


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    found.write(IMAGE)
    return found


def names(project: Project) -> list[str]:
    return sorted(body["name"] for body in project.azure.list(group_id(project.azure.subscription, "images"), IMAGES))


def test_versions_are_images_of_their_own_and_old_ones_go(project: Project) -> None:
    project.write(IMAGE, publish="version: auto\n  retain: {versions: 2}")
    project.still.luns = (1,)
    for content in ("first", "second", "third"):
        project.still.content = content
        project.apply()
    (body,) = [
        found
        for found in project.azure.list(group_id(project.azure.subscription, "images"), IMAGES)
        if found["name"] == "web-1.0.2"
    ]

    assert names(project) == ["web-1.0.1", "web-1.0.2"]
    assert [disk["lun"] for disk in body["properties"]["storageProfile"]["dataDisks"]] == [1]
    assert body["properties"]["hyperVGeneration"] == "V2"
    assert project.decided().action == Action.NONE


def test_what_failed_goes_with_the_next_one(project: Project, azure: Simulator) -> None:
    project.write(IMAGE, publish="version: auto\n  retain: {versions: 5}")
    azure.faults.add(Fault(f"PUT {IMAGES}", "fail", code="Nope"))
    with pytest.raises(BuildError, match="Nope"):
        project.apply()
    project.still.content = "second"
    assert project.decided().retires == ("1.0.0",)
    project.apply()

    assert names(project) == ["web-1.0.1"]
    assert project.decided().action == Action.NONE


def test_only_tags_change_in_place(project: Project) -> None:
    project.apply()
    project.write(IMAGE, publish="version: auto\n  tags: {team: web}")
    image = project.decided()

    assert [change.detail for change in image.changes] == ["tag team: none → web"]
    project.apply()
    assert project.decided().action == Action.NONE
    project.write("managedImage: {resourceGroup: images, storageType: Premium_LRS}")
    assert project.decided().reasons[0].code == "needs-new-version"


def test_tests_hold_it_back_until_they_have_passed(project: Project) -> None:
    project.write(IMAGE, more="test: [{provision: {}}]")
    project.still.passes = False
    with pytest.raises(Exception, match="doesn't boot"):
        project.apply()
    assert [item.step.kind for item in project.decided().steps] == ["still.test", "promote.managedImage"]
    project.still.passes = True
    project.apply()
    assert project.decided().action == Action.NONE


@pytest.mark.parametrize("security", ["TrustedLaunch", "ConfidentialVM"])
def test_what_azure_holds_in_no_managed_image_is_blocked(project: Project, security: str) -> None:
    project.with_traits(security=security)
    reasons = project.decided().reasons

    assert [reason.code for reason in reasons] == ["managed-image"]
    assert security in reasons[0].message


def test_a_gallery_that_was_added_later_publishes_from_the_image(project: Project) -> None:
    project.apply()
    gallery = "gallery: {resourceGroup: images, gallery: corp, definition: web}"
    project.write(f"{IMAGE}\n    - {gallery}")
    assert project.decided().action == Action.PUBLISH
    project.apply()

    assert project.version("1.0.0")["properties"]["storageProfile"]["source"]["id"].endswith("/images/web-1.0.0")
    assert len(project.still.captured) == 1
    assert project.decided().action == Action.NONE


def test_a_gallery_copies_a_version_of_another(project: Project) -> None:
    galleries = [f"gallery: {{resourceGroup: images, gallery: {name}, definition: web}}" for name in ("corp", "ring")]
    project.write(galleries[0])
    project.apply()
    project.write("\n    - ".join(galleries))
    project.apply()
    ring = project.azure.find(
        type(project.definition).parse(str(project.version("1.0.0")["id"]).replace("/corp/", "/ring/"))
    )

    assert ring is not None
    assert ring["properties"]["storageProfile"]["source"]["id"] == project.version("1.0.0")["id"]
    assert len(project.still.captured) == 1


@pytest.mark.parametrize("name", ["", ", name: 'web-{{ image.version }}'"])
def test_what_others_made_under_our_names_is_passed_by(project: Project, name: str) -> None:
    project.write(f"managedImage: {{resourceGroup: images{name}}}")
    foreign = compute(project.azure.subscription, "images", "images", "web-1.0.0")
    project.azure.put(foreign.group_id, {"location": "westeurope"}).wait()
    disk = {
        "osType": "Linux",
        "osState": "Generalized",
        "snapshot": {"id": snapshot(project.simulator, project.azure, "x")},
    }
    properties = {"hyperVGeneration": "V2", "storageProfile": {"osDisk": disk}}
    project.azure.put(foreign, {"location": "westeurope", "properties": properties}).wait()

    assert [(item.version, item.manifest) for item in project.observed()] == [("1.0.0", None)]
    assert project.apply().version == "1.0.1"
    assert names(project) == ["web-1.0.0", "web-1.0.1"]
    assert project.decided().action == Action.NONE


@pytest.mark.parametrize(
    ("destination", "length", "version"),
    [("managedImage", 76, "auto"), ("snapshot", 42, "2147483647.2147483647.1000000000")],
)
def test_a_name_that_the_version_makes_too_long_is_told_where_it_stands(
    project: Project, destination: str, length: int, version: str
) -> None:
    to = f"{destination}: {{resourceGroup: images, name: {'n' * length}}}"
    project.write(to, publish=f"version: {version}", more=DATA_DISK)
    image = project.decided()
    (reason,) = image.reasons
    assert (image.action, reason.code, reason.help) == (Action.BLOCKED, "azure-name", SHORTER)
    assert reason.message.endswith("at most 80 characters")
    assert reason.place is not None
    line = (project.root / reason.place.file).read_text().splitlines()[reason.place.line - 1]
    assert line[reason.place.column - 1 :].startswith("nnn")
