import json
import stat
from pathlib import Path

import jsonschema
import pytest

from builder.cli.app import invoke
from tests.unit.cli.projects import STUCK, TIDY, WEB, make_project, publish_all

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "plan.schema.json").read_text())


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def build(capsys, *arguments):
    """The exit code, standard output and standard error of a command line."""
    code = invoke(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--detailed-exitcode",), 2)])
def test_changes(project, capsys, options, code):
    found, out, err = build(capsys, "plan", *options)
    assert (found, err) == (code, "")
    assert "Plan: 2 to build.\n" in out
    assert out.endswith("To save it:   build plan --out build.buildplan\n")
    assert out.index("web will be built") < out.index("app will be built")


def test_no_changes(project, capsys):
    publish_all(project)
    code, out, _ = build(capsys, "plan", "--detailed-exitcode")
    assert code == 0
    assert "No changes. 2 images match their specs (checked 2, 0 skipped).\n" in out


def test_an_edited_line_of_the_last_script(project, capsys):
    publish_all(project)
    (project / "images/tidy.sh").write_text(TIDY.replace("echo three", "echo 3"))
    code, out, _ = build(capsys, "plan", "images/web.yaml")
    assert code == 0
    assert "  ~ web  rebuild  images/tidy.sh changed (step 3)  images/tidy.sh:4\n" in out
    assert "-echo three\n" in out
    assert "+echo 3\n" in out
    assert "app.yaml" not in out


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["images/web.yaml"], ["web"]),
        (["images"], ["web", "app"]),
        (["w*"], ["web"]),
        (["app"], ["web", "app"]),
        (["images/web.yaml", "ap?"], ["web", "app"]),
        (["--exclude", "app"], ["web"]),
    ],
)
def test_what_is_selected(project, capsys, targets, expected):
    _, out, _ = build(capsys, "plan", "--format", "json", *targets)
    assert [image["image"] for image in json.loads(out)["image_changes"]] == expected


def test_a_base_that_was_not_asked_for_is_left_out_when_it_is_published(project, capsys):
    publish_all(project)
    (project / "images/app.yaml").write_text((project / "images/app.yaml").read_text().replace("make", "make all"))
    _, out, _ = build(capsys, "plan", "images/app.yaml", "--format", "json")
    assert [image["image"] for image in json.loads(out)["image_changes"]] == ["app"]
    assert json.loads(out)["unchanged"] == []


def test_a_blocked_image_is_shown_and_then_an_error(project, capsys):
    (project / "images/far.yaml").write_text(
        WEB.replace("name: web", "name: far") + "publish: {version: 1.0.0, to: [{directory: {path: gallery}}]}\n"
    )
    # Another tool's version has the number that this spec asks for
    (project / "gallery/far/1.0.0").mkdir(parents=True)
    code, out, err = build(capsys, "plan")
    assert code == 1
    assert "! far is blocked" in out
    assert "Plan: 2 to build, 1 blocked.\n" in out
    assert err.startswith("error[plan-blocked]: 1 image is blocked, so this plan is not complete\n")
    assert "hint: mend what the plan says blocks it, or plan with --exclude far\n" in err
    assert build(capsys, "plan", "--exclude", "far")[0] == 0


def test_everything_that_blocks_an_image_is_said_at_once(project, capsys):
    (project / "images/stuck.yaml").write_text(STUCK)
    (project / "taken").write_text("a file where a gallery should be")
    code, out, _ = build(capsys, "plan", "stuck", "--format", "json")
    assert code == 1
    found = [(item["code"], item["source"]["line"]) for item in json.loads(out)["diagnostics"]]
    assert found == [("source-changed", 4), ("foreign-architecture", 2), ("destination-read-only", 7)]


def test_a_blocked_plan_says_that_it_was_saved(project, capsys):
    (project / "images/stuck.yaml").write_text(STUCK)
    for targets, end in (([], "To do exactly this:  build apply p"), (["stuck"], None)):
        code, out, err = build(capsys, "plan", "--out", "p", *targets)
        assert code == 1
        assert Path("p").exists()
        saved = next(line for line in out.splitlines() if line.startswith("Saved p (id "))
        assert out.splitlines()[-1] == (end or saved)
        assert "so this plan is not complete (it was saved to p)\n" in err
    _, out, err = build(capsys, "plan", "--out", "p", "--format", "json")
    assert "(it was saved to p)" in err


def test_json_is_one_document_as_the_schema_says_and_holds_no_secret(project, capsys, monkeypatch):
    monkeypatch.setenv("APP_TOKEN", "hunter2-hunter2")
    for step in ("first", "unchanged"):
        for style in ("json", "text", "markdown"):
            _, out, _ = build(capsys, "plan", "--format", style, "--out", "p")
            assert "hunter2" not in out, step
            assert "hunter2" not in Path("p").read_text()
            if style == "json":
                jsonschema.validate(json.loads(out), SCHEMA, cls=jsonschema.Draft7Validator)
        publish_all(project)


def test_a_saved_plan_is_its_owners_and_says_what_to_do(project, capsys):
    _, out, _ = build(capsys, "plan", "--out", "prod.plan", "web")
    assert out.endswith("To do exactly this:  build apply prod.plan\n")
    assert stat.S_IMODE(Path("prod.plan").stat().st_mode) == 0o600


def test_twice_the_same_but_for_id_and_times(project, capsys):
    documents = [json.loads(build(capsys, "plan", "--format", "json")[1]) for _ in range(2)]
    for document in documents:
        for name in ("plan_id", "created", "expires"):
            del document[name]
    assert documents[0] == documents[1]


def test_names_that_match_nothing(project, capsys):
    code, _, err = build(capsys, "plan", "wbe")
    assert code == 1
    assert "no image is called 'wbe'" in err
    assert "did you mean 'web'?" in err


def test_nothing_is_left(project, capsys):
    code, out, _ = build(capsys, "plan", "--exclude", "*")
    assert code == 0
    assert "No changes. Every image was left out (checked 0, 2 skipped).\n" in out


def test_an_invalid_spec(project, capsys):
    (project / "images/web.yaml").write_text(WEB + "prepair: []\n")
    assert build(capsys, "plan")[0] == 3


def test_pipes_have_no_colour_unless_it_is_forced(project, capsys, monkeypatch):
    assert "\x1b" not in build(capsys, "plan")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m" in build(capsys, "plan")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in build(capsys, "plan")[1]


def test_the_next_command_repeats_the_options(project, capsys):
    _, out, _ = build(capsys, "plan", "--exclude", "app", "--rebuild", "web", "w*")
    assert "To apply:     build apply --exclude app --rebuild web 'w*'\n" in out


def test_markdown_has_its_marker(project, capsys):
    _, out, _ = build(capsys, "plan", "--format", "markdown")
    assert out.startswith("<!-- build:plan v1 {")


@pytest.mark.parametrize("name", ["images/web.yaml", "build.yaml", "images/tidy.sh", "images", "nowhere/p"])
def test_saving_a_plan_overwrites_nothing_else(project, capsys, name):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    code, out, err = build(capsys, "plan", "--out", name)
    assert (code, out) == (1, "")
    assert err.startswith(("error[exists]: ", "error[plan-file]: "))
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
