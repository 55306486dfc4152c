from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.errors import BuildError
from builder.machines.base import Cleaned
from builder.records.store import Store
from tests.unit.cli.projects import make_project

DAY = 24 * 3600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the current folder."""
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("project", "options", "removed"),
    [
        # Without a word the default of build.yaml's schema holds: 30 days
        ("{}\n", (), [40]),
        ("checkpoints: {expire: 10d}\n", (), [20, 40]),
        ("checkpoints: {expire: 8w}\n", (), []),
        ("checkpoints: {expire: 8w}\n", ("--days", "10"), [20, 40]),
        ("checkpoints: {expire: 8w}\n", ("--days", "0"), [1, 20, 40]),
    ],
)
def test_what_expires(
    folder: Path, capsys: pytest.CaptureFixture[str], project: str, options: tuple[str, ...], removed: list[int]
):
    (folder / "build.yaml").write_text(project)
    sources = Store(folder / ".build").sources
    sources.mkdir(parents=True, exist_ok=True)
    for age in (1, 20, 40):
        download = sources / f"{age:064}"
        download.write_text("x")
        os.utime(download, (time.time() - age * DAY, time.time() - age * DAY))
    assert invoke(("gc", *options)) == 0
    assert {int(path.name) for path in sources.iterdir()} == {1, 20, 40} - set(removed)
    assert f"Removed {len(removed)} of the local store's entries" in capsys.readouterr().out


def test_the_help_names_the_setting(capsys: pytest.CaptureFixture[str]):
    assert invoke(("gc", "--help")) == 0
    assert "`checkpoints.expire`" in " ".join(capsys.readouterr().out.split())


def test_what_a_machine_could_not_remove_is_an_error_and_the_rest_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    cleaned = [Cleaned("disks/one", BuildError("a lock is on it")), Cleaned("disks/other")]
    monkeypatch.setattr("builder.machines.local.machine.LocalMachine.clean", lambda *_, **__: cleaned)
    assert invoke(("gc",)) == 1
    told = capsys.readouterr()
    assert "- disks/other\n" in told.out
    assert "disks/one: a lock is on it" in told.err
