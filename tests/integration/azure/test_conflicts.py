"""Who is in the way of a publish, at each destination: another publisher, or what a failed publish left."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.apply.executor import Outcome
from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, Project

DESTINATIONS = {
    "gallery": GALLERY,
    "managedImage": "managedImage: {resourceGroup: images}",
    "snapshot": "snapshot: {resourceGroup: images}",
    "blob": "",
}
# What each makes, which must not be there twice
MADE = {
    "gallery": "Microsoft.Compute/galleries/images/versions",
    "managedImage": "Microsoft.Compute/images",
    "snapshot": "Microsoft.Compute/snapshots",
}


def standing(azure: Simulator, destination: str) -> dict[str, str]:
    """What was published, by name, with its state."""
    group = "/resourceGroups/images/"
    found = (item for item in azure.state if item.type == MADE[destination] and group in item.id)
    return {item.id.rpartition("/")[2]: item.provisioning for item in found}


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_two_publishers_at_once_make_one_version(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str
) -> None:
    azure = azure_with_blobs
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    projects = [Project(tmp_path / name, azure) for name in ("one", "other")]
    monkeypatch.setattr("builder.azure.connection.connect", reaching(projects[0].azure))
    for project in projects:
        project.write(DESTINATIONS[destination] or projects[0].blob)
    ready = threading.Barrier(2)

    def publish(project: Project) -> Outcome:
        with azure.clock.worker():
            plan = project.plan()
            ready.wait()
            (outcome,) = project.executor().apply(plan)
            return outcome

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(publish, projects))

    assert [outcome.version for outcome in outcomes] == ["1.0.0", "1.0.0"]
    assert outcomes[0].locations == outcomes[1].locations
    if destination in MADE:
        assert len(standing(azure, destination)) == 1
    for project in projects:
        assert project.decided().action == Action.NONE


@pytest.mark.parametrize("destination", MADE)
def test_what_failed_is_passed_by_when_the_spec_has_changed(
    azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str
) -> None:
    project = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(project.azure))
    project.write(DESTINATIONS[destination])
    # The machine makes snapshots as well: they come first
    project.still.on_captured = lambda: azure.faults.add(Fault(f"PUT {MADE[destination]}", "fail", code="Nope"))
    with pytest.raises(BuildError, match="Nope"):
        project.apply()
    project.still.on_captured = lambda: None
    project.still.content = "second"
    assert project.apply().version == "1.0.1"

    assert sorted(standing(azure, destination).values()) == ["Failed", "Succeeded"]
    assert project.decided().action == Action.NONE
    project.still.content = "first"
    assert project.decided().version == "1.0.2"
