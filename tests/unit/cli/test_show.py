import json
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.records.journal import Journal
from builder.records.store import Store
from builder.secrets import Redactor
from tests.unit.cli.projects import FAR, TIDY, WEB, make_project, publish_all


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def build(capsys, *arguments):
    code = invoke(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_versions_of_an_image(project, capsys):
    assert build(capsys, "show", "web")[1] == "web at directory gallery\n  no versions yet\n"
    publish_all(project)
    (project / "gallery/web/9.0.0").mkdir()
    code, out, _ = build(capsys, "show", "web")
    rows = [line.split() for line in out.splitlines()[2:]]
    assert code == 0
    assert rows[0][:5] == ["9.0.0", "not", "made", "by", "build,"]
    assert rows[1][:2] == ["1.0.0", "2026-11-23T04:10:02+00:00"]
    (held,) = json.loads(build(capsys, "show", "web", "--format", "json")[1])["destinations"]
    assert held["newest"] == "1.0.0"


def test_a_destination_that_can_not_be_served_hides_no_other(project, capsys):
    (project / "images/far.yaml").write_text(FAR)
    code, out, _ = build(capsys, "show", "far")
    assert code == 0
    assert out == (
        "far at gallery corp/web\n  can't be looked at: nobody is signed in to Azure\n"
        "far at directory gallery\n  no versions yet\n"
    )
    code, out, _ = build(capsys, "show")
    assert code == 0
    assert "  far    not known           gallery corp/web\n  far    none                directory gallery\n" in out


def test_a_run(project, capsys):
    store = Store(project / ".build")
    with Journal(store.run_folder("20261123t041002-abcdef"), Redactor()) as journal:
        journal.write("run.begin", run="20261123t041002-abcdef", plan="p1", images=["web"])
        journal.write("image.begin", image="web", action="build", version="1.0.0")
        journal.write("image.failed", image="web", code="step-failed", error="ended with exit code 7")
        journal.write("run.end", done=0, failed=["web"])
    code, out, _ = build(capsys, "show", "20261123t041002-abcdef")
    assert code == 0
    assert out.startswith("run 20261123t041002-abcdef (plan p1): failed")
    assert "error[step-failed]: ended with exit code 7" in out
    assert json.loads(build(capsys, "show", "20261123t041002-abcdef", "--format", "json")[1])["state"] == "failed"


def test_the_overview(project, capsys):
    publish_all(project)
    _, out, _ = build(capsys, "show")
    assert [line.split()[:2] for line in out.splitlines()] == [["IMAGE", "NEWEST"], ["app", "1.0.0"], ["web", "1.0.0"]]
    _, out, _ = build(capsys, "show", "w*")
    assert [line.split()[:2] for line in out.splitlines()] == [["IMAGE", "NEWEST"], ["web", "1.0.0"]]


def test_a_saved_plan_is_shown_as_it_was(project, capsys):
    planned = build(capsys, "plan", "--out", "p")[1]
    assert build(capsys, "show", "p")[1] == planned
    document = json.loads(build(capsys, "show", "p", "--format", "json")[1])
    assert (document["stale"], document["applyable"]) == ([], True)


def test_a_plan_that_does_not_hold_says_why(project, capsys):
    build(capsys, "plan", "--out", "p", "web")
    (project / "images/tidy.sh").write_text(TIDY + "echo four\n")
    code, out, _ = build(capsys, "show", "p")
    assert code == 0
    assert out.startswith("STALE because file images/tidy.sh changed (sha256 ")
    assert out.endswith("To plan again:  build plan\n")
    assert "Plan: 1 to build." in out


def test_a_plan_is_shown_where_its_project_is_gone(project, capsys):
    build(capsys, "plan", "--out", "p")
    (project / "images/web.yaml").write_text("nonsense: [\n")
    code, out, _ = build(capsys, "show", "p")
    assert code == 0
    assert out.startswith("STALE because it can't be made again here: ")
    assert "Plan: 2 to build." in out


def test_a_plan_that_was_applied_is_stale(project, capsys):
    build(capsys, "plan", "--out", "p")
    plan = json.loads(Path("p").read_text())["id"]
    Store(project / ".build").mark_applied(plan, "run-1")
    assert build(capsys, "show", "p")[1].startswith("STALE because it was applied already\n")


def test_an_invalid_spec_hides_no_other_image(project, capsys):
    publish_all(project)
    (project / "images/bad.yaml").write_text("name: bad\nos: 3\n")
    code, out, err = build(capsys, "show", "web")
    assert (code, err) == (0, "")
    assert "1.0.0" in out
    code, out, err = build(capsys, "show")
    assert code == 3
    assert [line.split()[:2] for line in out.splitlines()] == [["IMAGE", "NEWEST"], ["app", "1.0.0"], ["web", "1.0.0"]]
    _, out, _ = build(capsys, "show", "w*")
    assert [line.split()[:2] for line in out.splitlines()] == [["IMAGE", "NEWEST"], ["web", "1.0.0"]]
    assert "images/bad.yaml:2:5: error[type]" in err
    # It may be the name of the one that is invalid
    code, out, err = build(capsys, "show", "bad")
    assert (code, out) == (3, "")
    assert "images/bad.yaml:2:5: error[type]" in err


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_an_image_beside_an_invalid_spec_is_asked_for_by_its_file(project, capsys, command):
    (project / "images/bad.yaml").write_text("name: bad\nos: 3\n")
    code, _, err = build(capsys, command, "web")
    assert code == 3
    assert err.endswith("hint: other specs are invalid: give images/web.yaml instead of a name\n")
    assert "hint: other specs" not in build(capsys, command)[2]
    # The one that is asked for, or that it stands on, is at fault
    for name in ("bad", "b*", "ba?"):
        assert "hint: other specs" not in build(capsys, command, name)[2]
    (project / "images/web.yaml").write_text("name: web\nos: 3\n")
    assert "hint: other specs" not in build(capsys, command, "app")[2]
    (project / "images/web.yaml").write_text(WEB)
    assert build(capsys, "plan", "images/web.yaml")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "'nothing' is no image, no run and no saved plan"),
        (["nothing"], "hint: known images: app, web (`build show` lists images and runs)\n"),
        (["wbe"], "hint: did you mean 'web'? (`build show` lists"),
        (["x*"], "no image is called 'x*'"),
        (["build.yaml"], "is not a saved plan"),
        (["web", "--format", "markdown"], "only plans are shown as Markdown"),
    ],
)
def test_what_can_not_be_shown(project, capsys, arguments, message):
    code, _, err = build(capsys, "show", *arguments)
    assert code == 1
    assert message in err
