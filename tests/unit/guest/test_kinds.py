"""Steps of the prepare kinds: inputs, titles, changes, places, and the files that they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError, Place, PlanStale
from builder.guest.kinds import STEP_BUILDERS, paths_of_ours, prepare_step
from builder.guest.kinds.common import LONGEST_TEXT, read_again
from builder.model.kinds import KINDS
from builder.model.spec import Choice
from builder.model.steps import Preview, Stage, Step
from tests.unit.guest.images import entry, make_image, place_file


def step_of(root: Path, choice: Choice, **options: Any) -> Step:
    return prepare_step(choice, make_image(root, [choice], **options))


CASES = [
    (
        entry("packages", upgrade=True, install=["nginx", "jq=1.6-2"], remove=["telnet"]),
        "upgrade all packages; install nginx, jq=1.6-2; remove telnet",
        Preview.PREDICTED,
        [("change", "package", "all installed packages"), ("create", "package", "nginx"), ("create", "package", "jq"),
         ("delete", "package", "telnet")],
    ),
    (
        entry("packages", upgrade=False, install=["a", "b", "c", "d", "e"], remove=[]),
        "install a, b, c and 2 more",
        Preview.PREDICTED,
        [("create", "package", name) for name in "abcde"],
    ),
    (
        entry("files", files=[{"path": "/etc/motd", "content": "hi\n"}]),
        "write /etc/motd",
        Preview.EXACT,
        [("create", "file", "/etc/motd")],
    ),
    (
        entry("template", source="files/motd.j2", path="/etc/motd", content="hi\n"),
        "write /etc/motd from files/motd.j2",
        Preview.EXACT,
        [("create", "file", "/etc/motd")],
    ),
    (
        entry("users", users=[{"name": "app", "system": True}, {"name": "eve", "sshKeys": ["ssh-ed25519 AAAA"]}]),
        "users app, eve",
        Preview.PREDICTED,
        [("create", "user", "app"), ("create", "user", "eve"), ("create", "file", "/home/eve/.ssh/authorized_keys")],
    ),
    (
        entry("services", enable=["nginx"], disable=["apt-daily.timer"], mask=["ctrl-alt-del.target"]),
        "disable apt-daily.timer; enable nginx; mask ctrl-alt-del.target",
        Preview.PREDICTED,
        [("change", "service", "apt-daily.timer"), ("change", "service", "nginx"),
         ("change", "service", "ctrl-alt-del.target")],
    ),
    (entry("run", command="echo hello\necho world\n"), "run echo hello …", Preview.OPAQUE, []),
    (entry("run", command="echo " + "x" * 100), "run echo " + "x" * 54 + "…", Preview.OPAQUE, []),
    (entry("restart"), "restart (does nothing offline)", Preview.EXACT, []),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "title", "preview", "changes"), CASES)
def test_what_the_plan_shows(
    tmp_path: Path, choice: Choice, title: str, preview: Preview, changes: list[tuple[str, str, str]]
) -> None:
    step = step_of(tmp_path, choice)
    assert (step.title, step.preview, step.stage, step.kind) == (title, preview, Stage.PREPARE, choice.kind)
    assert [(item.action, item.kind, item.name) for item in step.changes] == changes
    assert step.checkpoint
    # What comes back from a saved plan is what was planned
    assert Step.from_dict(json.loads(json.dumps(step.as_dict()))) == step


def test_every_kind_can_run_its_steps() -> None:
    assert {KINDS[name].name for name in STEP_BUILDERS} == set(STEP_BUILDERS)


def test_a_restart_in_azure_is_one(tmp_path: Path) -> None:
    assert step_of(tmp_path, entry("restart"), machine="azure").title == "restart"


def test_a_kind_of_windows_is_refused_at_its_place(tmp_path: Path) -> None:
    choice = entry("registry")
    image = make_image(tmp_path, [choice], places={("prepare", 0, "registry"): Place("images/web.yaml", 7, 5)})
    with pytest.raises(BuildError) as caught:
        prepare_step(choice, image)
    assert caught.value.where == Place("images/web.yaml", 7, 5)
    assert caught.value.code == "unsupported-step"


def test_a_timeout_is_no_input(tmp_path: Path) -> None:
    step = step_of(tmp_path, entry("run", command="true", timeout=90.0))
    assert step.timeout == 90.0
    assert "timeout" not in step.inputs


def test_secrets_stay_references(tmp_path: Path) -> None:
    step = step_of(tmp_path, entry("run", command="true", secrets={"TOKEN": {"env": "APP_TOKEN"}}))
    assert step.inputs["secrets"] == {"TOKEN": {"env": "APP_TOKEN"}}


def test_inputs_know_their_places(tmp_path: Path) -> None:
    """Lists of maps have a place for each value; a short form leaves the inner key out of the document's path."""
    files = [{"path": "/a", "content": "x"}, {"path": "/b", "content": "y"}]
    base = ("prepare", 0, "files")
    places = {
        base: Place("images/web.yaml", 3, 5),
        (*base, 0): Place("images/web.yaml", 4, 7),
        (*base, 1): Place("images/web.yaml", 5, 7),
        (*base, 1, "content"): Place("images/web.yaml", 6, 9),
    }
    step = step_of(tmp_path, entry("files", files=files), places=places)
    assert step.place == Place("images/web.yaml", 3, 5)
    assert step.places["files.1.content"] == Place("images/web.yaml", 6, 9)
    long = step_of(
        tmp_path, entry("files", files=files), places={(*base, "files", 1, "content"): Place("images/web.yaml", 9, 9)}
    )
    assert long.places["files.1.content"] == Place("images/web.yaml", 9, 9)


def test_files_are_named_below_the_root_with_their_digest(tmp_path: Path) -> None:
    place_file(tmp_path, "images/files/tokens.conf", "tokens\n")
    place_file(tmp_path, "shared/big", b"\0" * (LONGEST_TEXT + 1))
    step = step_of(
        tmp_path,
        entry("files", files=[{"path": "/etc/t", "source": "files/tokens.conf", "mode": "0600", "owner": "app"},
                              {"path": "/opt/big", "source": "../shared/big"}]),
    )  # fmt: skip
    assert [(file.path, file.size, file.text) for file in step.files] == [
        ("images/files/tokens.conf", 7, "tokens\n"),
        ("shared/big", LONGEST_TEXT + 1, None),
    ]
    assert step.inputs["files"][0] == {
        "path": "/etc/t", "source": "images/files/tokens.conf", "mode": "0600", "owner": "app", "group": "root",
    }  # fmt: skip
    assert [change.detail for change in step.changes] == ["7 bytes, 0600 app:root", "16385 bytes, 0644 root:root"]


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    place_file(tmp_path, "images/app/bin/start", "#!/bin/sh\n", 0o700)
    # As git has it: the same in every checkout, whatever its umask
    place_file(tmp_path, "images/app/a b.conf", "x\n", 0o600)
    step = step_of(tmp_path, entry("files", files=[{"path": "/opt/app/", "source": "app"}]))
    assert [(item["path"], item["mode"], item["folder"]) for item in step.inputs["files"]] == [
        ("/opt/app/a b.conf", "0644", "images/app"),
        ("/opt/app/bin/start", "0755", "images/app"),
    ]


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    place_file(tmp_path, "images/app/x", "x")
    (tmp_path / "images/app/link").symlink_to("/etc/passwd")
    with pytest.raises(BuildError, match="not a regular file"):
        step_of(tmp_path, entry("files", files=[{"path": "/opt/app", "source": "app"}]))


@pytest.mark.parametrize("source", ["../../outside", "/etc/passwd", "link"])
def test_files_outside_of_the_project_are_refused(tmp_path: Path, source: str) -> None:
    root = tmp_path / "project"
    root.mkdir()
    place_file(tmp_path, "outside", "secret")
    image = make_image(root)
    (image.folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(BuildError, match="outside of the project") as caught:
        prepare_step(entry("files", files=[{"path": "/x", "source": source}]), image)
    assert caught.value.code == "path-outside"


def test_a_missing_file_is_an_error_at_its_place(tmp_path: Path) -> None:
    choice = entry("script", path="scripts/no.sh")
    image = make_image(tmp_path, places={("prepare", 0, "script", "path"): Place("images/web.yaml", 8, 20)})
    with pytest.raises(BuildError, match="can't be read") as caught:
        prepare_step(choice, image)
    assert caught.value.where == Place("images/web.yaml", 8, 20)


SHEBANGS = [
    ("echo hi\n", None, ["/bin/sh", "-eu"]),
    ("#!/bin/bash\necho hi\n", None, ["/bin/bash"]),
    ("#!/usr/bin/env python3\n", None, ["/usr/bin/env", "python3"]),
    ("#! /usr/bin/env -S python3 -u\n", None, ["/usr/bin/env", "-S python3 -u"]),
    ("#!/bin/bash\n", "/bin/sh -x", ["/bin/sh", "-x"]),
    ("#!\n", None, ["/bin/sh", "-eu"]),
    ("", None, ["/bin/sh", "-eu"]),
]


@pytest.mark.parametrize(("text", "given", "interpreter"), SHEBANGS)
def test_the_interpreter_of_a_script(tmp_path: Path, text: str, given: str | None, interpreter: list[str]) -> None:
    place_file(tmp_path, "images/x.sh", text)
    step = step_of(tmp_path, entry("script", path="x.sh", interpreter=given, args=["a b"], env={"A": "1"}))
    assert step.inputs["interpreter"] == interpreter
    assert (step.inputs["path"], step.inputs["args"], step.inputs["env"]) == ("images/x.sh", ["a b"], {"A": "1"})


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\x7fELF\0\0", "not-a-script"), (b"#!/bin/sh\n# \xff\n", "not-a-script"), (b"#!/bin/sh\r\nid\r\n", "line-ends")],
)
def test_what_is_no_script(tmp_path: Path, content: bytes, code: str) -> None:
    place_file(tmp_path, "images/x.sh", content)
    with pytest.raises(BuildError) as caught:
        step_of(tmp_path, entry("script", path="x.sh"))
    assert caught.value.code == code


def test_a_file_that_moved_after_the_plan_is_named(tmp_path: Path) -> None:
    script = place_file(tmp_path, "images/x.sh", "echo old\n")
    step = step_of(tmp_path, entry("script", path="x.sh"))
    assert read_again(step, tmp_path) == {"images/x.sh": script}
    script.write_text("echo new and longer\n")
    with pytest.raises(PlanStale, match=r"images/x\.sh was changed"):
        read_again(step, tmp_path)


def test_paths_of_ours(tmp_path: Path) -> None:
    place_file(tmp_path, "images/app/x", "x")
    image = make_image(
        tmp_path,
        [
            entry("files", 0, files=[{"path": "/etc/b", "content": ""}, {"path": "/opt/app", "source": "app"}]),
            entry("template", 1, source="t", path="/etc/a", content=""),
            entry("users", 2, users=[{"name": "root", "sshKeys": ["ssh-ed25519 A"]}, {"name": "x"}]),
            entry("run", 3, command="touch /etc/c"),
        ],
    )
    assert paths_of_ours(image) == ("/etc/a", "/etc/b", "/opt/app/x", "/root/.ssh/authorized_keys")
