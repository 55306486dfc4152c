"""Builds of other kinds: Windows with Sysprep, copies of a machine, versions that are tested, and runs that died."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from builder.apply.elsewhere import clean_elsewhere
from builder.azure import cleanup
from builder.azure.ids import compute
from builder.errors import BuildError
from builder.machines.azure.deep import FOUND
from builder.machines.azure.machine import AzureMachine
from builder.model.cleaning import Cleaned, Keep
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.azure.guests import Scripted
from tests.integration.azure.building import SERVER, WINDOWS, Build
from tests.integration.azure.windows_answers import FACTS, answer_all, marker
from tests.unit.guest.windows.test_inventory import TOLD


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(tmp_path, azure, monkeypatch)


@pytest.fixture
def windows(azure: Simulator, build: Build) -> Build:
    answer_all(azure, TOLD)
    azure.guests.answer(Scripted(marker("what this machine is"), output=FACTS))
    build.write("prepare:\n  - run: Write-Output hello\n", os=WINDOWS, source=SERVER)
    return build


def test_windows_is_sealed_and_published(azure: Simulator, windows: Build) -> None:
    assert windows.apply().version == "1.0.0"
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert (tree.image_state, tree.sysprep_runs) == ("IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", 1)
    assert "run done" in windows.log
    assert azure.resource("versions/1.0.0").body["properties"]["provisioningState"] == "Succeeded"
    (version,) = windows.plan_destination().versions
    assert version.manifest is not None
    assert windows.decided().action == Action.NONE


def test_sysprep_that_hangs_is_ended_and_its_checkpoint_stays(azure: Simulator, windows: Build) -> None:
    azure.guests.answer(
        Scripted(marker("sysprep"), hangs=True, stages=((20, "Panther: waiting for a program\r\n"),), seconds=math.inf)
    )
    before = azure.clock.elapsed
    with pytest.raises(BuildError) as caught:
        windows.apply()
    assert caught.value.code == "step-timeout"
    assert "Panther: waiting for a program" in (caught.value.detail or "")
    assert azure.clock.elapsed - before < 4 * 3600
    azure.clock.advance(120)
    assert windows.groups() == ["build-checkpoints-westeurope"]
    assert [item.action for item in windows.decided().steps[:3]] == ["reuse", "reuse", "run"]


def test_a_copy_of_a_machine_with_its_data_disks(azure: Simulator, build: Build) -> None:
    build.world.group("corp")
    build.world.vm("original", luns=(0, 3))
    tree = azure.resource("virtualMachines/original").hidden["facts"].tree
    (tree.path / "etc/original").write_text("here\n")
    build.write(
        "prepare:\n  - run: echo copied >> /etc/original\ngeneralize: false\ncapture: {kind: vmImage}\n",
        source="{vm: {resourceGroup: corp, name: original}}",
    )
    assert build.apply().version == "1.0.0"
    version = azure.resource("images/web/versions/1.0.0")
    assert version.hidden["facts"].tree.text("/etc/original") == "here\ncopied\n"
    assert [disk["lun"] for disk in version.body["properties"]["storageProfile"]["dataDiskImages"]] == [0, 3]
    # The original runs on, as it was
    original = azure.resource("virtualMachines/original")
    assert (original.hidden["power"], original.hidden["generalized"]) == ("running", False)
    assert tree.text("/etc/original") == "here\n"
    machines = [pair for pair in azure.traffic.pairs if pair.operation == "PUT Microsoft.Compute/virtualMachines"]
    assert "osProfile" not in machines[-1].request_body["properties"]


def test_data_disks_are_made_with_the_machine(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted(r"device_of\(\)", output="LUN 2 (/dev/sdc) is /data\n"))
    build.write("disks: {os: {size: 64GiB}, data: [{lun: 2, size: 8GiB, filesystem: ext4, mount: /data}]}\n"
                "capture: {kind: vmImage}\n")  # fmt: skip
    assert build.apply().version == "1.0.0"
    profile = azure.resource("images/web/versions/1.0.0").body["properties"]["storageProfile"]
    assert [(disk["lun"], disk["sizeInGB"]) for disk in profile["dataDiskImages"]] == [(2, 8)]
    assert profile["osDiskImage"]["sizeInGB"] == 64


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("looking at /dev/sdc1\n", 0),
        ("/etc/x: is still there\n", FOUND),
        ("no filesystem\n", 11),
        ("no program\n", 127),
    ],
)
def test_a_captured_disk_is_looked_at_from_another_machine(
    azure: Simulator, build: Build, said: str, code: int
) -> None:
    azure.guests.answer(Scripted("unshare --mount", output=said, exit_code=code, machine="build-verify"))
    build.write(machine="{location: westeurope, verify: deep}")
    if code:
        with pytest.raises(BuildError, match="the captured disk") as caught:
            build.apply()
        expected = "not-generalized" if code == FOUND else "not-looked-at"
        assert (caught.value.code, caught.value.detail) == (expected, said.strip())
        assert build.decided().action == Action.BUILD
        azure.clock.advance(60)
        assert [item for item in azure.state.of_type(SNAPSHOT) if "build-digest" in item.body["tags"]] == []
    else:
        assert build.apply().version == "1.0.0"
        assert said.strip() in build.log
    attached = [pair.request_body["properties"]["storageProfile"]["dataDisks"] for pair in azure.traffic.pairs
                if pair.operation == "PATCH Microsoft.Compute/virtualMachines"]  # fmt: skip
    assert [[disk["createOption"] for disk in disks] for disks in attached] == [["Attach"]]


@pytest.mark.parametrize("generalize", ["{}", "false"])
def test_an_image_on_another_of_the_project(azure: Simulator, build: Build, generalize: str) -> None:
    base = (build.root / "web.image.yaml").read_text().replace("web", "base")
    base += f"generalize: {generalize}\nprepare:\n  - run: echo base > /etc/base\n"
    (build.root / "base.image.yaml").write_text(base)
    build.write('prepare:\n  - run: echo "$(cat /etc/base) web" > /etc/both\n', source="{image: base}")
    assert build.apply().image == "web"
    assert azure.resource("images/base/versions/1.0.0").hidden["facts"].tree.text("/etc/base") == "base\n"
    assert azure.resource("images/web/versions/1.0.0").hidden["facts"].tree.text("/etc/both") == "base web\n"
    assert {item.action for item in build.plan().images} == {Action.NONE}


CHECKS = "test:\n  - provision: {}\n  - run: test -f /etc/made\n  - identity: {}\n"


def test_a_version_is_promoted_when_machines_of_it_pass(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: touch /etc/made\n" + CHECKS)
    assert build.apply().version == "1.0.0"
    body = azure.resource("images/web/versions/1.0.0").body
    assert body["properties"]["publishingProfile"]["excludeFromLatest"] is False
    assert body["tags"]["build-state"] == "promoted"
    assert [line.partition(":")[0] for line in build.log.splitlines()].count("passed") == 4
    azure.clock.advance(120)
    assert [group for group in build.groups() if group.startswith("build-web")] == []


def test_a_version_that_fails_is_held_back_and_marked(azure: Simulator, build: Build) -> None:
    build.write(CHECKS)
    with pytest.raises(BuildError, match="run test -f /etc/made") as caught:
        build.apply()
    assert caught.value.code == "test-failed"
    body = azure.resource("images/web/versions/1.0.0").body
    assert body["properties"]["publishingProfile"]["excludeFromLatest"] is True
    assert body["tags"]["build-state"] == "failed"
    assert body["tags"]["build-image"] == "web"


def test_machines_that_share_an_identity_are_found(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted(r'echo "machine-id', output="machine-id 0123\nhostname same\n"))
    build.write("test:\n  - identity: {}\n")
    with pytest.raises(BuildError, match="both VMs have the same hostname, machine-id"):
        build.apply()


SNAPSHOT = "Microsoft.Compute/snapshots"
NOTHING = Keep(frozenset(), frozenset())


class Killed(BaseException):
    """As if the process had ended here."""


def clean(build: Build, keep: Keep, *, dry_run: bool = False) -> list[Cleaned]:
    """Clean up where the image is built."""
    found = clean_elsewhere(
        [build.image], lambda _: AzureMachine(build.store), lambda _: [], build.store, keep, dry_run=dry_run
    )
    assert found.missed == ()
    return list(found.cleaned)


def test_what_a_killed_run_left_is_found_and_removed(
    azure: Simulator, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("builder.machines.azure.session.AzureSession.__exit__", lambda *_: None)
        patch.setattr("builder.machines.azure.session.AzureSession.commit", die)
        with pytest.raises(Killed):
            build.apply()
    (left,) = [group for group in build.groups() if group.startswith("build-web")]
    mine = compute(azure.subscription, left, "disks", "x").group_id
    found = cleanup.left_overs(build.azure, build.store.is_alive)
    assert [item.id for item in found] == [mine]
    assert cleanup.left_overs(build.azure, lambda run: True) == []
    assert cleanup.left_overs(build.azure, lambda run: None) == []  # a run of another host may live
    (said,) = clean(build, NOTHING, dry_run=True)
    assert left in said.what
    assert left in build.groups()
    assert clean(build, NOTHING) == [said]
    azure.clock.advance(120)
    assert build.groups() == []


def test_captured_disks_that_nobody_is_to_publish_go(
    azure: Simulator, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed while it removes them has published them: no note and no plan is after them any more."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("builder.machines.azure.session.AzureSession.release", die)
        with pytest.raises(Killed):
            build.apply()
    azure.clock.advance(120)
    (snapshot,) = [found for found in azure.state.of_type(SNAPSHOT) if "build-digest" in found.body["tags"]]
    wanted = Keep(frozenset(), frozenset({(snapshot.body["tags"]["build-digest"], "web")}))

    def found(keep: Keep, *, alive: bool | None) -> list[str]:
        left = cleanup.left_overs(build.azure, lambda run: alive, keep, ["web"])
        return [item.id.name for item in left if item.id.provider]

    assert found(wanted, alive=False) == found(NOTHING, alive=True) == found(NOTHING, alive=None) == []
    assert found(NOTHING, alive=False) == [snapshot.name]
    clean(build, wanted)
    assert azure.state.find(snapshot.id) is not None
    clean(build, NOTHING)
    assert azure.state.find(snapshot.id) is None
    assert azure.resource("images/web/versions/1.0.0").provisioning == "Succeeded"


def test_a_transfer_that_was_killed_does_not_keep_what_it_read_or_wrote(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure deletes no disk that somebody has access to, nor a group with one: the access is ended first."""
    build = Build(tmp_path, azure_with_blobs, monkeypatch)
    run = {"build-run": "20260105t080000-abcdef", "build-tool": "build"}
    expired = run | {"build-digest": "1", "build-expires": "2020-01-01T00:00:00Z"}
    empty = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    upload = {"creationData": {"createOption": "Upload", "uploadSizeBytes": (20 << 20) + 512}}
    group, own = (compute(build.azure.subscription, name, "disks", "x").group_id for name in ("images", "build-web-1"))
    build.azure.put(group, {"location": "westeurope"}).wait()
    build.azure.put(own, {"location": "westeurope", "tags": run}).wait()
    for name, properties, tags, access in (
        ("images", upload, expired, "Write"),
        ("build-web-1", empty, run, "Read"),
    ):
        disk = compute(build.azure.subscription, name, "disks", "build-upload-1")
        build.azure.put(disk, {"location": "westeurope", "tags": tags, "properties": properties}).wait()
        build.azure.post(disk, "beginGetAccess", {"access": access, "durationInSeconds": 3600}).wait()
    found = cleanup.left_overs(build.azure, lambda run: False)

    assert len(found) == 2
    assert cleanup.remove(build.azure, found) == []
    assert list(build.azure.list(group, "Microsoft.Compute/disks")) == []
    assert build.azure.find(own) is None


def test_what_can_not_be_removed_is_told_and_keeps_nothing_else(azure: Simulator, build: Build) -> None:
    expired = {"build-run": "20260105t080000-abcdef", "build-tool": "build", "build-expires": "2020-01-01T00:00:00Z"}
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    disks = [compute(build.azure.subscription, "images", "disks", name) for name in ("one", "other")]
    build.azure.put(disks[0].group_id, {"location": "westeurope"}).wait()
    for disk in disks:
        build.azure.put(disk, {"location": "westeurope", "tags": expired, "properties": properties}).wait()
    azure.faults.add(Fault("DELETE Microsoft.Compute/disks", "refuse", name="one", code="ScopeLocked"))
    cleaned = clean(build, NOTHING)
    errors = {item.what.split()[0]: item.error for item in cleaned}

    assert build.azure.find(disks[1]) is None
    assert errors["disks/other"] is None
    assert "The simulator was asked to refuse this" in str(errors["disks/one"])


def test_expired_checkpoints_go_and_others_stay(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: {command: echo one, checkpoint: true}\n")
    build.apply()
    azure.clock.advance(120)
    days = 24 * 3600
    assert cleanup.left_overs(build.azure, lambda run: False) == []
    azure.clock.advance(10 * days)
    (checkpoint,) = [found for found in azure.state.of_type(SNAPSHOT) if "build-step" in found.body["tags"]]
    step = checkpoint.body["tags"]["build-step"]
    for keep, images, alive, goes in (
        (Keep(frozenset(), frozenset(), 9), ["web"], False, True),
        (Keep(frozenset(), frozenset(), 9), ["web"], None, True),
        (Keep(frozenset(), frozenset(), 9), ["web"], True, False),
        (Keep(frozenset(), frozenset(), 9), ["other"], False, False),
        (Keep(frozenset(), frozenset(), 11), ["web"], False, False),
        (Keep(frozenset(), frozenset()), ["web"], False, False),
        (Keep(frozenset({step}), frozenset(), 0), ["web"], False, False),
    ):
        found = cleanup.left_overs(build.azure, lambda run, alive=alive: alive, keep, images)
        assert (checkpoint.name in [item.id.name for item in found]) is goes, (keep, images, alive)
    azure.clock.advance(21 * days)
    found = cleanup.left_overs(build.azure, lambda run: False)
    assert {item.id.kind for item in found} == {SNAPSHOT}
    cleanup.remove(build.azure, found)
    azure.clock.advance(60)
    assert list(azure.state.of_type(SNAPSHOT)) == []
    assert azure.resource("images/web/versions/1.0.0").provisioning == "Succeeded"
