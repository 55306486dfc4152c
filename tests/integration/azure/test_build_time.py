"""A build takes as long as what Azure does one after the other, and a tenth more: nothing waits that need not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.azure.guests import Scripted
from tests.integration.azure.building import GALLERY, SERVER, WINDOWS, Build
from tests.integration.azure.windows_answers import answer_all, marker
from tests.unit.guest.windows.test_inventory import TOLD

# Names of latencies: a list's one after the other, a tuple's side by side
Path_ = str | list["Path_"] | tuple["Path_", ...]

COMMAND: Path_ = ["runCommands.put", "script"]
NETWORK: Path_ = [("virtualNetworks.put", "networkSecurityGroups.put"), "networkInterfaces.put"]
MACHINE: Path_ = [NETWORK, "virtualMachines.put"]
# A machine that goes on where another was: Azure doesn't wait for its agent
FROM_SNAPSHOTS: Path_ = [(NETWORK, "disks.copy"), "virtualMachines.put", "virtualMachines.agent"]
CAPTURE: Path_ = ["virtualMachines.deallocate", "snapshots.put"]
VERSION: Path_ = ["galleries.put", "definitions.put", "versions.put"]
STEPS = """\
prepare:
  - files: [{path: /etc/web.conf, content: "one\\n"}]
  - run: {command: cat /etc/web.conf > /etc/made, checkpoint: true}
  - run: echo "$(cat /etc/made) two" > /etc/both
"""
MANAGED = "{managedImage: {resourceGroup: images, location: westeurope}}"


def seconds(azure: Simulator, path: Path_) -> float:
    """How long a path takes."""
    if isinstance(path, str):
        return azure.cloud.seconds(path)
    lengths = [seconds(azure, part) for part in path]
    return sum(lengths) if isinstance(path, list) else max(lengths)


def linux(build: Build, capture: str = "osImage") -> None:
    build.write(f"{STEPS}capture: {{kind: {capture}}}\n")


def windows(build: Build) -> None:
    answer_all(build.simulator, TOLD)
    facts = 'ID="windows"\r\nVERSION_ID="10.0.20348"\r\nbuild: architecture AMD64\r\n'
    build.simulator.guests.answer(Scripted(marker("what this machine is"), output=facts))
    build.write("prepare:\n  - run: Write-Output hello\n", os=WINDOWS, source=SERVER)


def data_disks(build: Build) -> None:
    build.simulator.guests.answer(Scripted(r"device_of\(\)", output="LUN 0 (/dev/sdc) is /data\n"))
    disks = "disks: {data: [{lun: 0, size: 8GiB, filesystem: ext4, mount: /data}, {lun: 1, size: 8GiB}]}\n"
    build.write(f"{disks}capture: {{kind: vmImage}}\n")


def from_checkpoint(build: Build) -> None:
    linux(build)
    build.apply()
    build.simulator.clock.advance(60)  # the snapshots' data are copied in the background
    build.write(STEPS.replace("two", "three") + "capture: {kind: osImage}\n")
    assert [item.action for item in build.decided().steps[:4]] == ["reuse", "reuse", "reuse", "run"]


def three_regions(build: Build) -> None:
    build.write(STEPS, gallery=GALLERY.replace("[westeurope]", "[westeurope, northeurope, eastus]"))


def three_destinations(build: Build) -> None:
    blobs = build.simulator.blobs
    assert blobs is not None
    blob = f"{{blob: {{account: {ACCOUNT}, container: build-time, endpoint: '{blobs.endpoint}'}}}}"
    build.write(STEPS, publish=f"{{to: [{MANAGED}, {blob}, {{gallery: {GALLERY}}}]}}")


@dataclass(frozen=True)
class Row:
    """A build: how it is written, what has to happen one after the other, and how many scripts are run in its VM."""

    name: str
    write: Callable[[Build], None]
    path: Path_
    commands: int


# What a guest is; its steps; what it holds; the script that takes its identity out. A snapshot comes before that one
ROWS = (
    Row("Linux, OS image", linux,
        [MACHINE, *[COMMAND] * 4, "snapshots.put", *[COMMAND] * 2, "snapshots.put", CAPTURE, VERSION], 6),
    Row("Windows", windows,
        [MACHINE, *[COMMAND] * 2, "snapshots.put", *[COMMAND] * 2, "runCommands.put", "sysprep", CAPTURE, VERSION], 5),
    Row("Linux, VM image with data disks", data_disks,
        [MACHINE, *[COMMAND] * 2, "snapshots.put", *[COMMAND] * 2, CAPTURE, VERSION], 4),
    Row("from a checkpoint", from_checkpoint,
        [FROM_SNAPSHOTS, *[COMMAND] * 2, "snapshots.put", *[COMMAND] * 2, CAPTURE, "versions.put"], 4),
    Row("three regions", three_regions,
        [MACHINE, *[COMMAND] * 4, "snapshots.put", *[COMMAND] * 2, "snapshots.put", CAPTURE, VERSION,
         "versions.region"], 6),
    Row("three destinations", three_destinations,
        [MACHINE, *[COMMAND] * 4, "snapshots.put", *[COMMAND] * 2, "snapshots.put", CAPTURE,
         (VERSION, "images.put"), *["snapshots.access"] * 2], 6),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_time_is_that_of_the_operations(
    row: Row, azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = azure_with_blobs
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    build = Build(tmp_path, azure, monkeypatch)
    row.write(build)
    plan = build.plan()
    assert not plan.blocked, plan.blocked[0].reasons
    mark, before = len(azure.traffic.pairs), azure.clock.elapsed
    build.carry_out(plan)
    took = azure.clock.elapsed - before
    least = seconds(azure, row.path)
    assert azure.traffic.counts(mark)["PUT Microsoft.Compute/virtualMachines/runCommands"] == row.commands
    assert least <= took <= 1.1 * least, took / least
