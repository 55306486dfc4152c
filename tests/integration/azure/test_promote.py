"""`build promote`: a person's decision about a version that is held back."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.errors import BuildError
from builder.model.plan import Action
from tests.azure import Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import Project

TESTED = "test: [{provision: {}}]"


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose version 1.0.0 has failed its tests."""
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    monkeypatch.chdir(found.root)
    found.write(more=TESTED)
    found.still.passes = False
    with pytest.raises(BuildError, match="doesn't boot"):
        found.apply()
    return found


def test_a_person_promotes_what_failed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["promote", "web", "1.0.0", "--yes"]) == 0
    out = capsys.readouterr().out
    found = project.version("1.0.0")

    assert "promote web 1.0.0 in gallery corp/web" in out
    assert found["properties"]["publishingProfile"]["excludeFromLatest"] is False
    assert found["tags"]["build-state"] == "promoted"
    assert project.decided().action == Action.NONE
    assert invoke(["promote", "web", "1.0.0", "--yes"]) == 0, "nothing is left to do"


REFUSED = (
    (["promote", "web", "1.0.0"], "not-confirmed"),
    (["promote", "web", "2.0.0", "--yes"], "not-found"),
    (["promote", "app", "1.0.0", "--yes"], "not-found"),
    (["promote", "web", "latest", "--yes"], "usage"),
)


@pytest.mark.parametrize(("arguments", "code"), REFUSED)
def test_what_is_refused_changes_nothing(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    assert invoke(arguments) == 1
    assert f"error[{code}]" in capsys.readouterr().err
    assert project.version("1.0.0")["tags"]["build-state"] == "failed"
