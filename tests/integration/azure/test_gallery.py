"""Galleries, with planner and executor as they are: made from nothing, kept, changed in place, retired."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.plan import Action
from tests.azure import Simulator
from tests.integration.azure.publishing import Project


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", lambda subscription=None, **_: found.azure)
    return found


def test_an_empty_subscription_gets_group_gallery_definition_and_version(project: Project) -> None:
    changes = [(change.action, change.kind, change.name) for change in project.decided().changes]
    outcome = project.apply()

    assert changes == [
        ("create", "resource group", "images"),
        ("create", "gallery", "corp"),
        ("create", "image definition", "corp/web"),
        ("create", "version", "corp/web/1.0.0"),
    ]
    assert outcome.locations == (str(project.definition.child("versions", "1.0.0")),)
    assert project.decided().action == Action.NONE


def test_a_definition_says_everything(project: Project) -> None:
    project.with_traits(security="TrustedLaunch", controllers=("SCSI", "NVMe"), accelerated_networking=True)
    project.apply()
    properties = project.azure.get(project.definition)["properties"]

    assert {key: properties[key] for key in ("osType", "osState", "hyperVGeneration", "architecture")} == {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64",
    }  # fmt: skip
    assert properties["identifier"] == {"publisher": "corp", "offer": "web", "sku": "default"}
    assert properties["features"] == [
        {"name": "SecurityType", "value": "TrustedLaunchSupported"},
        {"name": "DiskControllerTypes", "value": "SCSI, NVMe"},
        {"name": "IsAcceleratedNetworkSupported", "value": "True"},
    ]
    assert properties["description"] == "a web server"


def test_a_plan_reads_three_times_and_writes_nothing(project: Project, azure: Simulator) -> None:
    project.apply()
    mark = len(azure.traffic.pairs)
    project.decided()

    assert azure.traffic.writes(mark) == []
    assert sum(azure.traffic.counts(mark).values()) == 3
