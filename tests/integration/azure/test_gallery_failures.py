"""What Azure failed to make or to change in a gallery, and what the next apply does about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.events import StepOutput
from builder.model.plan import Action, ImagePlan
from tests.azure import Fault, Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, Project

PUT_VERSION = "PUT Microsoft.Compute/galleries/images/versions"
PATCH_VERSION = "PATCH Microsoft.Compute/galleries/images/versions"
TESTED = "test: [{provision: {}}]"
MORE_REGIONS = GALLERY.replace("northeurope]", "northeurope, francecentral]")


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    return found


def steps(image: ImagePlan) -> list[str]:
    return [item.step.kind for item in image.steps if item.action == "run"]


def said(project: Project) -> str:
    return "\n".join(event.line for event in project.events if isinstance(event, StepOutput))


def fails(project: Project, azure: Simulator, operation: str, kind: Any = "fail", *, code: str = "Nope") -> None:
    """An apply in which Azure fails, or refuses, the next such operation."""
    azure.faults.add(Fault(operation, kind, code=code))
    with pytest.raises(BuildError, match=code):
        project.apply()


def test_a_failed_version_is_deleted_and_published_again(project: Project, azure: Simulator) -> None:
    azure.faults.add(Fault(PUT_VERSION, "fail", code="ReplicationFailed"))
    with pytest.raises(BuildError, match="ReplicationFailed"):
        project.apply()
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Failed"
    outcome = project.apply()

    assert outcome.version == "1.0.0"
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Succeeded"
    assert "failed earlier: it is deleted" in said(project)


def test_a_failed_version_of_another_content_is_replaced_when_the_spec_wants_its_number(
    project: Project, azure: Simulator
) -> None:
    fails(project, azure, PUT_VERSION)
    project.still.content = "second"
    project.write(publish="version: '1.0.0'")
    assert ("delete", "corp/web/1.0.0") in [(change.action, change.name) for change in project.decided().changes]
    project.apply()

    assert project.version("1.0.0")["properties"]["provisioningState"] == "Succeeded"
    assert project.decided().action == Action.NONE


def test_a_version_of_another_content_that_is_being_made_keeps_its_number(project: Project, azure: Simulator) -> None:
    azure.clock.after(azure.cloud.seconds("versions.put") / 2, project.stop.set)
    with pytest.raises(BuildError, match="Azure goes on"):
        project.apply()
    project.stop.clear()
    project.still.content = "second"
    assert project.decided().version == "1.0.1"
    project.write(publish="version: '1.0.0'")
    image = project.decided()

    assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "version-exists")
    assert "unfinished" in image.reasons[0].message


def test_a_fault_inside_azure_is_tried_again_at_once(project: Project, azure: Simulator) -> None:
    azure.faults.add(Fault(PUT_VERSION, "fail", code="InternalServerError"))
    project.apply()

    assert project.version("1.0.0")["properties"]["provisioningState"] == "Succeeded"
    assert len(project.still.captured) == 1


def test_a_change_that_failed_is_made_again_in_place(project: Project, azure: Simulator) -> None:
    project.apply()
    first = project.version("1.0.0")["properties"]["publishingProfile"]["publishedDate"]
    project.write(MORE_REGIONS)
    fails(project, azure, PATCH_VERSION)
    image = project.decided()
    assert (image.action, image.version, image.retires) == (Action.PUBLISH, "1.0.0", ())
    assert steps(image) == ["update.gallery.version"]
    assert [change.detail for change in image.changes] == ["replication: failed → again"]
    project.apply()

    found = project.version("1.0.0")["properties"]
    assert (found["provisioningState"], found["publishingProfile"]["publishedDate"]) == ("Succeeded", first)
    assert len(found["publishingProfile"]["targetRegions"]) == 3
    assert len(project.still.captured) == 1
    assert project.decided().action == Action.NONE


def test_a_promotion_that_failed_is_made_again_in_place(project: Project, azure: Simulator) -> None:
    project.write(more=TESTED)
    fails(project, azure, PATCH_VERSION)
    assert "publish.gallery" not in steps(project.decided())
    project.apply()

    found = project.version("1.0.0")
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["publishingProfile"]["excludeFromLatest"] is False
    assert found["tags"]["build-state"] == "promoted"
    assert project.decided().action == Action.NONE


def test_where_azure_lets_a_broken_version_only_be_deleted_its_successor_comes_first(
    project: Project, azure: Simulator
) -> None:
    keep = "version: auto\n  retain: {versions: 1}"
    project.apply()
    project.write(MORE_REGIONS, publish=keep)
    fails(project, azure, PATCH_VERSION)
    azure.faults.add(Fault(PATCH_VERSION, "refuse", code="OperationNotAllowed"))
    with pytest.raises(BuildError, match="OperationNotAllowed") as caught:
        project.apply()
    assert "--rebuild web makes its successor" in str(caught.value.hint)
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Failed"

    assert project.decided(rebuild=("web",)).retires == ("1.0.0",)
    project.apply(rebuild=("web",))
    assert project.versions() == ["1.0.1"]
    assert project.decided().action == Action.NONE


MADE = (
    ("PUT Microsoft.Compute/galleries", "gallery", "corp"),
    ("PUT Microsoft.Compute/galleries/images", "image definition", "corp/web"),
)


@pytest.mark.parametrize(("operation", "kind", "name"), MADE)
def test_what_a_version_stands_in_is_made_once_more_when_it_failed(
    project: Project, azure: Simulator, operation: str, kind: str, name: str
) -> None:
    fails(project, azure, operation)
    changes = [(change.action, change.kind, change.name) for change in project.decided().changes]
    assert ("change", kind, name) in changes
    project.apply()

    for id in (project.definition.parent, project.definition):
        assert project.azure.get(id)["properties"]["provisioningState"] == "Succeeded"
    assert project.decided().action == Action.NONE


def test_a_definition_whose_change_failed_is_changed_again(project: Project, azure: Simulator) -> None:
    project.apply()
    project.write(GALLERY.replace("regions:", "properties: {description: new}, regions:"))
    fails(project, azure, "PUT Microsoft.Compute/galleries/images")
    image = project.decided()
    assert steps(image) == ["update.gallery.definition"]
    assert "provisioningState: Failed → Succeeded" in [change.detail for change in image.changes]
    project.apply()

    assert project.azure.get(project.definition)["properties"]["provisioningState"] == "Succeeded"
    assert project.decided().action == Action.NONE


def test_what_hangs_is_followed_for_so_long_and_then_by_the_next_apply(
    project: Project, azure: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the operation that it began, and by the version's state where another run began it; nothing is undone."""
    monkeypatch.setattr("builder.destinations.azure_follow.FOLLOW_SECONDS", 3600.0)
    azure.faults.add(Fault(PUT_VERSION, "hang"))
    for _ in range(2):
        began = azure.clock.now()
        with pytest.raises(BuildError, match=r"still at work on corp/web/1\.0\.0 after 1 h: nothing was") as caught:
            project.apply()
        assert caught.value.code == "azure-timeout"
        assert "the same `build apply` follows it again" in str(caught.value.hint)
        assert 3600 <= (azure.clock.now() - began).total_seconds() < 2 * 3600
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Creating"
    assert azure.traffic.counts()[PUT_VERSION] == 1


def test_a_deletion_that_hangs_is_not_waited_for_for_ever(project: Project, azure: Simulator) -> None:
    project.apply()
    project.still.content = "second"
    project.write(publish="retain: {versions: 1}")
    azure.faults.add(Fault("DELETE Microsoft.Compute/galleries/images/versions", "hang"))
    began = azure.clock.now()
    with pytest.raises(BuildError, match=r"still at work on corp/web/1\.0\.0 after 2 h"):
        project.apply()
    assert 2 * 3600 <= (azure.clock.now() - began).total_seconds() < 3 * 3600
    assert project.version("1.0.1")["properties"]["provisioningState"] == "Succeeded"
