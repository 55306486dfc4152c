from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.errors import BuildError
from builder.model.cleaning import Cleaned, Place
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


class Elsewhere:
    """A place in no cloud; it counts how often it is cleaned."""

    def __init__(self, *cleaned: Cleaned, error: BuildError | None = None) -> None:
        self.name = "elsewhere"
        self.calls: list[set[str]] = []
        self._cleaned, self._error = cleaned, error

    def clean(self, images: set[str], *_: object, **__: object) -> list[Cleaned]:
        self.calls.append(set(images))
        if self._error is not None:
            raise self._error
        return [*self._cleaned]


MACHINE = "builder.machines.local.machine.LocalMachine.places"
DESTINATION = "builder.destinations.directory.Directory.places"


def test_what_could_not_be_removed_is_an_error_and_the_rest_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    place = Elsewhere(Cleaned("disks/one", BuildError("a lock is on it")), Cleaned("disks/other"))
    monkeypatch.setattr(MACHINE, lambda *_: (place,))
    assert invoke(("gc",)) == 1
    told = capsys.readouterr()
    assert "- disks/other\n" in told.out
    assert "disks/one: a lock is on it" in told.err


def test_a_place_of_several_images_is_cleaned_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Both images are built there, and both are published there."""
    place = Elsewhere()
    monkeypatch.setattr(MACHINE, lambda *_: (place,))
    monkeypatch.setattr(DESTINATION, lambda *_: (place,))
    assert invoke(("gc",)) == 0
    assert place.calls == [{"web", "app"}]


def test_where_images_are_only_published_nobody_looks_for_checkpoints(folder: Path, monkeypatch: pytest.MonkeyPatch):
    place = Elsewhere()
    monkeypatch.setattr(DESTINATION, lambda *_: (place,))
    assert invoke(("gc",)) == 0
    assert place.calls == [set()]


def test_a_place_that_can_not_be_looked_at_is_a_warning_and_what_is_local_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def nobody(*_: object) -> tuple[Place, ...]:
        raise BuildError("nobody is signed in", hint="sign in")

    sources = Store(folder / ".build").sources
    sources.mkdir(parents=True, exist_ok=True)
    (sources / f"{1:064}").write_text("x")
    os.utime(sources / f"{1:064}", (0, 0))
    place = Elsewhere(error=BuildError("it does not answer"))
    monkeypatch.setattr(MACHINE, nobody)
    monkeypatch.setattr(DESTINATION, lambda *_: (place,))
    assert invoke(("gc",)) == 0
    told = capsys.readouterr()
    assert "Removed 1 of the local store's entries" in told.out
    assert told.err.count("nobody is signed in\n  hint: sign in") == 1
    assert "warning: elsewhere was not looked at: it does not answer" in told.err
    assert list(sources.iterdir()) == []
