"""Old versions of a gallery: which go, which stay and why, and deletions that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.ids import compute
from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, LOCATION, Project

DELETE_VERSION = "DELETE Microsoft.Compute/galleries/images/versions"
KEEP_ONE = "version: auto\n  retain: {versions: 1}"


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    return found


def test_three_versions_and_one_retired(project: Project) -> None:
    project.write(publish="version: auto\n  retain: {versions: 2}")
    for content in ("first", "second", "third"):
        project.still.content = content
        project.apply()

    assert project.versions() == ["1.0.1", "1.0.2"]


def test_a_version_in_use_is_not_retired(project: Project) -> None:
    project.write(publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    image = {"id": str(project.definition.child("versions", "1.0.0"))}
    _scale_set(project, image)
    project.still.content = "second"
    (note,) = project.decided().notes
    assert note.message == "version 1.0.0 at gallery corp/web stays: it is kept by scale set front"
    project.apply()

    assert project.versions() == ["1.0.0", "1.0.1"]
    assert project.decided().notes == (note,)
    project.azure.delete(compute(project.azure.subscription, "images", "virtualMachineScaleSets", "front")).wait()
    assert project.decided().retires == ("1.0.0",)


def test_use_is_asked_for_again_when_a_version_is_about_to_go(project: Project) -> None:
    project.write(publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    project.still.content = "second"
    plan = project.plan()
    _scale_set(project, {"id": str(project.definition.child("versions", "1.0.0"))})

    with pytest.raises(BuildError, match=r"corp/web/1\.0\.0 is used by scale set front"):
        project.executor().apply(plan)
    assert project.versions() == ["1.0.0", "1.0.1"]


def _scale_set(project: Project, image: dict[str, str]) -> None:
    id = compute(project.azure.subscription, "images", "virtualMachineScaleSets", "front")
    profile = {"storageProfile": {"imageReference": image}}
    body = {
        "location": LOCATION,
        "sku": {"name": "Standard_D2s_v5", "capacity": 1},
        "properties": {"virtualMachineProfile": profile, "upgradePolicy": {"mode": "Manual"}},
    }
    project.azure.put(id, body).wait()


def test_a_version_that_azure_keeps_to_its_end_of_life_is_left_out(project: Project) -> None:
    kept = GALLERY.replace("regions:", "endOfLife: '2027-01-01', blockDeletionBeforeEndOfLife: true, regions:")
    project.write(kept, publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    project.still.content = "second"

    image = project.decided()
    assert image.retires == ()
    assert [note.message for note in image.notes] == [
        "version 1.0.0 at gallery corp/web stays: it is kept by its end of life, 2027-01-01"
    ]


def test_a_deletion_that_failed_is_planned_and_made_again(project: Project, azure: Simulator) -> None:
    project.write(publish=KEEP_ONE)
    project.apply()
    project.still.content = "second"
    azure.faults.add(Fault(DELETE_VERSION, "fail", code="Nope"))
    with pytest.raises(BuildError, match="Nope"):
        project.apply()

    image = project.decided()
    assert (image.action, image.retires) == (Action.RETIRE, ("1.0.0",))
    assert [(change.action, change.name) for change in image.changes] == [("delete", "corp/web/1.0.0")]
    project.apply()
    assert project.versions() == ["1.0.1"]
    assert project.decided().action == Action.NONE


def test_a_limit_that_is_added_later_holds_at_once(project: Project) -> None:
    for content in ("first", "second", "third"):
        project.still.content = content
        project.apply()
    project.write(publish=KEEP_ONE)
    assert project.decided().retires == ("1.0.0", "1.0.1")
    project.apply()

    assert project.versions() == ["1.0.2"]


def test_what_a_failed_publish_left_goes_with_the_next_one(project: Project, azure: Simulator) -> None:
    azure.faults.add(Fault("PUT Microsoft.Compute/galleries/images/versions", "fail", code="ReplicationFailed"))
    with pytest.raises(BuildError, match="ReplicationFailed"):
        project.apply()
    project.still.content = "second"
    assert [note.code for note in project.decided().notes] == ["version_failed"]
    project.write(publish="version: auto\n  retain: {versions: 5}")
    assert project.decided().retires == ("1.0.0",)
    project.apply()

    assert project.versions() == ["1.0.1"]


def test_retention_says_which_right_it_needs(project: Project, azure: Simulator) -> None:
    project.write(publish=KEEP_ONE)
    project.apply()
    azure.faults.add(
        Fault("LIST Microsoft.Compute/virtualMachines", "refuse", times=9, status=403, code="AuthorizationFailed")
    )
    image = project.decided()
    (reason,) = image.reasons

    assert (image.action, reason.code) == (Action.BLOCKED, "usage-unreadable")
    assert "may not list virtual machines" in reason.message
    assert "remove `retain`" in str(reason.help)
