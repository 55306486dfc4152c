from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli.app import COMMANDS, invoke
from builder.spec.loader import load
from builder.spec.published import read_schema
from tests.unit.spec.projects import LOCAL, put

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `build` in a project of its own: the exit code, standard output, standard error."""
    put(tmp_path, "build.yaml", "environments: {prod: {}}\n")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = invoke(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_a_valid_project(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    assert run("validate") == (0, "1 image is valid: web\n", "")


def test_an_invalid_spec(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL + "prepaer: []\n")
    code, output, errors = run("validate", "images/web.yaml")
    assert (code, errors) == (3, "")
    assert output.splitlines() == [
        "images/web.yaml:4:1: error[unknown-key]: unknown key 'prepaer'",
        "    4 | prepaer: []",
        "      | ^",
        "      = help: did you mean 'prepare'?",
        "",
        "1 error in 1 file",
    ]


def test_warnings_don_t_fail(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL + "disks: {data: [{lun: 0, size: 1GiB, filesystem: xfs, mount: /mnt}]}\n")
    code, output, _ = run("validate")
    assert code == 0
    assert "warning[mount]" in output
    assert output.endswith("1 warning in 1 file\n1 image is valid: web\n")


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["web"], "1 image is valid: web\n"),
        (["*b"], "2 images are valid: db, web\n"),
        (["images/web.yaml"], "1 image is valid: web\n"),
        (["images/web.yaml", "db"], "2 images are valid: db, web\n"),
    ],
)
def test_images_by_name(run: Run, tmp_path: Path, targets: list[str], expected: str):
    put(tmp_path, "images/web.yaml", LOCAL)
    put(tmp_path, "images/db.yaml", LOCAL.replace("web", "db"))
    put(tmp_path, "images/other.yaml", LOCAL.replace("web", "other"))
    assert run("validate", *targets) == (0, expected, "")


def test_a_name_that_no_image_has(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    code, output, errors = run("validate", "wbe")
    assert (code, output) == (1, "")
    assert errors == "error[no-such-image]: no image is called 'wbe'\n  hint: did you mean 'web'?\n"


def test_json(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL + "zzz: 1\n")
    code, output, _ = run("validate", "--format", "json")
    assert code == 3
    assert json.loads(output)["diagnostics"][0]["code"] == "unknown-key"


def test_sarif(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    code, output, _ = run("validate", "--format", "sarif")
    assert code == 0
    assert json.loads(output)["runs"][0]["results"] == []


def test_environments_and_variables(run: Run, tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL + 'description: "{{ environment }} {{ vars.x }}"\n')
    assert run("validate")[0] == 3
    assert run("validate", "--env", "prod", "--var", "x=1")[0] == 0
    assert run("validate", "--env", "nope")[0] == 3


@pytest.mark.parametrize("command", ["validate", "plan"])
@pytest.mark.parametrize("link", ["images/web.yaml", "build.yaml"])
def test_nothing_of_a_file_outside_the_project_is_printed(run: Run, tmp_path: Path, command: str, link: str):
    put(tmp_path, "secret", "password: hunter2\n")
    put(tmp_path, "project/build.yaml", "")
    put(tmp_path, "project/images/web.yaml", LOCAL)
    (tmp_path / "project" / link).unlink()
    (tmp_path / "project" / link).symlink_to(tmp_path / "secret")
    code, output, errors = run(command, "project/images/web.yaml")
    assert code == 3
    assert f"project/{link}:1:1: error[path-outside]: leads out of the project\n" in output + errors
    assert "hunter2" not in output + errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("validate", "--var", "x"), "error[usage]: --var 'x' is not a name and a value"),
        (("validate", "--var", "x y=1"), "error[usage]: --var 'x y=1' is not a name and a value"),
        (("validate",), "error[no-specs]: there are no specs in"),
        (("validat",), "Did you mean 'validate'?"),
        (("validate", "--nope"), "No such option: --nope"),
        (("schema", "nope"), "'nope' is not one of"),
    ],
)
def test_errors_of_use(run: Run, arguments: tuple[str, ...], message: str):
    code, output, errors = run(*arguments)
    # 2 means "there are changes": a wrong command line must not look like it
    assert (code, output) == (1, "")
    assert message in errors


def test_schemas(run: Run):
    for name in ("image", "project"):
        assert run("schema", name) == (0, read_schema(name), "")
    assert run("schema")[1] == read_schema("image")


def test_the_first_spec_is_valid(run: Run, tmp_path: Path):
    code, output, _ = run("init", "first")
    assert code == 0
    wrote = sorted(f"  {path.relative_to(tmp_path)}" for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert sorted(output.splitlines()[1:-1]) == wrote
    assert output.splitlines()[0] == "Wrote:"
    assert output.splitlines()[-1] == "Next: build validate first"
    assert run("validate", "first")[0] == 0
    assert run("validate", "first", "--env", "prod", "--var", "timezone=Asia/Tokyo")[0] == 0
    (document,) = load([tmp_path / "first"]).documents
    assert document.render("1.0.0").prepare[2].values["env"] == {"TIMEZONE": "UTC"}
    assert (tmp_path / "first/.gitignore").read_text() == "/.build/\n/gallery/\n*.buildplan\n"


def test_init_overwrites_nothing(run: Run, tmp_path: Path):
    put(tmp_path, "first/images/web.yaml", "mine")
    code, _, errors = run("init", "first")
    assert code == 1
    assert "error[exists]" in errors
    assert [path.name for path in (tmp_path / "first").rglob("*") if path.is_file()] == ["web.yaml"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("file", "error[exists]: file is no folder\n  hint: choose another: build init DIR\n"),
        ("file/in", "error[not-written]: file/in/build.yaml can't be written: "),
    ],
)
def test_init_where_no_folder_can_be(run: Run, tmp_path: Path, folder: str, message: str):
    put(tmp_path, "file", "mine")
    code, output, errors = run("init", folder)
    assert (code, output) == (1, "")
    assert errors.startswith(message)
    assert (tmp_path / "file").read_text() == "mine"


def test_init_leaves_a_gitignore_alone(run: Run, tmp_path: Path):
    put(tmp_path, "first/.gitignore", "mine")
    assert run("init", "first")[0] == 0
    assert (tmp_path / "first/.gitignore").read_text() == "mine"


def test_help_lists_every_command_without_importing_it(run: Run, monkeypatch: pytest.MonkeyPatch):
    for _, module, _ in COMMANDS:
        monkeypatch.setitem(sys.modules, module, None)
    code, output, _ = run("--help")
    assert code == 0
    for name, _, line in COMMANDS:
        assert f"  {name} " in output
        assert line.split(" ")[0] in output


def test_help_is_short_too(run: Run):
    for command in ([], *([name] for name, _, _ in COMMANDS)):
        assert run(*command, "-h") == run(*command, "--help")
        assert run(*command, "-h")[0] == 0
    assert "Usage: build schema [OPTIONS] [SCHEMA]\n" in run("schema", "-h")[1]
    assert "image, project, plan, manifest" in run("schema", "-h")[1]


def test_version(run: Run):
    assert run("--version")[1].startswith("build ")
