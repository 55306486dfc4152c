"""A saved plan is about the checkout of the current folder, wherever it was made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.errors import ExitCode
from tests.unit.cli.projects import make_project, publish_all

Build = Callable[..., tuple[int, str]]


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Build:
    def call(*arguments: str) -> tuple[int, str]:
        code = invoke(arguments)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Build) -> Path:
    """A checkout in which a plan was saved."""
    (tmp_path / "made").mkdir()
    folder = make_project(tmp_path / "made")
    monkeypatch.chdir(folder)
    assert build("plan", "--out", "p", "web")[0] == 0
    return folder


@pytest.fixture
def other(made: Path) -> Path:
    """Another checkout of it."""
    return shutil.copytree(made, made.parent / "other")


def test_another_checkout_is_looked_at(made: Path, other: Path, monkeypatch: pytest.MonkeyPatch, build: Build) -> None:
    (other / "images/tidy.sh").write_text("echo something else\n")
    monkeypatch.chdir(other)
    code, said = build("apply", "p", "--dry-run")
    assert code == ExitCode.PLAN_STALE, said
    assert "tidy.sh changed" in said or "would be made otherwise" in said
    monkeypatch.chdir(made)
    assert "is stale" not in build("apply", "p", "--dry-run")[1]


def test_the_same_content_elsewhere_is_the_same(
    made: Path, other: Path, monkeypatch: pytest.MonkeyPatch, build: Build
) -> None:
    shutil.rmtree(made)
    monkeypatch.chdir(other)
    publish_all(other)
    code, said = build("apply", str(other / "p"), "--dry-run")
    # What is published is that of the checkout too
    assert code == ExitCode.PLAN_STALE
    assert "the newest version was none, is 1.0.0" in said


def test_another_project(made: Path, monkeypatch: pytest.MonkeyPatch, build: Build) -> None:
    stranger = made.parent / "stranger"
    stranger.mkdir()
    (stranger / "build.yaml").write_text("{}")
    monkeypatch.chdir(stranger)
    code, said = build("apply", str(made / "p"), "--dry-run")
    assert code == ExitCode.ERROR
    assert f"this plan was made in {made}, and none of its specs is in the project here, {stranger}" in said


def test_outside_of_any_project(made: Path, monkeypatch: pytest.MonkeyPatch, build: Build) -> None:
    nowhere = made.parent / "nowhere"
    nowhere.mkdir()
    monkeypatch.chdir(nowhere)
    (made / "images/tidy.sh").write_text("echo something else\n")
    assert build("apply", str(made / "p"), "--dry-run")[0] == ExitCode.PLAN_STALE
