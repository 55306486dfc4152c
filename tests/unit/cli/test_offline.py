"""`build plan --offline`: no cloud is asked (the network is blocked in these tests), and the plan can't be applied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.app import invoke
from tests.unit.cli.projects import FAR, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path))
    (tmp_path / "images/far.yaml").write_text(FAR.replace("    - directory: {path: gallery}\n", ""))
    return tmp_path


def test_what_the_spec_tells_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plan", "far", "--offline", "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (image,) = plan["image_changes"]
    assert (plan["options"]["offline"], plan["applyable"], plan["next"]) == (True, False, ["build plan far"])
    assert [reason["code"] for reason in image["because"]] == ["new_image", "offline"]
    assert image["steps"][0]["name"] == "start from marketplace Debian:debian-12:12-gen2:latest"
    assert image["steps"][-1]["name"] == "publish 1.0.0 at gallery corp/web"


def test_such_a_plan_is_not_applied(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plan", "far", "--offline", "--out", "far.buildplan"]) == 0
    assert capsys.readouterr().out.endswith("To plan again:  build plan far\n")
    assert invoke(["apply", "far.buildplan"]) == 1
    assert "this plan was made offline" in capsys.readouterr().err


def test_a_plan_is_applied_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plan", "far", "--offline", "--out", "far.buildplan"]) == 0
    assert invoke(["apply", "far.buildplan", "far"]) == 1
    assert "a saved plan is carried out alone" in capsys.readouterr().err
