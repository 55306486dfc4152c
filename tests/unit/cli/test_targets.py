"""What an argument means where a file or folder is called as an image is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli.app import invoke
from tests.unit.cli.projects import WEB, make_project

Build = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Build:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = invoke(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(params=["a folder", "a folder of other things", "a file"])
def namesake(project: Path, request: pytest.FixtureRequest) -> None:
    """Something in the current folder that is called as the image web is, and is none of build's."""
    if request.param == "a file":
        (project / "web").write_text("a note\n")
        return
    (project / "web").mkdir()
    if request.param == "a folder of other things":
        (project / "web/index.html").write_text("<!doctype html>")


@pytest.mark.usefixtures("namesake")
def test_an_image_wins_over_what_is_called_so_by_chance(build: Build) -> None:
    code, out, err = build("plan", "web", "--format", "json")
    assert (code, err) == (0, "")
    assert [image["image"] for image in json.loads(out)["image_changes"]] == ["web"]
    assert build("validate", "web") == (0, "1 image is valid: web\n", "")
    assert build("show", "web")[1] == "web at directory gallery\n  no versions yet\n"
    assert "web will be built" in build("apply", "web", "--dry-run")[1]


def test_a_name_that_a_template_makes(project: Path, build: Build) -> None:
    (project / "images/many.yaml").write_text(
        WEB.replace("name: web", 'matrix: {number: ["1", "2"]}\nname: "db-{{ matrix.number }}"')
    )
    (project / "db-2").mkdir()
    assert build("validate", "db-2") == (0, "1 image is valid: db-2\n", "")


@pytest.mark.parametrize(
    ("inside", "text"),
    [("inner.yaml", WEB), ("build.yaml", "nonsense: ["), ("images/inner.yaml", WEB)],
)
def test_a_folder_of_specs_that_is_called_as_an_image(project: Path, build: Build, inside: str, text: str) -> None:
    (project / "web/images").mkdir(parents=True)
    (project / "web/build.yaml").write_text("{}")
    (project / "web" / inside).write_text(text)
    code, out, err = build("plan", "web")
    assert (code, out) == (1, "")
    assert err == (
        "error[ambiguous]: 'web' is the name of an image and of a folder of specs\n"
        "  hint: write ./web for the folder of specs, images/web.yaml for the image\n"
    )
    assert build("validate", "images/web.yaml")[1] == "1 image is valid: web\n"


def test_a_path_is_never_a_name(project: Path, build: Build) -> None:
    (project / "web").mkdir()
    (project / "web/inner.yaml").write_text(WEB.replace("name: web", "name: inner").replace("tidy", "../images/tidy"))
    assert "inner" in build("validate", "./web")[1]


@pytest.mark.parametrize("command", [["apply", "--dry-run"], ["show"]])
def test_a_saved_plan_that_is_called_as_an_image(project: Path, build: Build, command: list[str]) -> None:
    assert build("plan", "app", "--out", "web")[0] == 0
    code, out, err = build(*command, "web")
    assert (code, out) == (1, "")
    assert err == (
        "error[ambiguous]: 'web' is the name of an image and of a saved plan\n"
        "  hint: write ./web for the saved plan, images/web.yaml for the image\n"
    )
    assert "app will be built" in build(*command, "./web")[1]


def test_a_folder_of_specs_and_a_plan_that_no_image_is_called_as(project: Path, build: Build) -> None:
    assert build("validate", "images")[1] == "2 images are valid: app, web\n"
    assert build("plan", "web", "--out", "p")[0] == 0
    assert "web will be built" in build("show", "p")[1]
