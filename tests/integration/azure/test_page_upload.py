"""Uploads of disks into page blobs, on Azurite, with what goes wrong on the way."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential

from builder.azure.blobs import PageBlob, Retry
from builder.azure.claim import FINISHED, Pace, Record
from builder.azure.pageblob import Manner, Uploaded, Verify, copy, upload
from builder.destinations.upload import vhd_source
from builder.errors import BuildError, Interrupted, Locked
from tests.azure import blobs as storage
from tests.azure.blobs import ACCOUNT, KEY, Blobs
from tests.integration.azure.checking import ROOT
from tests.integration.azure.storage_proxy import Seen, StorageProxy, storage_proxy

MIB = 1024 * 1024
SIZE = 64 * MIB
# Twelve pieces of 1 MiB, each in its own cell
PLACES = range(4 * MIB, SIZE, 5 * MIB)
PIECE = MIB
FOOTER = 512
SHORT = Pace(lease=15, every=0.2)
QUICK = Retry(first=0.01, longest=0.05)


@dataclass
class Place:
    """A container of one test, and a VHD to put there."""

    blobs: Blobs
    proxy: StorageProxy
    folder: Path
    vhd: Path

    def blob(self, name: str = "disk.vhd", *, stop: threading.Event | None = None) -> PageBlob:
        url = f"{self.proxy.endpoint}/{self.folder.name}/{name}"
        return PageBlob(url, credential=AzureNamedKeyCredential(ACCOUNT, KEY), retry=QUICK, stop=stop)

    def upload(self, blob: PageBlob | None = None, verify: Verify = Verify.SAMPLES, workers: int = 4) -> Uploaded:
        with vhd_source(self.vhd, work=self.folder) as disk:
            return upload(disk, blob or self.blob(), Manner(verify=verify, pace=SHORT, workers=workers))

    def spoil(self, offset: int, name: str = "disk.vhd") -> None:
        self.blobs.put_page(f"{self.folder.name}/{name}", offset, b"?" * 512)

    def holds(self, name: str = "disk.vhd") -> None:
        """Every byte of the blob is the VHD's."""
        blob = self.blob(name)
        step = 32 * MIB
        with self.vhd.open("rb") as file:
            size = file.seek(0, 2)
            for at in range(0, size, step):
                file.seek(at)
                assert blob.read(at, min(step, size - at)) == file.read(step), f"differs after byte {at}"


def make_vhd(path: Path, size: int, places: Iterator[int] | range, piece: int = PIECE) -> Path:
    chance = random.Random(7)
    with path.open("wb") as file:
        file.truncate(size)
        for at in places:
            file.seek(at)
            file.write(chance.randbytes(piece))
        file.seek(size)
        file.write(storage.vhd_footer(size))
    return path


@pytest.fixture
def place(blobs: Blobs, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    name = "c" + hashlib.md5(request.node.name.encode()).hexdigest()
    folder = tmp_path / name
    folder.mkdir()
    blobs.request("PUT", name, {"restype": "container"})
    with storage_proxy(blobs.endpoint) as proxy:
        yield Place(blobs, proxy, folder, make_vhd(folder / "disk.vhd", SIZE, PLACES))


DATA = len(PLACES) * PIECE + FOOTER


def hold_after(place: Place, count: int, *, drop: bool = False) -> threading.Event:
    """Let this many pieces through and hold the others until the event is set; then they may be dropped."""
    go = threading.Event()

    def look(request: Seen) -> tuple[int, str] | None:
        if request.page and request.start >= PLACES[count]:
            go.wait(60)
            return (500, "Dropped") if drop else None
        return None

    place.proxy.look = look
    return go


def test_only_data_is_sent_and_a_second_upload_sends_nothing(place: Place) -> None:
    done = place.upload()

    assert (done.sent, done.kept, done.data) == (DATA, 0, DATA)
    assert place.proxy.written == DATA
    assert all("content-md5" in request.headers for request in place.proxy.pages)
    assert place.proxy.pages[-1].start == SIZE, "the footer goes last"
    listings = sum(request.query("comp") == "pagelist" for request in place.proxy.seen)
    place.holds()
    assert sum(request.query("comp") == "pagelist" for request in place.proxy.seen) == listings, "reading lists nothing"
    again = place.upload()
    assert (again.sent, again.kept, again.digest) == (0, DATA, done.digest)
    assert place.proxy.written == DATA


def test_a_hole_is_its_footer(place: Place) -> None:
    make_vhd(place.vhd, SIZE, range(0))

    assert place.upload().sent == FOOTER
    assert place.proxy.written == FOOTER
    place.holds()


def killed(place: Place, after: int) -> int:
    """An upload that is killed when the service took `after` pieces and its record says so. Returns the bytes there."""
    go = hold_after(place, after, drop=True)
    url = f"{place.proxy.endpoint}/{place.folder.name}/disk.vhd"
    command = [sys.executable, "-m", "tests.integration.azure.uploading", url, str(place.vhd), "0.2"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        place.proxy.wait_for(lambda: sum(request.page for request in place.proxy.seen) == after)
        records = sum(request.metadata for request in place.proxy.seen)
        # The second record from now was begun after all those were answered
        place.proxy.wait_for(lambda: sum(request.metadata for request in place.proxy.seen) >= records + 2)
    finally:
        process.kill()
        process.wait()
        go.set()
    place.proxy.look = lambda request: None
    assert place.proxy.written == after * PIECE
    return after * PIECE


def test_what_was_there_when_it_was_killed_is_neither_sent_nor_read_again(place: Place) -> None:
    there = killed(place, 5)
    read = place.proxy.downloaded

    done = place.upload()

    assert (done.sent, done.kept, done.mended) == (DATA - there, there, 0)
    assert place.proxy.written == DATA
    samples = 13 * 64 * 1024
    assert place.proxy.downloaded - read <= samples + FOOTER
    place.holds()


def test_a_range_that_was_changed_after_the_kill_is_mended(place: Place) -> None:
    there = killed(place, 5)
    lease = {"x-ms-lease-action": "break", "x-ms-lease-break-period": "0"}
    place.blobs.request("PUT", f"{place.folder.name}/disk.vhd", {"comp": "lease"}, lease)
    place.spoil(PLACES[1] + 4096)
    place.spoil(2 * MIB)  # where the disk has nothing

    done = place.upload()

    assert (done.sent, done.kept, done.mended) == (DATA - there + PIECE, there - PIECE, PIECE)
    place.holds()


def test_another_disk_than_the_one_that_was_begun_replaces_it(place: Place) -> None:
    killed(place, 3)
    make_vhd(place.vhd, SIZE + MIB, range(5 * MIB, SIZE, 9 * MIB))

    place.upload()

    place.holds()


def test_a_stopped_upload_is_gone_on_with_at_once(place: Place) -> None:
    stop = threading.Event()
    go = hold_after(place, 6)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.upload, place.blob(stop=stop))
        place.proxy.wait_for(lambda: sum(request.page for request in place.proxy.seen) == 6)
        stop.set()
        go.set()
        with pytest.raises(Interrupted):
            running.result()
    there = place.proxy.written
    began = datetime.now(UTC)

    done = place.upload()

    assert (done.sent, done.kept) == (DATA - there, there)
    assert datetime.now(UTC) - began < timedelta(seconds=10), "it waited for its own lease"
    place.holds()


def test_of_two_uploads_at_once_one_wins_and_the_other_says_so(place: Place) -> None:
    go = hold_after(place, 2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(place.upload)
        place.proxy.wait_for(lambda: sum(request.page for request in place.proxy.seen) == 2)
        second = pool.submit(place.upload)
        with pytest.raises(Locked, match="another upload"):
            second.result()
        go.set()

        assert first.result().sent == DATA
    assert place.proxy.written == DATA
    place.holds()


def test_few_records_are_kept_where_each_stays_as_a_version(place: Place) -> None:
    """Azurite keeps no versions: the proxy says what a storage account that does says of a blob."""

    def lease(name: str) -> int:
        place.upload(place.blob(name))
        (asked,) = [item for item in place.proxy.seen if item.headers.get("x-ms-lease-action") == "acquire"]
        place.proxy.seen.clear()
        return int(asked.headers["x-ms-lease-duration"])

    assert lease("plain.vhd") == SHORT.lease
    place.proxy.more = {"x-ms-version-id": "2026-01-05T08:00:00.1234567Z"}
    assert lease("versioned.vhd") == SHORT.sparing().lease == 60


def test_what_was_spoilt_on_the_way_is_refused_and_sent_again(place: Place) -> None:
    spoilt: list[int] = []

    def look(request: Seen) -> None:
        if request.page and len(spoilt) < 2:
            spoilt.append(request.start)
            request.body = b"?" + request.body[1:]

    place.proxy.look = look

    done = place.upload(verify=Verify.EVERYTHING)

    assert done.retries == 2
    assert sum(request.status == 400 for request in place.proxy.seen) == 2
    place.holds()


def test_a_busy_service_is_asked_again(place: Place) -> None:
    refusals = iter([(503, "ServerBusy"), (500, "OperationTimedOut"), (503, "ServerBusy")])
    place.proxy.look = lambda request: next(refusals, None) if request.page else None

    done = place.upload()

    assert done.retries == 3
    assert place.proxy.written == DATA
    place.holds()


def test_a_service_that_stays_busy_is_told_and_the_upload_can_go_on(place: Place) -> None:
    place.proxy.look = lambda request: (503, "ServerBusy") if request.page and request.start >= PLACES[4] else None

    with pytest.raises(BuildError, match="ServerBusy \\(8 attempts\\)"):
        place.upload()
    place.proxy.look = lambda request: None

    assert place.upload().kept == 4 * PIECE
    assert place.proxy.written == DATA


def test_an_answer_that_breaks_off_is_asked_for_again(place: Place) -> None:
    place.upload()
    # The SDK itself asks three times
    breaks = iter([True] * 4)
    place.proxy.breaks_off = lambda request: request.download and next(breaks, False)
    blob = place.blob()

    assert blob.read(PLACES[0], PIECE) == place.vhd.read_bytes()[PLACES[0] : PLACES[0] + PIECE]
    assert blob.retries == 1


@pytest.mark.parametrize(("verify", "noticed"), [(Verify.EVERYTHING, True), (Verify.SAMPLES, False)])
def test_what_changes_after_it_was_sent_is_noticed(place: Place, verify: Verify, noticed: bool) -> None:
    """Samples are the first 64 KiB of a range; everything is everything."""
    done = place.upload()
    place.spoil(PLACES[2] + PIECE - 4096)

    if not noticed:
        assert place.upload(verify=verify).digest == done.digest
        place.spoil(PLACES[2])
    with pytest.raises(BuildError) as caught:
        place.upload(verify=verify)
    assert caught.value.code == "upload-corrupt"
    assert str(PLACES[2]) in caught.value.message


def test_pages_that_the_disk_has_not_are_noticed(place: Place) -> None:
    place.upload()
    place.spoil(2 * MIB)

    with pytest.raises(BuildError, match=f"512 bytes at {2 * MIB}"):
        place.upload()


def test_another_disk_is_never_written_over(place: Place) -> None:
    place.upload()
    make_vhd(place.vhd, SIZE, range(5 * MIB, SIZE, 9 * MIB))
    written = place.proxy.written

    with pytest.raises(BuildError, match="holds another disk"):
        place.upload()
    assert place.proxy.written == written
    facts = place.blob().facts()
    assert facts is not None
    assert (Record.parse(facts.metadata) or Record("")).state == FINISHED


@pytest.mark.parametrize("kind", ["PageBlob", "BlockBlob"])
def test_a_strangers_blob_is_never_written_to(place: Place, kind: str) -> None:
    path = f"{place.folder.name}/disk.vhd"
    if kind == "PageBlob":
        place.blobs.create_page_blob(path, SIZE + FOOTER)
    else:
        place.blobs.request("PUT", path, headers={"x-ms-blob-type": kind}, data=b"theirs")

    with pytest.raises(BuildError) as caught:
        place.upload()
    assert caught.value.code == "blob-exists"
    assert not place.proxy.pages


def test_a_signature_that_ends_on_the_way_is_renewed(place: Place) -> None:
    path = f"{place.folder.name}/disk.vhd"
    # A blob's own signature can't make it
    place.upload()
    place.blobs.request("DELETE", path, headers={"x-ms-delete-snapshots": "include"})
    place.blobs.create_page_blob(path, SIZE + FOOTER)
    asked: list[str] = []

    def signed(seconds: float) -> str:
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        found = place.blobs.sas(path, "rw", end)
        asked.append(found)
        return found.replace(place.blobs.endpoint, place.proxy.endpoint)

    ended = threading.Event()
    go = hold_after(place, 3)
    blob = PageBlob(signed(3), renew=lambda: signed(3600), given=True, retry=QUICK)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.upload, blob)
        ended.wait(4.5)
        go.set()
        done = running.result()

    assert len(asked) == 2
    assert any(request.status == 403 for request in place.proxy.seen)
    assert done.sent == DATA
    place.holds()


def test_a_signature_that_ended_and_has_no_successor_is_told_without_it(place: Place) -> None:
    signature = "sv=2021-08-06&se=2020-01-01T00%3A00%3A00Z&sr=b&sp=rw&sig=c2VjcmV0"
    url = f"{place.blobs.endpoint}/{place.folder.name}/disk.vhd?{signature}"

    with pytest.raises(BuildError) as caught:
        place.upload(PageBlob(url, given=True, retry=QUICK))
    assert caught.value.code == "blob-forbidden"
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.detail} {caught.value.hint}"


def test_a_blob_is_copied_through_here_where_the_service_cannot(place: Place) -> None:
    made = place.upload()
    source = PageBlob(place.blobs.sas(f"{place.folder.name}/disk.vhd"), retry=QUICK)

    done = copy(source, place.blob("copy.vhd"), Manner(pace=SHORT))

    assert (done.how, done.sent, done.digest) == ("through here", DATA, made.digest)
    assert any(request.status == 501 for request in place.proxy.seen)
    place.holds("copy.vhd")


def test_a_source_that_the_service_cannot_read_is_copied_through_here(place: Place) -> None:
    place.upload()
    source = PageBlob(place.blobs.sas(f"{place.folder.name}/disk.vhd"), retry=QUICK)
    place.proxy.look = lambda request: (
        (403, "CannotVerifyCopySource") if "x-ms-copy-source" in request.headers else None
    )

    assert copy(source, place.blob("copy.vhd"), Manner(pace=SHORT)).how == "through here"
    place.holds("copy.vhd")


def test_a_service_that_copies_moves_no_bytes_through_here(place: Place) -> None:
    """The proxy does what Azure does with "Put Page From URL": Azurite can't."""
    place.upload()
    source = PageBlob(place.blobs.sas(f"{place.folder.name}/disk.vhd"), retry=QUICK)
    copied: list[int] = []
    before = place.proxy.written

    def look(request: Seen) -> tuple[int, str] | None:
        address = request.headers.pop("x-ms-copy-source", "")
        if address:
            start, last = map(int, request.headers["x-ms-source-range"].removeprefix("bytes=").split("-"))
            data = PageBlob(address).read(start, last + 1 - start)
            lease = request.headers["x-ms-lease-id"]
            md5 = hashlib.md5(data).digest()
            direct = f"{place.blobs.endpoint}/{place.folder.name}/copy.vhd"
            key = AzureNamedKeyCredential(ACCOUNT, KEY)
            PageBlob(direct, credential=key).write(start, data, md5, lease=lease)
            copied.append(len(data))
            return 201, ""
        return None

    place.proxy.look = look
    done = copy(source, place.blob("copy.vhd"), Manner(pace=SHORT, verify=Verify.EVERYTHING))

    assert (done.how, done.sent) == ("service", DATA)
    assert sum(copied) == DATA
    assert place.proxy.written == before
    place.holds("copy.vhd")


def test_a_tebibyte_with_little_in_it_needs_little_memory(place: Place) -> None:
    size = 1024**4
    places = range(0, size, 22 * 1024 * MIB)
    make_vhd(place.vhd, size, places)
    url = f"{place.proxy.endpoint}/{place.folder.name}/disk.vhd"
    command = [sys.executable, "-m", "tests.integration.azure.uploading", url, str(place.vhd), "5"]

    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    sent, kept, peak = map(int, done.stdout.split())
    assert (sent, kept) == (len(places) * PIECE + FOOTER, 0)
    assert peak < 200
    for at in places[::8]:
        with place.vhd.open("rb") as file:
            file.seek(at)
            assert place.blob().read(at, PIECE) == file.read(PIECE)
