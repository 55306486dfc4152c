"""What happens to versions: held and promoted, changed in place, followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.azure.ids import ResourceId
from builder.azure.operations import Operation
from builder.errors import BuildError, Interrupted, PlanStale
from builder.events import StepOutput, StepProgress
from builder.model.plan import Action, ImagePlan
from tests.azure import Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, LOCATION, Project

TESTED = "test: [{provision: {}}]"
PUT_VERSION = "PUT Microsoft.Compute/galleries/images/versions"


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    return found


def steps(image: ImagePlan) -> list[str]:
    return [item.step.kind for item in image.steps if item.action == "run"]


def said(project: Project) -> str:
    return "\n".join(event.line for event in project.events if isinstance(event, StepOutput))


def test_a_version_is_no_latest_before_its_tests_have_passed(project: Project) -> None:
    project.write(more=TESTED)
    seen: list[Any] = []
    project.still.on_test = lambda: seen.append(project.version("1.0.0"))
    project.apply()
    (held,) = seen

    assert held["properties"]["publishingProfile"]["excludeFromLatest"] is True
    assert held["tags"]["build-state"] == "held"
    now = project.version("1.0.0")
    assert now["properties"]["publishingProfile"]["excludeFromLatest"] is False
    assert now["tags"]["build-state"] == "promoted"
    assert project.decided().action == Action.NONE


def test_a_version_that_fails_its_tests_stays_excluded_and_is_tested_again(project: Project) -> None:
    project.write(more=TESTED)
    project.still.passes = False
    with pytest.raises(BuildError, match="doesn't boot"):
        project.apply()

    assert project.version("1.0.0")["properties"]["publishingProfile"]["excludeFromLatest"] is True
    assert steps(project.decided()) == ["still.test", "promote.gallery"]
    project.still.passes = True
    project.apply()
    assert project.version("1.0.0")["tags"]["build-state"] == "promoted"
    assert len(project.still.captured) == 1, "nothing was built again"


IN_PLACE = (
    ("regions: [westeurope, northeurope]", "regions: [{name: westeurope, replicas: 3}, northeurope, francecentral]",
     ["region westeurope: 1 replica → 3 replicas", "region francecentral: none → 1 replica"]),
    ("regions: [westeurope, northeurope]", "regions: [westeurope]", ["region northeurope: 1 replica → none"]),
    ("regions:", "endOfLife: '2027-05-01', regions:", ["endOfLife: none → 2027-05-01T00:00:00Z"]),
    ("regions:", "excludeFromLatest: true, regions:", ["excludeFromLatest: no → yes"]),
    ("regions:", "endOfLife: '2027-05-01', blockDeletionBeforeEndOfLife: true, regions:",
     ["endOfLife: none → 2027-05-01T00:00:00Z", "blockDeletionBeforeEndOfLife: no → yes"]),
)  # fmt: skip


@pytest.mark.parametrize(("before", "after", "changes"), IN_PLACE)
def test_what_azure_can_change_is_changed_in_place(
    project: Project, before: str, after: str, changes: list[str]
) -> None:
    project.apply()
    project.write(GALLERY.replace(before, after))
    image = project.decided()

    assert image.action == Action.PUBLISH
    assert steps(image) == ["update.gallery.version"]
    assert [change.detail for change in image.changes] == changes
    project.apply()
    assert project.decided().action == Action.NONE
    project.write()
    project.apply()
    assert project.decided().action == Action.NONE, "and back again: nothing of it is left"


REFUSED = (
    ("[westeurope, northeurope]", "[northeurope]", "gallery-regions", "leave out westeurope"),
    ("regions:", "endOfLife: '2025-01-01', regions:", "end-of-life", "2025-01-01 is over"),
    ("regions:", "properties: {endOfLife: '2025-01-01'}, regions:", "end-of-life", "2025-01-01 is over"),
)


@pytest.mark.parametrize(("before", "after", "code", "message"), REFUSED)
def test_a_change_in_place_that_azure_would_refuse_blocks(
    project: Project, before: str, after: str, code: str, message: str
) -> None:
    project.apply()
    project.write(GALLERY.replace(before, after))
    image = project.decided()

    assert (image.action, [reason.code for reason in image.reasons]) == (Action.BLOCKED, [code])
    assert message in image.reasons[0].message


def test_an_end_of_life_that_has_come_is_no_change(project: Project, azure: Simulator) -> None:
    project.write(GALLERY.replace("regions:", "endOfLife: '2027-01-01', regions:"))
    project.apply()
    azure.clock.sleep(400 * 86_400)

    assert project.decided().action == Action.NONE


def test_a_change_that_azure_takes_and_does_not_make_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(GALLERY.replace("regions:", "endOfLife: '2027-01-01', regions:"))
    project.apply()
    project.write()

    def keeping(id: ResourceId, body: dict[str, Any], **options: Any) -> Operation:
        """An Azure that keeps what a PUT leaves out."""
        return project.azure.patch(id, {key: value for key, value in body.items() if key != "location"}, **options)

    monkeypatch.setattr(project.azure, "put", keeping)
    with pytest.raises(BuildError, match=r"left as it was: endOfLife: 2027-01-01.* → none") as caught:
        project.apply()
    assert caught.value.code == "change-not-taken"


def test_a_held_version_that_is_changed_and_promoted_is_no_longer_excluded(project: Project) -> None:
    project.write(more=TESTED)
    project.still.passes = False
    with pytest.raises(BuildError, match="doesn't boot"):
        project.apply()
    project.still.passes = True
    project.write(GALLERY.replace("northeurope]", "northeurope, francecentral]"), more=TESTED)
    assert steps(project.decided()) == ["update.gallery.version", "still.test", "promote.gallery"]
    project.apply()

    profile = project.version("1.0.0")["properties"]["publishingProfile"]
    assert (profile["excludeFromLatest"], len(profile["targetRegions"])) == (False, 3)
    assert project.decided().action == Action.NONE


def test_tags_and_descriptions_are_changed_in_place(project: Project) -> None:
    project.apply()
    properties = "properties: {vcpus: {min: 2}, releaseNotesUri: 'https://example.org/notes'}, regions:"
    project.write(GALLERY.replace("regions:", properties), publish="version: auto\n  tags: {team: web}")
    image = project.decided()

    assert steps(image) == ["update.gallery.definition", "update.gallery.version"]
    assert [change.detail for change in image.changes] == [
        "releaseNoteUri: none → https://example.org/notes", "recommended: none → vCPUs min 2", "tag team: none → web",
    ]  # fmt: skip
    project.apply()
    assert project.version("1.0.0")["tags"]["team"] == "web"
    assert project.azure.get(project.definition)["properties"]["recommended"] == {"vCPUs": {"min": 2}}
    assert project.decided().action == Action.NONE


ENCRYPTION = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/keys/providers/Microsoft.Compute/"
    "diskEncryptionSets/ours"
)
FIXED = (
    ("regions: [westeurope, northeurope]", "storageType: Premium_LRS, regions: [westeurope, northeurope]"),
    ("regions: [westeurope, northeurope]", "shallow: true, regions: [westeurope]"),
    ("regions: [westeurope, northeurope]", f"regions: [{{name: westeurope, diskEncryptionSet: {ENCRYPTION}}}]"),
)


@pytest.mark.parametrize(("before", "after"), FIXED)
def test_what_azure_can_not_change_needs_a_new_version(project: Project, before: str, after: str) -> None:
    project.apply()
    project.write(GALLERY.replace(before, after))
    image = project.decided()

    assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "needs-new-version")
    assert project.decided(rebuild=("web",)).action == Action.REBUILD
    project.apply(rebuild=("web",))
    assert project.decided().action == Action.NONE, "and the request to rebuild stays with the version"


def test_an_interrupted_replication_goes_on_in_azure_and_is_followed(project: Project, azure: Simulator) -> None:
    azure.clock.after(azure.cloud.seconds("versions.put") / 2, project.stop.set)
    with pytest.raises(Interrupted) as caught:
        project.apply()
    assert "Azure goes on with corp/web/1.0.0" in caught.value.message
    project.stop.clear()
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Creating"
    mark = len(azure.traffic.pairs)
    project.apply()

    assert azure.traffic.counts(mark)[PUT_VERSION] == 0
    assert "following that" in said(project)
    assert project.version("1.0.0")["properties"]["provisioningState"] == "Succeeded"


def test_regions_are_told_as_they_come_along(project: Project) -> None:
    project.apply()
    seen = [event.doing for event in project.events if isinstance(event, StepProgress) and event.unit == "regions"]

    assert any("North Europe" in doing and "%" in doing for doing in seen)
    assert "West Europe: completed" in said(project)


def test_a_version_with_another_content_is_never_replaced(project: Project) -> None:
    plan = project.plan()
    project.still.content = "another"
    project.apply()
    project.still.content = "first"

    with pytest.raises(PlanStale):
        project.executor().apply(plan)


def test_data_disks_go_along_by_their_luns(project: Project) -> None:
    project.still.luns = (0, 3)
    project.apply()
    disks = project.version("1.0.0")["properties"]["storageProfile"]["dataDiskImages"]

    assert [(disk["lun"], disk["sizeInGB"]) for disk in disks] == [(0, 4), (3, 4)]


def test_a_version_of_another_tool_is_foreign_and_its_number_is_passed_by(project: Project) -> None:
    project.apply()
    profile = {"targetRegions": [{"name": LOCATION}]}
    storage = {"source": {"id": str(project.definition.child("versions", "1.0.0"))}}
    foreign = {"location": LOCATION, "properties": {"publishingProfile": profile, "storageProfile": storage}}
    project.azure.put(project.definition.child("versions", "3.0.0"), foreign).wait()
    project.write(publish="version: auto\n  retain: {versions: 1}")
    project.still.content = "second"
    project.apply()

    assert project.versions() == ["3.0.0", "3.0.1"]


def test_each_region_has_its_disk_encryption_set_for_all_disks(project: Project) -> None:
    project.still.luns = (5,)
    project.write(
        GALLERY.replace("[westeurope, northeurope]", f"[{{name: westeurope, diskEncryptionSet: {ENCRYPTION}}}]")
    )
    project.apply()
    (region,) = project.version("1.0.0")["properties"]["publishingProfile"]["targetRegions"]

    assert region["encryption"] == {
        "osDiskImage": {"diskEncryptionSetId": ENCRYPTION},
        "dataDiskImages": [{"lun": 5, "diskEncryptionSetId": ENCRYPTION}],
    }
    assert project.decided().action == Action.NONE
