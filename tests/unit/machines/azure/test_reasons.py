"""Why an Azure image is rebuilt: one reason for one cause, at its place in the YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.apply.manifests import recorded_step
from builder.errors import Place
from builder.machines.azure.machine import AzureMachine
from builder.machines.azure.resolved import ResolvedSource, SourceDisk
from builder.model.artifact import Manifest
from builder.model.kinds import KINDS
from builder.model.observed import MachineFacts
from builder.model.steps import Step
from builder.plan.digests import chain
from builder.plan.reasons import reasons_for
from builder.records.store import Store
from tests.unit.machines.azure.specs import image_of

SOURCE = ResolvedSource(
    "marketplace", "Debian:debian-12:12-gen2:0.1", "linux", 2, "x64", True, (SourceDisk(None, 1),),
    {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "0.1"},
)  # fmt: skip
NEWER = replace(SOURCE, name="Debian:debian-12:12-gen2:0.2", reference={**SOURCE.reference, "version": "0.2"})
BASE = {"image": "base", "version": "1.0.0", "digest": "sha256:" + "a" * 64}


def steps(folder: Path, source: dict[str, Any], machine: str = "") -> list[Step]:
    facts = MachineFacts(source=source)
    return chain(AzureMachine(Store(folder / ".build")).steps(image_of(folder, machine=machine), facts), KINDS)


def why(before: list[Step], after: list[Step]) -> list[tuple[str, str | None, str | None, int | None]]:
    manifest = Manifest(
        "web", "1.0.0", before[-1].digest, "", "", "", True, "vmImage", "x64", 2, {},
        tuple(recorded_step(step) for step in before), (), {},
    )  # fmt: skip
    found = reasons_for(manifest, after, KINDS, Place("web.yaml"))
    return [(each.code, each.before, each.after, each.place.line if each.place else None) for each in found]


def test_a_newer_version_is_one_reason(tmp_path: Path) -> None:
    found = why(steps(tmp_path, SOURCE.as_inputs()), steps(tmp_path, NEWER.as_inputs()))
    assert found == [("source_changed", SOURCE.name, NEWER.name, 3)]


def test_the_machine_is_told_beside_the_source(tmp_path: Path) -> None:
    trusted = "security: {type: TrustedLaunch}"
    found = why(steps(tmp_path, SOURCE.as_inputs()), steps(tmp_path, NEWER.as_inputs(), trusted))
    assert {code for code, *_ in found} == {"source_changed"}
    assert {line for *_, line in found} == {3, 4}
    assert ("source_changed", "Standard", "TrustedLaunch", 4) in found


def test_a_base_that_was_rebuilt(tmp_path: Path) -> None:
    rebuilt = {**BASE, "version": "1.0.1", "digest": "sha256:" + "b" * 64}
    assert why(steps(tmp_path, BASE), steps(tmp_path, rebuilt)) == [("upstream_image_rebuilt", "1.0.0", "1.0.1", 3)]
    found = why(steps(tmp_path, BASE), steps(tmp_path, BASE, "diskController: NVMe"))
    assert found == [("source_changed", "SCSI", "NVMe", 4)]
