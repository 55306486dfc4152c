"""`build gc` where images are made on this machine and published to Azure: uploads that nobody finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.azure import tags
from builder.azure.ids import ResourceId, compute
from builder.records.store import Store
from tests.azure import Clock, Simulator
from tests.integration.azure.checking import ROOT
from tests.integration.azure.conftest import Recorder
from tests.integration.azure.connection import connected
from tests.integration.azure.examples_world import variables

OTHER = "22222222-2222-4333-8444-555555555555"
DAY = 24 * 3600.0
SPEC = """\
name: {name}
os: {{family: linux, distribution: debian, release: "12"}}
source: {{file: {{path: disk.raw}}}}
machine: {{local: {{}}}}
publish: {{to: [{to}]}}
"""
GALLERY = "{{gallery: {{resourceGroup: images, gallery: corp, definition: {name}, regions: [westeurope]{more}}}}}"
DIRECTORY = "{directory: {path: gallery}}"


@dataclass
class Desk:
    """A project, a subscription, and somebody at the command line."""

    azure: Simulator
    project: Path
    environment: dict[str, str]

    def write(self, name: str, to: str) -> None:
        (self.project / f"{name}.image.yaml").write_text(SPEC.format(name=name, to=to), encoding="utf-8")

    def gc(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "builder", "gc", *arguments], cwd=self.project, env=self.environment | environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def upload(self, name: str, expires: float, subscription: str = "") -> ResourceId:
        """What a killed upload left, of use until `expires` seconds from now."""
        azure = connected(self.azure)
        id = compute(subscription or azure.subscription, "images", "disks", name)
        if azure.find(id.group_id) is None:
            azure.put(id.group_id, {"location": "westeurope"}).wait()
        # The command line goes by this host's clock
        marks = tags.ours(run="20260101t000000-abcdef", image="web", expires=time.time() + expires)
        marks[tags.DIGEST] = "1"
        creation = {"createOption": "Upload", "uploadSizeBytes": (20 << 20) + 512}
        azure.put(id, {"location": "westeurope", "tags": marks, "properties": {"creationData": creation}}).wait()
        return id

    def there(self, *ids: ResourceId) -> list[str]:
        return [id.name for id in ids if connected(self.azure).find(id) is not None]

    def old_download(self) -> Path:
        """Something local that gc removes."""
        sources = Store(self.project / ".build").sources
        sources.mkdir(parents=True)
        download = sources / f"{1:064}"
        download.write_text("x", encoding="utf-8")
        os.utime(download, (time.time() - 40 * DAY,) * 2)
        return download


@pytest.fixture
def desk(tmp_path: Path, recorder: Recorder) -> Iterator[Desk]:
    (tmp_path / "build.yaml").write_text("specs: ['*.image.yaml']\n", encoding="utf-8")
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with Simulator(clock=Clock(speed=60)) as azure:
        azure.cloud.subscriptions[OTHER] = "Production"
        yield Desk(azure, tmp_path, environment | variables(azure) | {"PYTHONPATH": str(ROOT)})
        recorder.add(azure)


def test_expired_uploads_go_from_every_subscription_that_images_are_published_to(desk: Desk) -> None:
    desk.write("web", GALLERY.format(name="web", more=""))
    desk.write("prod", GALLERY.format(name="prod", more=f", subscription: {OTHER}"))
    gone = [desk.upload("build-upload-01", -10), desk.upload("build-upload-02", -10, OTHER)]
    young = desk.upload("build-upload-03", DAY)
    shown = desk.gc("--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert desk.there(*gone, young) == ["build-upload-01", "build-upload-02", "build-upload-03"]
    done = desk.gc()
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown.stdout.replace("Would remove", "Removed")
    for name in ("build-upload-01", "build-upload-02"):
        assert done.stdout.count(f"- disks/{name} of run 20260101t000000-abcdef (its time is over)\n") == 1
    assert desk.there(*gone, young) == ["build-upload-03"]


def test_what_is_local_is_cleaned_when_nobody_is_signed_in(desk: Desk) -> None:
    desk.write("web", GALLERY.format(name="web", more=""))
    desk.write("app", GALLERY.format(name="app", more=""))
    download = desk.old_download()
    done = desk.gc(AZURE_CLIENT_SECRET="", AZURE_CLIENT_ID="", PATH="/nowhere")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was not looked at") == 1, done.stderr
    assert done.stderr.startswith("warning: subscription 11111111-")
    assert not download.exists()


def test_a_project_without_azure_asks_nothing_of_it(desk: Desk) -> None:
    desk.write("web", DIRECTORY)
    download = desk.old_download()
    done = desk.gc()

    assert (done.returncode, done.stderr) == (0, "")
    assert not download.exists()
    assert not desk.azure.traffic.counts()
