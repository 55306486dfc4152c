"""Snapshots as a destination: one for each disk, whole when all are, retired together."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.ids import compute, group_id
from builder.destinations.snapshot import ABANDONED_SECONDS
from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, Project

SNAPSHOT = "snapshot: {resourceGroup: images}"
SNAPSHOTS = "Microsoft.Compute/snapshots"
KEEP_ONE = "version: auto\n  retain: {versions: 1}"


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    found.write(SNAPSHOT)
    found.still.luns = (3,)
    return found


def names(project: Project) -> list[str]:
    group = group_id(project.azure.subscription, "images")
    return sorted(body["name"] for body in project.azure.list(group, SNAPSHOTS))


def test_a_version_is_a_snapshot_for_each_disk(project: Project) -> None:
    project.write(SNAPSHOT, publish="version: auto\n  retain: {versions: 1}")
    for content in ("first", "second"):
        project.still.content = content
        project.apply()

    assert names(project) == ["web-1.0.1-data-3", "web-1.0.1-os"]
    assert project.decided().action == Action.NONE


def test_incremental_ones_are_waited_for(project: Project) -> None:
    project.write("snapshot: {resourceGroup: images, incremental: true}")
    project.apply()
    body = project.azure.get(compute(project.azure.subscription, "images", "snapshots", "web-1.0.0-os"))

    assert body["properties"]["completionPercent"] == 100
    assert body["properties"]["hyperVGeneration"] == "V2"


def test_a_version_that_lacks_a_disk_is_mended(project: Project) -> None:
    project.apply()
    project.azure.delete(compute(project.azure.subscription, "images", "snapshots", "web-1.0.0-data-3")).wait()

    assert project.decided().version == "1.0.0"
    project.apply()
    assert names(project) == ["web-1.0.0-data-3", "web-1.0.0-os"]
    assert project.decided().action == Action.NONE


@pytest.mark.parametrize("disk", ["web-1.0.0-os", "web-1.0.0-data-3", "web-1.0.0-data-5"])
def test_a_deletion_that_failed_is_planned_and_made_again(project: Project, azure: Simulator, disk: str) -> None:
    project.still.luns = (3, 5)
    project.write(SNAPSHOT, publish=KEEP_ONE)
    project.apply()
    azure.clock.advance(ABANDONED_SECONDS)
    project.still.content = "second"
    azure.faults.add(Fault(f"DELETE {SNAPSHOTS}", "fail", code="Nope", name=disk))
    with pytest.raises(BuildError, match="Nope"):
        project.apply()
    assert disk in names(project)

    image = project.decided()
    assert (image.action, image.retires, image.notes) == (Action.RETIRE, ("1.0.0",), ())
    project.apply()
    assert names(project) == ["web-1.0.1-data-3", "web-1.0.1-data-5", "web-1.0.1-os"]
    assert project.decided().action == Action.NONE


def test_what_another_run_may_still_be_making_does_not_go(project: Project, azure: Simulator) -> None:
    project.write(SNAPSHOT, publish=KEEP_ONE)
    azure.faults.add(Fault(f"PUT {SNAPSHOTS}", "refuse", code="Nope", name="web-1.0.0-data-3"))
    with pytest.raises(BuildError, match="Nope"):
        project.apply()
    project.still.content = "second"
    project.apply()
    assert project.decided().action == Action.NONE
    assert [note.code for note in project.decided().notes] == ["version_unfinished"]
    azure.clock.advance(ABANDONED_SECONDS)

    assert project.decided().retires == ("1.0.0",)
    project.apply()
    assert names(project) == ["web-1.0.1-data-3", "web-1.0.1-os"]


def test_what_azure_is_still_copying_does_not_go_however_old_it_is(project: Project, azure: Simulator) -> None:
    project.apply()
    azure.resource("snapshots/web-1.0.0-os").properties["completionPercent"] = 50.0
    azure.clock.advance(10 * ABANDONED_SECONDS)
    project.still.content = "second"
    project.write(SNAPSHOT, publish=KEEP_ONE)
    project.apply()

    assert project.decided().retires == ()
    assert len(names(project)) == 4


def test_tags_and_tests_are_changed_in_place(project: Project) -> None:
    both = f"{SNAPSHOT}\n    - {GALLERY}"
    project.write(both, more="test: [{provision: {}}]")
    project.still.passes = False
    with pytest.raises(Exception, match="doesn't boot"):
        project.apply()
    project.still.passes = True
    project.apply()
    project.write(both, more="test: [{provision: {}}]", publish="version: auto\n  tags: {team: web}")
    assert [change.detail for change in project.decided().changes] == 2 * ["tag team: none → web"]
    project.apply()

    assert project.decided().action == Action.NONE


def test_a_gallery_publishes_from_them_later(project: Project) -> None:
    project.apply()
    project.write(f"{SNAPSHOT}\n    - {GALLERY}")
    project.apply()
    storage = project.version("1.0.0")["properties"]["storageProfile"]

    assert storage["osDiskImage"]["source"]["id"].endswith("/snapshots/web-1.0.0-os")
    assert [disk["lun"] for disk in storage["dataDiskImages"]] == [3]
    assert len(project.still.captured) == 1


def test_what_others_made_under_our_names_is_passed_by(project: Project) -> None:
    foreign(project, "web-1.0.0-os")
    assert [(item.version, item.manifest) for item in project.observed()] == [("1.0.0", None)]
    assert project.apply().version == "1.0.1"
    assert project.decided().action == Action.NONE


def test_a_disk_of_others_where_one_of_ours_is_to_be_is_in_the_way(project: Project) -> None:
    project.apply()
    project.azure.delete(compute(project.azure.subscription, "images", "snapshots", "web-1.0.0-data-3")).wait()
    foreign(project, "web-1.0.0-data-3")
    assert project.apply().version == "1.0.1"
    project.write(SNAPSHOT, publish="version: 1.0.0")
    assert [reason.code for reason in project.decided().reasons] == ["version-foreign"]


def foreign(project: Project, name: str) -> None:
    """A snapshot that somebody else made."""
    id = compute(project.azure.subscription, "images", "snapshots", name)
    project.azure.put(id.group_id, {"location": "westeurope"}).wait()
    creation = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    project.azure.put(id, {"location": "westeurope", "properties": creation}).wait()
