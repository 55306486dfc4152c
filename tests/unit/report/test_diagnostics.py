from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder.errors import Diagnostic, Place
from builder.report.diagnostics import as_json, as_sarif, as_text, count


def finding(line: int, column: int, message: str = "wrong", file: str = "a.yaml", **more: str) -> Diagnostic:
    return Diagnostic(Place(file, line, column), "type", message, **more)


def shown(tmp_path: Path, text: str, line: int, column: int, **more: str) -> list[str]:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    return as_text([finding(line, column, **more)], tmp_path, paths_from=tmp_path).splitlines()


def test_the_caret_stands_under_the_column(tmp_path: Path):
    assert shown(tmp_path, "name: web\nos: linux\n", 2, 5, help="write a map") == [
        "a.yaml:2:5: error[type]: wrong",
        "    2 | os: linux",
        "      |     ^",
        "      = help: write a map",
        "",
        "1 error in 1 file",
    ]


@pytest.mark.parametrize(
    ("text", "column", "caret"),
    [
        ("äß: x", 5, 4),
        ("漢字: x", 5, 6),
        ("\tx", 2, 1),
        ("e\u0301: x", 5, 3),
    ],
)
def test_the_caret_counts_cells_not_characters(tmp_path: Path, text: str, column: int, caret: int):
    assert shown(tmp_path, text, 1, column)[2] == f"      | {' ' * caret}^"


def test_a_long_line_is_cut_around_the_column(tmp_path: Path):
    lines = shown(tmp_path, "x" * 5000 + "HERE" + "y" * 5000, 1, 5001)
    source, caret = lines[1], lines[2]
    assert len(source) < 140
    assert source[caret.index("^") :].startswith("HERE")


def test_nothing_in_a_spec_can_drive_the_terminal(tmp_path: Path):
    text = as_text([finding(1, 1, message="bad \x1b[31m\u202e name")], None)
    assert text.splitlines()[0] == r"a.yaml:1:1: error[type]: bad \x1b[31m\u202e name"
    assert "\x1b" not in "\n".join(shown(tmp_path, "a: \x1b[2J", 1, 1))


def test_a_file_that_has_gone_leaves_the_message(tmp_path: Path):
    assert as_text([finding(3, 1)], tmp_path, paths_from=tmp_path).splitlines()[0] == "a.yaml:3:1: error[type]: wrong"


def test_no_line_of_a_file_outside_the_project_is_shown(tmp_path: Path):
    (tmp_path / "secret").write_text("password: hunter2\n", encoding="utf-8")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/link.yaml").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "project/pipe.yaml")
    for file in ("link.yaml", "../secret", str(tmp_path / "secret"), "pipe.yaml"):
        text = as_text([finding(1, 1, file=file)], tmp_path / "project")
        assert "hunter2" not in text
        assert len(text.splitlines()) == 3


def test_paths_are_relative_to_where_the_reader_is(tmp_path: Path):
    text = as_text([finding(1, 1, file="images/a.yaml")], tmp_path, paths_from=tmp_path / "docs")
    assert text.startswith("../images/a.yaml:1:1: ")


def test_lines_are_counted_as_yaml_counts_them(tmp_path: Path):
    assert shown(tmp_path, "a: 1\u2028b: 2\r\nc: 3", 3, 1)[1] == "    3 | c: 3"


def test_counts():
    warning = Diagnostic(Place("b.yaml"), "mount", "hidden", severity="warning")
    assert count([finding(1, 1), finding(2, 1), warning]) == "2 errors, 1 warning in 2 files"


def test_json():
    document = json.loads(as_json([finding(1, 2, help="write x")], ["web"]))
    found = {"severity": "error", "code": "type", "message": "wrong", "help": "write x"}
    assert document == {
        "valid": False,
        "images": ["web"],
        "diagnostics": [{"file": "a.yaml", "line": 1, "column": 2, **found}],
    }


def test_warnings_leave_specs_valid():
    assert json.loads(as_json([Diagnostic(Place("a"), "mount", "x", severity="warning")]))["valid"] is True


def test_sarif():
    log = json.loads(as_sarif([finding(1, 2, file="a b.yaml", help="write x"), finding(3, 4, file="a b.yaml")]))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["type"]
    first, second = run["results"]
    assert first["message"]["text"] == "wrong\nwrite x"
    location = first["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {"uri": "a%20b.yaml", "uriBaseId": "ROOT"}
    assert location["region"] == {"startLine": 1, "startColumn": 2}
    # A finding stays the same one when lines are added above it
    assert first["partialFingerprints"] == second["partialFingerprints"]
