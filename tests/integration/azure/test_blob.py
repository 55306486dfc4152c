"""VHDs in a container (Azurite), and records there: whole or not there, taken by other destinations, retired."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import HTTPError

import pytest

from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, GIB, LOCATION, Project, group_id
from tests.integration.azure.storage_proxy import storage_proxy


@pytest.fixture
def project(azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure_with_blobs)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    found.write(found.blob)
    return found


def read(project: Project, path: str) -> bytes:
    return project.blobs.request("GET", f"{project.container}/{path}")


def test_a_snapshot_is_copied_and_its_manifest_comes_with_it(project: Project) -> None:
    project.still.luns = (2,)
    outcome = project.apply()
    manifest = json.loads(read(project, "web/1.0.0/manifest.json"))

    assert outcome.locations == (f"{project.blobs.endpoint}/{project.container}/web/1.0.0",)
    assert manifest["image"] == "web"
    assert manifest["inventory"]["packages"][0]["name"] == "nginx"
    assert [disk["lun"] for disk in manifest["disks"]] == [None, 2]
    assert project.blobs.vhd_size(f"{outcome.locations[0]}/os.vhd") == 30 * GIB
    assert json.loads(read(project, "web/1.0.0/sbom.cdx.json"))["bomFormat"] == "CycloneDX"
    assert project.decided().action == Action.NONE


def test_old_versions_go_and_foreign_ones_stay(project: Project) -> None:
    project.write(project.blob, publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    project.blobs.request(
        "PUT", f"{project.container}/web/1.0.5/disk.vhd", headers={"x-ms-blob-type": "BlockBlob"}, data=b"theirs"
    )
    project.still.content = "second"
    project.apply()

    assert read(project, "web/1.0.6/manifest.json")
    assert read(project, "web/1.0.5/disk.vhd") == b"theirs"
    with pytest.raises(HTTPError):
        read(project, "web/1.0.0/os.vhd")


def test_what_others_put_beside_a_version_stays_when_it_goes(project: Project) -> None:
    project.write(project.blob, publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    theirs = f"{project.container}/web/1.0.0/notes.txt"
    project.blobs.request("PUT", theirs, headers={"x-ms-blob-type": "BlockBlob"}, data=b"keep me")
    project.still.content = "second"
    project.apply()

    assert read(project, "web/1.0.0/notes.txt") == b"keep me"
    for name in ("os.vhd", "manifest.json", "sbom.cdx.json"):
        with pytest.raises(HTTPError):
            read(project, f"web/1.0.0/{name}")
    assert project.decided().action == Action.NONE


def test_tests_hold_it_back_and_are_recorded(project: Project) -> None:
    project.write(f"{project.blob}\n    - {GALLERY}", more="test: [{provision: {}}]")
    project.still.passes = False
    with pytest.raises(BuildError, match="doesn't boot"):
        project.apply()
    assert json.loads(read(project, "web/1.0.0/manifest.json"))["tests"][0]["passed"] is False
    assert [item.step.kind for item in project.decided().steps] == ["still.test", "promote.blob", "promote.gallery"]
    project.still.passes = True
    project.apply()

    assert json.loads(read(project, "web/1.0.0/manifest.json"))["tests"][0]["passed"] is True
    assert project.decided().action == Action.NONE


def test_what_an_upload_left_is_no_version_and_is_gone_on_with(project: Project) -> None:
    project.apply()
    project.blobs.request("DELETE", f"{project.container}/web/1.0.0/manifest.json")

    assert project.decided().version == "1.0.0"
    project.apply()
    assert project.decided().action == Action.NONE


def test_a_version_that_lost_a_disk_is_published_again_under_its_number(project: Project) -> None:
    """As when only its manifest is restored of what a storage account keeps of deleted blobs."""
    project.apply()
    project.blobs.request("DELETE", f"{project.container}/web/1.0.0/os.vhd")

    assert (project.decided().action, project.decided().version) == (Action.BUILD, "1.0.0")
    project.apply()
    assert project.decided().action == Action.NONE
    assert project.blobs.vhd_size(f"{project.blobs.endpoint}/{project.container}/web/1.0.0/os.vhd") == 30 * GIB


def test_what_somebody_put_where_a_disk_was_is_left_alone(project: Project) -> None:
    project.apply()
    path = f"{project.container}/web/1.0.0/os.vhd"
    project.blobs.request("DELETE", path)
    project.blobs.request("PUT", path, headers={"x-ms-blob-type": "BlockBlob"}, data=b"theirs")

    with pytest.raises(BuildError) as caught:
        project.apply()
    assert caught.value.code == "blob-exists"
    assert read(project, "web/1.0.0/os.vhd") == b"theirs"


def test_a_manifest_that_came_back_without_its_disks_is_passed_by(project: Project) -> None:
    project.apply()
    project.blobs.request("DELETE", f"{project.container}/web/1.0.0/os.vhd")
    project.still.content = "second"

    assert project.apply().version == "1.0.1"
    assert project.decided().action == Action.NONE


def test_a_deletion_that_failed_half_way_is_planned_and_made_again(project: Project) -> None:
    project.still.luns = (2,)
    with storage_proxy(project.blobs.endpoint) as proxy:
        project.write(
            project.blob.replace(project.blobs.endpoint, proxy.endpoint),
            publish="version: auto\n  retain: {versions: 1}",
        )
        project.apply()
        project.still.content = "second"
        proxy.look = lambda request: (
            (409, "Nope") if request.method == "DELETE" and request.path.partition("?")[0].endswith("os.vhd") else None
        )
        with pytest.raises(BuildError, match="can't be changed"):
            project.apply()
        proxy.look = lambda request: None
        assert (project.decided().action, project.decided().retires) == (Action.RETIRE, ("1.0.0",))
        lease = {"comp": "lease"}
        begun = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
        project.blobs.request("PUT", f"{project.container}/web/1.0.0/os.vhd", lease, headers=begun)
        assert project.decided().action == Action.NONE
        ended = {"x-ms-lease-action": "break", "x-ms-lease-break-period": "0"}
        project.blobs.request("PUT", f"{project.container}/web/1.0.0/os.vhd", lease, headers=ended)
        project.apply()
        assert project.decided().action == Action.NONE

    assert b"/1.0.0/" not in project.blobs.request("GET", project.container, {"restype": "container", "comp": "list"})


def test_a_version_that_came_back_with_its_snapshots_is_retired_again(project: Project) -> None:
    """A blob that is restored has what was overwritten in it as snapshots."""
    project.write(project.blob, publish="version: auto\n  retain: {versions: 1}")
    project.apply()
    for name in ("os.vhd", "manifest.json"):
        project.blobs.request("PUT", f"{project.container}/web/1.0.0/{name}", {"comp": "snapshot"})
    project.still.content = "second"
    project.apply()

    assert b"/1.0.0/" not in project.blobs.request("GET", project.container, {"restype": "container", "comp": "list"})


def test_a_container_that_is_being_deleted_is_told(project: Project) -> None:
    with storage_proxy(project.blobs.endpoint) as proxy:
        proxy.look = lambda request: (
            (409, "ContainerBeingDeleted")
            if request.method == "PUT" and request.query("restype") == "container"
            else None
        )
        project.write(project.blob.replace(project.blobs.endpoint, proxy.endpoint))
        with pytest.raises(BuildError, match="is being deleted, and its name is taken") as caught:
            project.apply()
    assert caught.value.code == "container-being-deleted"


def test_a_gallery_publishes_from_the_blob(project: Project) -> None:
    project.apply()
    group = group_id(project.azure.subscription, "storage")
    project.azure.put(group, {"location": LOCATION}).wait()
    account = project.definition.parse(f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}")
    body = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    project.azure.put(account, body).wait()
    project.write(f"{project.blob}\n    - {GALLERY}")
    project.apply()
    source = project.version("1.0.0")["properties"]["storageProfile"]["osDiskImage"]["source"]

    assert source["uri"].endswith("/web/1.0.0/os.vhd")
    assert source["storageAccountId"] == str(account)
    assert project.decided().action == Action.NONE


@pytest.mark.parametrize("also", ["", "snapshot: {resourceGroup: shots, location: westeurope}\n    - "])
def test_a_gallery_takes_no_blob_of_another_subscription_s_account(project: Project, also: str) -> None:
    """Here the account is in none. What stands elsewhere as well is taken from there."""
    first = f"{project.blob}\n    - {also}".rstrip(" -\n")
    project.write(first)
    project.apply()
    project.write(f"{first}\n    - {GALLERY}")
    image = project.decided()

    if also:
        project.apply()
        source = project.version("1.0.0")["properties"]["storageProfile"]["osDiskImage"]["source"]
        assert source["id"].endswith("/snapshots/web-1.0.0-os")
    else:
        assert (image.action, [reason.code for reason in image.reasons]) == (Action.BLOCKED, ["needs-new-version"])


def test_records_in_a_container_hold_what_tags_can_not(project: Project) -> None:
    project.write(GALLERY, build=f"records: {{{project.blob}}}\n", more="test: [{provision: {}}]")
    project.apply()
    key = project.version("1.0.0")["tags"]["build-manifest"]
    manifest = json.loads(read(project, key))
    (destination,) = project.destinations()
    (seen,) = destination.observe(project.image()).versions

    assert key.startswith("manifests/web/1.0.0/")
    assert manifest["tests"][0]["passed"] is True
    assert seen.manifest is not None
    assert seen.manifest.inventory.packages[0].name == "nginx"
    project.still.content = "second"
    (reason,) = project.decided().reasons
    assert (reason.before, reason.after) == ("first", "second"), "what changed is told by the recorded steps"


def test_a_record_of_another_content_is_not_believed(project: Project) -> None:
    project.write(GALLERY, build="records: {directory: {path: records}}\n")
    project.apply()
    (path,) = (project.root / "records").rglob("*.json")
    path.write_text(path.read_text().replace('"digest"', '"other"', 1))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "sha256:" + "0" * 64}))

    assert project.decided().action == Action.NONE
