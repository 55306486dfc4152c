"""The scripts that steps become: pure functions of inputs and facts."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.guest.kinds import files, packages, scripts, services, users
from builder.guest.kinds.packages import MANAGERS
from builder.model.run import GuestScript
from tests.unit.guest.images import FACTS

INPUTS = {"upgrade": True, "install": ["nginx", "jq=1.6-2"], "remove": ["telnet"]}

COMMANDS = {
    "apt": ["update", "upgrade --with-new-pkgs", "install --allow-downgrades -- nginx jq=1.6-2", "purge -- \"$@\""],
    "dnf": ["upgrade --refresh", "install --refresh -- nginx jq-1.6-2", "remove -- \"$@\""],
    "yum": ["makecache", "update", "install -- nginx jq-1.6-2", "remove -- \"$@\""],
    "tdnf": ["makecache", "update", "install nginx jq-1.6-2", "remove \"$@\""],
    "zypper": ["refresh", "update --auto", "--oldpackage -- nginx jq=1.6-2", "zypper remove -- \"$@\""],
    "apk": ["update", "upgrade", "add -- nginx jq=1.6-2", "del -- \"$@\""],
}  # fmt: skip


def packages_script(manager: str, **inputs: object) -> GuestScript:
    return packages.script(inputs, replace(FACTS, package_manager=manager), {})


@pytest.mark.parametrize("manager", MANAGERS)
def test_each_manager_in_its_own_words_and_order(manager: str) -> None:
    text = packages_script(manager, **INPUTS).text
    positions = [text.find(part) for part in COMMANDS[manager]]
    assert -1 not in positions, text
    assert positions == sorted(positions)
    assert text.rstrip().endswith("remove_installed telnet")


def test_removing_alone_fetches_no_index() -> None:
    for manager in MANAGERS:
        text = packages_script(manager, upgrade=False, install=[], remove=["telnet"]).text
        assert "refresh" not in text.replace("zypper()", "") and "makecache" not in text and " update" not in text


def test_nothing_asked_is_nothing_done() -> None:
    assert packages_script("apt", upgrade=False, install=[], remove=[]).text.strip() == ""


def test_an_image_without_a_known_manager() -> None:
    with pytest.raises(BuildError, match="no package manager") as caught:
        packages_script("", **INPUTS)
    assert caught.value.code == "no-package-manager"


def test_names_are_quoted() -> None:
    assert "'a;reboot'" in packages_script("apt", upgrade=False, install=["a;reboot"], remove=[]).text


def test_files_are_staged_and_put(tmp_path: Path) -> None:
    big = tmp_path / "app" / "bin" / "x y"
    inputs = {
        "files": [
            {"path": "/etc/a b", "content": "it's\n", "mode": "0600", "owner": "app", "group": "app"},
            {"path": "/opt/x", "source": "images/x", "mode": "0644", "owner": "root", "group": "root"},
            {"path": "/opt/app/bin/x y", "source": "images/app/bin/x y", "folder": "images/app", "mode": "0755",
             "owner": "root", "group": "root"},
        ]
    }  # fmt: skip
    script = files.files_script(inputs, FACTS, {"images/x": tmp_path / "x", "images/app/bin/x y": big})
    assert script.files == {"file-0": b"it's\n", "file-1": tmp_path / "x", "folder-0": tmp_path / "app"}
    assert script.text.splitlines()[-3:] == [
        "put \"$BUILD_FILES\"/file-0 '/etc/a b' 0600 app app",
        'put "$BUILD_FILES"/file-1 /opt/x 0644 root root',
        "put \"$BUILD_FILES\"/'folder-0/bin/x y' '/opt/app/bin/x y' 0755 root root",
    ]


def test_the_folders_of_a_folder_have_its_owner(tmp_path: Path) -> None:
    """Each is made once, before what is in it; what stands above the folder is not the folder's."""
    rights = {"folder": "images/app", "mode": "0644", "owner": "app", "group": "adm"}
    names = ["a", "bin/b", "bin/deep/c"]
    inputs = {"files": [{"path": f"/opt/x/{name}", "source": f"images/app/{name}", **rights} for name in names]}
    script = files.files_script(inputs, FACTS, {f"images/app/{name}": tmp_path / name for name in names})
    assert [line for line in script.text.splitlines() if line.startswith(("put ", "put_folder "))] == [
        "put_folder /opt/x app adm",
        'put "$BUILD_FILES"/folder-0/a /opt/x/a 0644 app adm',
        "put_folder /opt/x/bin app adm",
        'put "$BUILD_FILES"/folder-0/bin/b /opt/x/bin/b 0644 app adm',
        "put_folder /opt/x/bin/deep app adm",
        'put "$BUILD_FILES"/folder-0/bin/deep/c /opt/x/bin/deep/c 0644 app adm',
    ]


def test_a_template_is_a_file_with_known_content() -> None:
    entry = {"path": "/etc/motd", "content": "é\n", "mode": "0644", "owner": "root", "group": "root"}
    script = files.template_script(entry, FACTS, {})
    assert script.files == {"file-0": "é\n".encode()}


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_any_path_survives_quoting(path: str) -> None:
    entry = {"path": path, "content": "", "mode": "0644", "owner": "root", "group": "root"}
    call = files.files_script({"files": [entry]}, FACTS, {}).text.rpartition('put "$BUILD_FILES"/')[2]
    assert shlex.split(call)[1] == path


def test_users_become_calls() -> None:
    user = {"name": "app", "system": True, "uid": 900, "shell": "/bin/sh", "groups": ["adm", "sudo"],
            "sshKeys": ["ssh-ed25519 AAAA me@here"], "sudo": True, "comment": "An app"}  # fmt: skip
    lines = users.script({"users": [user, {"name": "eve"}]}, FACTS, {}).text.splitlines()
    assert lines[-6:] == [
        "account app 900 yes /bin/sh '' 'An app'",
        "join app adm",
        "join app sudo",
        "authorize app 'ssh-ed25519 AAAA me@here'",
        "may_sudo app",
        "account eve '' '' '' '' ''",
    ]


def test_services_become_calls_and_start_nothing() -> None:
    script = services.script({"enable": ["nginx"], "disable": ["a", "b"], "mask": []}, FACTS, {})
    assert script.text.splitlines()[-2:] == ["disable a b", "enable nginx"]
    assert script.env == {"SYSTEMD_OFFLINE": "1"}


def test_a_script_runs_under_its_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("print('é')\n")
    inputs = {"path": "images/x.py", "interpreter": ["/usr/bin/env", "python3"], "args": ["a"], "env": {"B": "c"}}
    assert scripts.script_of_file(inputs, FACTS, {"images/x.py": path}) == GuestScript(
        "print('é')\n", interpreter=("/usr/bin/env", "python3"), arguments=("a",), env={"B": "c"}
    )


def test_a_command_stops_at_its_first_error() -> None:
    script = scripts.script_of_command({"command": "false\ntrue", "env": {}}, FACTS, {})
    assert (script.text, script.interpreter) == ("false\ntrue\n", ("/bin/sh", "-eu"))
