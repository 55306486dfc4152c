"""Disks that are made on this host, published to Azure by the command line: uploaded, kept whole, never sent twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.azure import Clock, Simulator
from tests.azure.blobs import ACCOUNT, KEY, Blobs
from tests.integration.apply import conftest as local
from tests.integration.apply.conftest import SPEC, Project
from tests.integration.azure.conftest import Recorder
from tests.integration.azure.test_gateway_login import with_secret

# The fixtures of local builds
tiny_disk, project = local.tiny_disk, local.project
# A version takes minutes; so fast does the simulator's time pass
SPEED = 200.0
GALLERY = "gallery: {resourceGroup: images, gallery: corp, definition: tiny, location: westeurope}"


@dataclass
class Cloud:
    """A simulated Azure, and the environment of somebody who is signed in to it."""

    azure: Simulator
    blobs: Blobs
    env: dict[str, str]
    container: str

    @property
    def blob(self) -> str:
        return f"blob: {{account: {ACCOUNT}, container: {self.container}, endpoint: '{self.blobs.endpoint}'}}"


@pytest.fixture
def cloud(recorder: Recorder, blobs: Blobs, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with Simulator(clock=Clock(speed=SPEED), blobs=blobs) as azure:
        env = with_secret(azure) | {
            "AZURE_SUBSCRIPTION_ID": azure.subscription, "AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY,
        }  # fmt: skip
        del env["PATH"]
        yield Cloud(azure, blobs, env, f"local-{request.node.name.replace('_', '-')[:40].strip('-')}")
        recorder.add(azure)


def write(project: Project, *destinations: str) -> None:
    listed = "".join(f"    - {destination}\n" for destination in destinations)
    project.write("tiny.image.yaml", SPEC.replace("    - directory: {path: gallery}\n", listed))


def test_one_build_goes_everywhere_and_nothing_stays_on_the_way(
    project: Project,
    cloud: Cloud,
) -> None:
    image = "managedImage: {resourceGroup: images, location: westeurope}"
    write(project, "directory: {path: gallery}", GALLERY, image, cloud.blob)
    done = project.apply(env=cloud.env)
    assert done.code == 0, done.text
    counts = cloud.azure.traffic.counts()

    assert project.versions() == ["1.0.0"]
    assert cloud.azure.resource("galleries/corp/images/tiny/versions/1.0.0").provisioning == "Succeeded"
    assert cloud.azure.resource("images/tiny-1.0.0").provisioning == "Succeeded"
    assert cloud.blobs.vhd_size(f"{cloud.blobs.endpoint}/{cloud.container}/tiny/1.0.0/os.vhd") == 48 * 1024 * 1024
    assert not [resource.id for resource in cloud.azure.state if resource.type == "Microsoft.Compute/disks"]
    granted, ended = (f"POST Microsoft.Compute/disks/{action}" for action in ("beginGetAccess", "endGetAccess"))
    assert counts[granted] == counts[ended] == 2
    again = project.build("plan", "--detailed-exitcode", env=cloud.env)
    assert again.code == 0, again.text


# Dies by SIGKILL when it has sent some pages
KILLED = """
import os, signal
from builder.azure.blobs import PageBlob
write, count = PageBlob.write, 0
def counted(*arguments, **options):
    global count
    write(*arguments, **options)
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
PageBlob.write = counted
"""


@pytest.mark.parametrize("where", ["disk", "blob"])
def test_an_upload_that_was_killed_is_gone_on_with(
    project: Project,
    cloud: Cloud,
    where: str,
) -> None:
    write(project, GALLERY if where == "disk" else cloud.blob)
    killed = project.apply(env=cloud.env, prelude=KILLED)
    assert killed.code == -9, killed.text
    done = project.apply(env=cloud.env)
    assert done.code == 0, done.text
    log = max((project.root / ".build/runs").iterdir()) / "tiny.log"
    told = re.search(r"(\d+) bytes sent, (\d+) were there", log.read_text())

    assert "captured it; testing and publishing remain" in done.text
    assert told is not None, log.read_text()
    assert int(told[2]) >= 2 * 512, "what the first two calls sent is not sent again"
