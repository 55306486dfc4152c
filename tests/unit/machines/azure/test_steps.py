"""The steps of an Azure build, and what their digests depend on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.machines.azure.machine import AzureMachine
from builder.machines.azure.resolved import ResolvedSource, SourceDisk
from builder.model.canonical import canonical
from builder.model.kinds import KINDS
from builder.model.observed import MachineFacts, Traits
from builder.model.spec import GIB, ImageSpec
from builder.model.steps import Stage, Step
from builder.plan.digests import chain, image_digest
from builder.records.store import Store
from tests.unit.machines.azure.specs import image_of

SOURCE = ResolvedSource(
    kind="marketplace",
    name="Debian:debian-12:12-gen2:0.1",
    family="linux",
    generation=2,
    architecture="x64",
    generalized=True,
    disks=(SourceDisk(None, 30 * GIB),),
    reference={"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "0.1"},
    security=("Standard", "TrustedLaunch"),
    controllers=("SCSI", "NVMe"),
)


def steps_of(folder: Path, image: ImageSpec, source: ResolvedSource = SOURCE) -> list[Step]:
    machine = AzureMachine(Store(folder / ".build"))
    facts = MachineFacts(source=source.as_inputs(), traits=Traits("westeurope"))
    return chain(machine.steps(image, facts), KINDS)


def digest_of(folder: Path, machine: str = "", more: str = "") -> str:
    return image_digest(steps_of(folder, image_of(folder, machine=machine, more=more)))


WITHOUT_EFFECT = (
    "size: [Standard_D4s_v5]", "location: westeurope, zone: '2'", "spot: {}", "tags: {a: b}", "onFailure: keep",
    "verify: deep", "resourceGroup: mine", "encryptionAtHost: true", "acceleratedNetworking: true",
    "osDisk: {type: Standard_LRS}",
)  # fmt: skip
WITH_EFFECT = (
    "security: {type: TrustedLaunch}", "security: {type: TrustedLaunch, secureBoot: false}", "diskController: NVMe",
    "licenseType: RHEL_BYOS", "customData: cloud.cfg", "userData: cloud.cfg",
)  # fmt: skip


def test_only_what_the_result_depends_on_is_in_the_digest(tmp_path: Path) -> None:
    (tmp_path / "cloud.cfg").write_text("#cloud-config\n")
    plain = digest_of(tmp_path)
    assert {digest_of(tmp_path, machine) for machine in WITHOUT_EFFECT} == {plain}
    found = [digest_of(tmp_path, machine) for machine in WITH_EFFECT]
    assert len({plain, *found}) == len(found) + 1
    (tmp_path / "cloud.cfg").write_text("#cloud-config\nhostname: other\n")
    assert digest_of(tmp_path, "customData: cloud.cfg") not in found


def test_what_a_source_allows_is_in_no_digest(tmp_path: Path) -> None:
    from dataclasses import replace

    image = image_of(tmp_path)
    other = replace(SOURCE, security=("Standard",), controllers=("SCSI",), accelerated_networking=True, licence="x")
    assert image_digest(steps_of(tmp_path, image, other)) == image_digest(steps_of(tmp_path, image))
    newer = replace(SOURCE, pin={"published": "2026-01-01"})
    assert image_digest(steps_of(tmp_path, image, newer)) != image_digest(steps_of(tmp_path, image))


def test_the_order_and_what_is_kept(tmp_path: Path) -> None:
    more = """\
disks: {os: {size: 40GiB}, data: [{lun: 0, size: 8GiB, filesystem: ext4, mount: /data}]}
prepare: [{run: first}, {run: {command: second, checkpoint: true}}, {run: third}]
test: [{provision: {}}, {run: uptime}, {identity: unique}]
"""
    steps = steps_of(tmp_path, image_of(tmp_path, more=more))
    assert [(step.kind, step.stage, step.kept) for step in steps] == [
        ("source.azure", Stage.PREPARE, False),
        ("azure.disks", Stage.PREPARE, False),
        ("run", Stage.PREPARE, False),
        ("run", Stage.PREPARE, True),
        # The backup that generalize needs
        ("run", Stage.PREPARE, True),
        ("generalize", Stage.GENERALIZE, False),
        ("azure.capture", Stage.CAPTURE, False),
        ("azure.test.provision", Stage.TEST, True),
        ("azure.test.run", Stage.TEST, True),
        ("azure.test.identity", Stage.TEST, True),
    ]
    assert steps[0].title == "start from Debian:debian-12:12-gen2:0.1"
    assert [change.name for change in steps[6].changes] == ["os", "data 0"]
    # What stays and costs money is told
    kept = [change for step in steps for change in step.changes if change.kind == "checkpoint"]
    assert [(change.name, change.detail) for change in kept] == [
        (f"after “run {name}”", "until it expires, in resource group build-checkpoints-westeurope")
        for name in ("second", "third")
    ]


def test_a_specialized_image_has_no_generalize(tmp_path: Path) -> None:
    steps = steps_of(tmp_path, image_of(tmp_path, more="generalize: false\nprepare: [{run: first}]"))
    assert [(step.kind, step.kept) for step in steps] == [
        ("source.azure", False),
        ("run", False),
        ("azure.capture", False),
    ]
    assert steps[-1].inputs["generalized"] is False


def test_windows_is_generalized_by_sysprep(tmp_path: Path) -> None:
    source = "marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2022-datacenter-g2}"
    steps = steps_of(tmp_path, image_of(tmp_path, source=source, os="family: windows"))
    assert [step.kind for step in steps][1] == "sysprep"


def test_inputs_give_the_source_back(tmp_path: Path) -> None:
    inputs = json.loads(canonical(steps_of(tmp_path, image_of(tmp_path))[0].inputs))
    inputs["rebuild"] = "1.0.0"
    found = ResolvedSource.from_inputs(inputs)
    assert found.as_inputs() == SOURCE.as_inputs()
    assert found.os_disk.size == 30 * GIB


def test_a_file_that_is_missing_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "cloud.cfg").write_text("x")
    image = image_of(tmp_path, machine="customData: cloud.cfg")
    (tmp_path / "cloud.cfg").unlink()
    with pytest.raises(BuildError, match=r"cloud\.cfg can't be read") as caught:
        steps_of(tmp_path, image)
    assert caught.value.where is not None
    assert caught.value.where.line == 4


def test_offline_nothing_is_asked(tmp_path: Path) -> None:
    """The network is blocked in these tests."""
    image = image_of(tmp_path, machine="location: westeurope")
    machine = AzureMachine(Store(tmp_path / ".build"), offline=True)
    facts = machine.observe(image)
    assert facts.source["version"] == "latest"
    assert facts.traits.where == "westeurope"
    assert (
        chain(machine.steps(image, facts), KINDS)[0].title == "start from marketplace Debian:debian-12:12-gen2:latest"
    )
