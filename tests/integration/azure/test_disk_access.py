"""Uploads into managed disks and copies out of them, on the simulator and Azurite."""

from __future__ import annotations

import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential

from builder.azure import tags
from builder.azure.blobs import PageBlob
from builder.azure.disk_access import UPLOADED, UPLOADING, access, copy_disk, upload_disk
from builder.azure.ids import ResourceId
from builder.azure.pageblob import Manner, Uploaded
from builder.destinations.upload import vhd_source
from builder.errors import BuildError, Interrupted
from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.integration.azure.connection import connected
from tests.integration.azure.test_page_upload import DATA, FOOTER, PIECE, PLACES, SIZE, make_vhd

LOCATION = "westeurope"
TAGS = {**tags.ours(run="20260105-080000-abcd", image="web"), tags.DIGEST: "sha256:1"}
BODY: dict[str, Any] = {
    "location": LOCATION,
    "sku": {"name": "Standard_LRS"},
    "tags": TAGS,
    "properties": {"osType": "Linux", "hyperVGeneration": "V2"},
}


@pytest.fixture
def disk(azure_with_blobs: Simulator) -> ResourceId:
    subscription = azure_with_blobs.subscription
    group = ResourceId(subscription, "images")
    connected(azure_with_blobs).put(group, {"location": LOCATION}).wait()
    return ResourceId(subscription, "images", "Microsoft.Compute", ("disks",), ("web-os",))


@pytest.fixture
def vhd(tmp_path: Path) -> Path:
    return make_vhd(tmp_path / "disk.vhd", SIZE, PLACES)


def put(azure: Simulator, disk: ResourceId, vhd: Path, **options: Any) -> Uploaded | None:
    with vhd_source(vhd, work=vhd.parent) as source:
        return upload_disk(connected(azure), disk, source, BODY, **options)


def same(azure: Simulator, disk: ResourceId, vhd: Path) -> None:
    with access(connected(azure), disk, write=False) as sign:
        assert PageBlob(sign()).read(0, SIZE + FOOTER) == vhd.read_bytes()


def test_a_disk_holds_what_was_uploaded_and_gives_it_back(
    azure_with_blobs: Simulator, disk: ResourceId, vhd: Path
) -> None:
    done = put(azure_with_blobs, disk, vhd)

    assert done is not None
    assert (done.sent, done.data) == (DATA, DATA)
    found = connected(azure_with_blobs).get(disk)
    assert found["properties"]["diskState"] == "Unattached"
    assert found["tags"] == {**TAGS, tags.STATE: UPLOADED}
    same(azure_with_blobs, disk, vhd)
    assert put(azure_with_blobs, disk, vhd) is None


def test_a_copy_of_a_disk_ends_its_access(azure_with_blobs: Simulator, disk: ResourceId, vhd: Path) -> None:
    put(azure_with_blobs, disk, vhd)
    blobs = azure_with_blobs.cloud.blobs
    assert blobs is not None
    blobs.request("PUT", "copies", {"restype": "container"})
    target = PageBlob(f"{blobs.endpoint}/copies/web.vhd", credential=AzureNamedKeyCredential(ACCOUNT, KEY))

    done = copy_disk(connected(azure_with_blobs), disk, target)

    assert done.how == "through here"
    assert target.read(0, SIZE + FOOTER) == vhd.read_bytes()
    assert connected(azure_with_blobs).get(disk)["properties"]["diskState"] == "Unattached"


def refused(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False


def test_an_access_ends_with_its_block_even_by_an_error(
    azure_with_blobs: Simulator, disk: ResourceId, vhd: Path
) -> None:
    put(azure_with_blobs, disk, vhd)
    seen: list[str] = []

    with pytest.raises(ZeroDivisionError), access(connected(azure_with_blobs), disk, write=False) as sign:
        seen.append(sign())
        assert not refused(seen[0])
        seen.append(str(1 / 0))

    assert refused(seen[0])


def stopping(after: int, stop: threading.Event) -> Callable[[int, int], None]:
    return lambda done, total: stop.set() if done >= after else None


def test_an_upload_that_was_stopped_is_gone_on_with(azure_with_blobs: Simulator, disk: ResourceId, vhd: Path) -> None:
    """Its access is not ended: the disk would take no more writes, and look whole."""
    stop = threading.Event()

    with pytest.raises(Interrupted):
        put(azure_with_blobs, disk, vhd, manner=Manner(progress=stopping(3 * PIECE, stop), workers=1), stop=stop)
    left = connected(azure_with_blobs).get(disk)
    done = put(azure_with_blobs, disk, vhd)

    assert (left["properties"]["diskState"], left["tags"][tags.STATE]) == ("ActiveUpload", UPLOADING)
    assert done is not None
    assert (done.sent, done.kept) == (DATA - 3 * PIECE, 3 * PIECE)
    same(azure_with_blobs, disk, vhd)


def half(azure: Simulator, disk: ResourceId, vhd: Path, state: str = UPLOADING, size: int = SIZE + FOOTER) -> None:
    """A disk that a killed upload left: it takes writes, and has three pieces."""
    gateway = connected(azure)
    creation = {"createOption": "Upload", "uploadSizeBytes": size}
    gateway.put(disk, {**BODY, "tags": {**TAGS, tags.STATE: state}, "properties": {"creationData": creation}}).wait()
    given = {"access": "Write", "durationInSeconds": 3600}
    sas = gateway.post(disk, "beginGetAccess", given).wait()["accessSAS"]
    blob = PageBlob(sas, given=True)
    with vhd_source(vhd, work=vhd.parent) as source:
        for at in PLACES[:3]:
            data = source.read(at, PIECE)
            blob.write(at, data, hashlib.md5(data).digest(), lease=None)


def test_a_killed_upload_is_gone_on_with(azure_with_blobs: Simulator, disk: ResourceId, vhd: Path) -> None:
    half(azure_with_blobs, disk, vhd)

    done = put(azure_with_blobs, disk, vhd)

    assert done is not None
    assert (done.sent, done.kept) == (DATA - 3 * PIECE, 3 * PIECE)
    same(azure_with_blobs, disk, vhd)


def test_a_half_disk_that_takes_no_writes_is_made_anew(
    azure_with_blobs: Simulator, disk: ResourceId, vhd: Path
) -> None:
    half(azure_with_blobs, disk, vhd)
    connected(azure_with_blobs).post(disk, "endGetAccess").wait()

    done = put(azure_with_blobs, disk, vhd)

    assert done is not None
    assert (done.sent, done.kept) == (DATA, 0)
    same(azure_with_blobs, disk, vhd)


def test_a_disk_of_another_size_is_made_anew(azure_with_blobs: Simulator, disk: ResourceId, vhd: Path) -> None:
    half(azure_with_blobs, disk, vhd, size=2 * SIZE + FOOTER)

    done = put(azure_with_blobs, disk, vhd)

    assert done is not None
    assert done.kept == 0
    same(azure_with_blobs, disk, vhd)


@pytest.mark.parametrize("found", [{}, {"owner": "someone"}, {**TAGS, tags.DIGEST: "sha256:2", tags.STATE: UPLOADED}])
def test_another_disk_is_left_alone(
    azure_with_blobs: Simulator, disk: ResourceId, vhd: Path, found: dict[str, str]
) -> None:
    gateway = connected(azure_with_blobs)
    theirs = {**BODY, "tags": found, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}
    before = gateway.put(disk, theirs).wait()

    with pytest.raises(BuildError) as caught:
        put(azure_with_blobs, disk, vhd)

    assert caught.value.code == "disk-exists"
    assert gateway.get(disk) == before
