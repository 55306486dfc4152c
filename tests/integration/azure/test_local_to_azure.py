"""Disks that are made on this host, published to Azure by the command line: what was sent is never sent twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from builder.azure import tags
from builder.azure.cleanup import left_overs
from builder.azure.ids import ResourceId, compute
from tests.azure import Clock, Simulator
from tests.azure.blobs import ACCOUNT, KEY, Blobs
from tests.integration.apply import conftest as local
from tests.integration.apply.conftest import SPEC, Project
from tests.integration.azure.conftest import Recorder
from tests.integration.azure.connection import connected
from tests.integration.azure.test_gateway_login import with_secret

# The fixtures of local builds
tiny_disk, project = local.tiny_disk, local.project
# A version takes minutes; so fast does the simulator's time pass
SPEED = 200.0
# The command line's pauses between two looks pass as fast
HURRIED = f"""
from builder.azure.clock import RealClock
pause = RealClock.sleep
RealClock.sleep = lambda self, seconds, stop=None: pause(self, seconds / {SPEED}, stop)
"""
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


# Writes down what the service took; dies by SIGKILL after so many calls
COUNTED = """
import os, signal
from builder.azure.blobs import PageBlob
write, left = PageBlob.write, {calls}
def counted(blob, offset, data, md5, *, lease):
    global left
    write(blob, offset, data, md5, lease=lease)
    with open({file!r}, "a") as file:
        print(len(data), file=file, flush=True)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
PageBlob.write = counted
"""


def expired_upload(cloud: Cloud) -> ResourceId:
    """What a killed upload of the same image left there days ago."""
    gateway = connected(cloud.azure)
    id = compute(gateway.subscription, "images", "disks", "build-upload-0123")
    found = tags.ours(run="20200101t000000-abcdef", image="tiny", expires=0.0, extra={tags.DIGEST: "1"})
    creation = {"createOption": "Upload", "uploadSizeBytes": (20 << 20) + 512}
    body = {"location": "westeurope", "tags": found, "properties": {"creationData": creation}}
    gateway.put(id, body).wait()
    gateway.post(id, "beginGetAccess", {"access": "Write", "durationInSeconds": 3600}).wait()
    return id


@pytest.mark.parametrize("where", ["disk", "blob"])
def test_an_upload_that_was_killed_is_gone_on_with(
    project: Project,
    cloud: Cloud,
    where: str,
) -> None:
    write(project, GALLERY if where == "disk" else cloud.blob)
    counts = [project.root / name for name in ("first", "second")]
    first, second = (COUNTED.format(calls=calls, file=str(file)) for calls, file in zip((2, -1), counts, strict=True))
    killed = project.apply(env=cloud.env, prelude=HURRIED + first)
    assert killed.code == -9, killed.text
    # What was sent is of use until its time is over, although its run is dead
    assert not left_overs(connected(cloud.azure), lambda run: False)
    expired = expired_upload(cloud) if where == "disk" else None
    done = project.apply(env=cloud.env, prelude=HURRIED + second)
    assert done.code == 0, done.text
    log = max((project.root / ".build/runs").iterdir()) / "tiny.log"
    told = re.search(r"(\d+) bytes sent, (\d+) were there", log.read_text())
    before, after = (sum(map(int, file.read_text().split())) for file in counts)

    assert "captured it; testing and publishing remain" in done.text
    assert told is not None, log.read_text()
    assert after == int(told[1])
    # The service may have taken calls that were on their way when it was killed
    assert 2 * 512 <= before <= int(told[2]), "what the first run sent is not sent again"
    assert expired is None or connected(cloud.azure).find(expired) is None
