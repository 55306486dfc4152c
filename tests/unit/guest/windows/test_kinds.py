"""Steps for Windows images, and the PowerShell that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.guest.kinds import STEP_BUILDERS, prepare_step, windows
from builder.guest.kinds.windows_settings import (
    features_script,
    registry_expression,
    registry_script,
    updates_script,
)
from builder.guest.powershell import BYTE_ORDER_MARK, POWERSHELL
from builder.model.kinds import KINDS
from builder.model.registry import registry_data
from builder.model.run import GuestScript
from builder.model.spec import Choice, ImageSpec, OsSpec
from builder.model.steps import Change, Preview, Step
from tests.unit.guest.images import entry, make_image, place_file
from tests.unit.guest.windows.guest import FACTS
from tests.unit.guest.windows.parsing import commands, parsed

UPDATES = {"criteria": "IsInstalled=0", "include": [], "exclude": ["Preview"], "limit": 9, "restarts": 2}
FEATURES = {"install": ["Web-Server"], "remove": ["FS-SMB1"], "subFeatures": True, "managementTools": False}
REGISTRY = [
    {"path": r"HKLM\SOFTWARE\X", "name": "N", "type": "DWord", "value": 4294967295, "state": "present"},
    {"path": r"HKLM\SOFTWARE\X", "name": "", "type": "String", "state": "absent"},
]


def windows_image(root: Path, *prepare: Choice) -> ImageSpec:
    return replace(make_image(root, prepare, machine="azure"), os=OsSpec("windows"))


def step_of(root: Path, choice: Choice) -> Step:
    return prepare_step(choice, windows_image(root, choice))


def last_lines(made: GuestScript, count: int) -> list[str]:
    """The script's calls: what stands between its functions and its exit."""
    parsed(made.text)
    assert made.interpreter == POWERSHELL
    *lines, end = made.text.splitlines()
    assert end == "exit 0"
    return lines[-count:]


STEPS = [
    (
        entry("packages", upgrade=False, install=["git=2.44.0"], remove=["telnet"]),
        "install git=2.44.0; remove telnet",
        Preview.PREDICTED,
        [Change("create", "package", "git", "2.44.0"), Change("delete", "package", "telnet")],
    ),
    (
        entry("files", files=[{"path": "C:/app/a.conf", "content": "x\n", "owner": "root", "group": "root"}]),
        r"write C:\app\a.conf",
        Preview.EXACT,
        [Change("create", "file", r"C:\app\a.conf", "2 bytes")],
    ),
    (
        entry("files", files=[{"path": r"C:\a", "content": "", "mode": "0600", "owner": "app", "group": "root"}]),
        r"write C:\a",
        Preview.EXACT,
        [Change("create", "file", r"C:\a", "0 bytes, without mode and owner: Windows has other rights and accounts")],
    ),
    (
        entry("template", source="a.j2", path=r"C:\a", content="é"),
        r"write C:\a from a.j2",
        Preview.EXACT,
        [Change("create", "file", r"C:\a", "2 bytes")],
    ),
    (
        entry(
            "users",
            users=[
                {"name": "svc", "system": True, "uid": 900, "home": "/x", "sudo": False},
                {"name": "ann", "groups": ["administrators"], "sshKeys": ["ssh-ed25519 A"]},
                {"name": "eve", "sshKeys": ["ssh-ed25519 A"]},
            ],
        ),
        "users svc, ann, eve",
        Preview.PREDICTED,
        [
            Change(
                "create", "user", "svc", "system, disabled, without uid and home: Windows has other rights and accounts"
            ),
            Change("create", "user", "ann", "in administrators, 1 SSH keys, no known password"),
            Change("create", "file", r"C:\ProgramData\ssh\administrators_authorized_keys", "1 SSH keys"),
            Change("create", "user", "eve", "1 SSH keys, no known password"),
            Change("create", "file", r"C:\Users\eve\.ssh\authorized_keys", "1 SSH keys"),
        ],
    ),
    (
        entry("services", enable=["W32Time"], disable=["Spooler"], mask=["Fax"]),
        "disable Spooler; enable W32Time; mask Fax",
        Preview.PREDICTED,
        [
            Change("change", "service", "Spooler", "Manual"),
            Change("change", "service", "W32Time", "Automatic"),
            Change("change", "service", "Fax", "Disabled"),
        ],
    ),
    (
        entry("windowsFeatures", **FEATURES),
        "features: install Web-Server; remove FS-SMB1",
        Preview.PREDICTED,
        [Change("create", "feature", "Web-Server"), Change("delete", "feature", "FS-SMB1")],
    ),
    (
        entry("windowsUpdates", **UPDATES),
        "install Windows updates: exclude Preview",
        Preview.OPAQUE,
        [Change("change", "update", "Windows updates", "at most 2 restarts")],
    ),
    (
        entry("registry", values=REGISTRY),
        r"registry: HKLM\SOFTWARE\X\N, HKLM\SOFTWARE\X\(default)",
        Preview.EXACT,
        [
            Change("change", "registry", r"HKLM\SOFTWARE\X\N", "DWord -1"),
            Change("delete", "registry", r"HKLM\SOFTWARE\X\(default)"),
        ],
    ),
    (entry("restart"), "restart", Preview.EXACT, []),
]


@pytest.mark.parametrize(("choice", "title", "preview", "changes"), STEPS)
def test_what_the_plan_shows(
    tmp_path: Path, choice: Choice, title: str, preview: Preview, changes: list[Change]
) -> None:
    step = step_of(tmp_path, choice)
    assert (step.title, step.preview, list(step.changes)) == (title, preview, changes)
    assert KINDS[step.kind].name in STEP_BUILDERS


def test_what_means_nothing_on_windows_makes_no_other_image(tmp_path: Path) -> None:
    plain = {"path": r"C:\a", "content": "x"}
    for more in ({"mode": "0600"}, {"owner": "app"}):
        assert (
            step_of(tmp_path, entry("files", files=[plain])).inputs
            == step_of(tmp_path, entry("files", files=[plain | more])).inputs
        )


def test_a_folder_keeps_its_shape(tmp_path: Path) -> None:
    place_file(tmp_path, "images/app/bin/start.ps1", "x")
    step = step_of(tmp_path, entry("files", files=[{"path": r"C:\app", "source": "app"}]))
    assert step.inputs["files"] == [
        {"path": r"C:\app\bin\start.ps1", "source": "images/app/bin/start.ps1", "folder": "images/app"}
    ]
    made = windows.files_script(step.inputs, FACTS, {"images/app/bin/start.ps1": tmp_path / "images/app/bin/start.ps1"})
    assert last_lines(made, 1) == [r"Set-BuildFile -Source:'folder-0\bin\start.ps1' -Path:'C:\app\bin\start.ps1'"]
    assert made.files == {"folder-0": tmp_path / "images/app"}


SCRIPTS = [
    (
        windows.packages_script,
        {"upgrade": True, "install": ["Git.Git=2.44.0", "jq"], "remove": ["telnet"]},
        [
            "Update-AllPackages",
            "Install-BuildPackage -Name:'Git.Git' -Version:'2.44.0'",
            "Install-BuildPackage -Name:'jq'",
            "Remove-BuildPackage -Name:'telnet'",
        ],
    ),
    (
        windows.files_script,
        {"files": [{"path": r"C:\it's\a", "content": "é"}]},
        [r"Set-BuildFile -Source:'file-0' -Path:'C:\it''s\a'"],
    ),
    (windows.template_script, {"path": r"C:\a", "content": ""}, [r"Set-BuildFile -Source:'file-0' -Path:'C:\a'"]),
    (
        windows.users_script,
        {
            "users": [
                {"name": "ann", "groups": ["Administrators"], "sshKeys": ["ssh-rsa A"], "comment": "it's Ann"},
                {"name": "svc", "system": True},
            ]
        },
        [
            "Set-BuildUser -Name:'ann' -Comment:'it''s Ann' -Disabled:$false",
            "Add-BuildMember -Name:'ann' -Group:'Administrators'",
            "Add-BuildKeys -Name:'ann' -Keys:@('ssh-rsa A')",
            "Set-BuildUser -Name:'svc' -Disabled:$true",
        ],
    ),
    (
        windows.services_script,
        {"enable": ["a", "b"], "disable": ["c"], "mask": []},
        [
            "Set-ServiceStart -Names:@('c') -Type:'Manual'",
            "Set-ServiceStart -Names:@('a', 'b') -Type:'Automatic'",
        ],
    ),
    (
        registry_script,
        {"values": REGISTRY},
        [
            r"Set-BuildValue -Hive:'LocalMachine' -Key:'SOFTWARE\X' -Name:'N' -Type:'DWord' -Value:([int]'-1')",
            r"Remove-BuildValue -Hive:'LocalMachine' -Key:'SOFTWARE\X' -Name:''",
        ],
    ),
    (
        lambda inputs, facts, files: features_script(inputs),
        FEATURES,
        [
            "$restart = $false",
            "if (Install-BuildFeatures -Names:@('Web-Server') -SubFeatures:$true -ManagementTools:$false) "
            "{ $restart = $true }",
            "if (Remove-BuildFeatures -Names:@('FS-SMB1')) { $restart = $true }",
            "Write-Result @{ restart = $restart }",
        ],
    ),
    (
        lambda inputs, facts, files: updates_script(inputs),
        UPDATES,
        ["Invoke-UpdateRound -Criteria:'IsInstalled=0' -Include:@() -Exclude:@('Preview') -Limit:9"],
    ),
]


@pytest.mark.parametrize(("script", "inputs", "lines"), SCRIPTS)
def test_steps_become_calls(script: Any, inputs: Mapping[str, Any], lines: list[str]) -> None:
    made = script(inputs, FACTS, {})
    assert last_lines(made, len(lines)) == lines
    assert made.text.isascii()


@pytest.mark.parametrize(("script", "inputs", "lines"), SCRIPTS)
def test_every_function_that_is_called_is_there(script: Any, inputs: Mapping[str, Any], lines: list[str]) -> None:
    text = script(inputs, FACTS, {}).text
    ours = {name for name in commands(text) if f"function {name}" in text}
    called = {line.removeprefix("if (").split()[0] for line in lines if not line.startswith("$")}
    assert called <= ours


@pytest.mark.parametrize("name", ['a"b', "a;b", "a b", "a=b=c", "-x"])
def test_a_package_that_none_could_mean(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError) as caught:
        step_of(tmp_path, entry("packages", install=[name], remove=[]))
    assert caught.value.code == "package-name"


def script_of(root: Path, path: str, content: bytes = b"Write-Output 1\n", **values: Any) -> GuestScript:
    place_file(root, f"images/{path}", content)
    step = step_of(root, entry("script", path=path, **values))
    return windows.script_of_file(step.inputs, FACTS, {f"images/{path}": root / "images" / path})


CALLS = [
    ("a.ps1", {}, "& ([System.IO.Path]::Combine($env:BUILD_FILES, 'a.ps1'))"),
    (
        "a.ps1",
        {"args": ["-Level", "it's", "-1", "-x y"]},
        "& ([System.IO.Path]::Combine($env:BUILD_FILES, 'a.ps1')) -Level 'it''s' '-1' '-x y'",
    ),
    ("a", {}, "& ([System.IO.Path]::Combine($env:BUILD_FILES, 'a.ps1'))"),
    ("it's a.CMD", {"args": ["/x"]}, "& ([System.IO.Path]::Combine($env:BUILD_FILES, 'script.cmd')) '/x'"),
    (
        "a.py",
        {"interpreter": r'"C:\Program Files\py.exe" -u', "args": ["-Level"]},
        r"& 'C:\Program Files\py.exe' '-u' ([System.IO.Path]::Combine($env:BUILD_FILES, 'a.py')) '-Level'",
    ),
]


@pytest.mark.parametrize(("path", "values", "expected"), CALLS)
def test_what_runs_a_script(tmp_path: Path, path: str, values: dict[str, Any], expected: str) -> None:
    made = script_of(tmp_path, path, **values)
    parsed(made.text)
    assert made.text.splitlines()[-2:] == [expected, "exit $LASTEXITCODE"]
    assert [name in expected for name in made.files] == [True]


@pytest.mark.parametrize(
    ("path", "values", "code"),
    [
        ("a.py", {}, "no-interpreter"),
        ("a.cmd", {"args": ["%PATH%"]}, "argument"),
        ("a.bat", {"args": ["a&b"]}, "argument"),
        ("a.py", {"interpreter": "python.exe", "args": ['a"b']}, "argument"),
    ],
)
def test_scripts_that_would_not_do_what_is_written(
    tmp_path: Path, path: str, values: dict[str, Any], code: str
) -> None:
    with pytest.raises(BuildError) as caught:
        script_of(tmp_path, path, **values)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("content", "staged"),
    [
        (b"'e'", b"'e'"),
        ("'é'".encode(), (BYTE_ORDER_MARK + "'é'").encode()),
        ((BYTE_ORDER_MARK + "'é'").encode(), (BYTE_ORDER_MARK + "'é'").encode()),
        ("'é'".encode("utf-16"), "'é'".encode("utf-16")),
    ],
)
def test_windows_powershell_is_told_the_encoding(tmp_path: Path, content: bytes, staged: bytes) -> None:
    assert script_of(tmp_path, "a.ps1", content).files == {"a.ps1": staged}


def test_a_command_is_run_as_it_is_written() -> None:
    made = windows.script_of_command({"command": "sc.exe start é\n", "env": {"A": "b"}}, FACTS, {})
    assert made.text.endswith("sc.exe start é\nexit $LASTEXITCODE\n")
    assert made.text.startswith(BYTE_ORDER_MARK)
    assert made.env == {"A": "b"}


VALUES = [
    ("String", "a'b", "'a''b'"),
    ("String", ["a"], "'a'"),
    ("String", 7, "'7'"),
    ("ExpandString", "%TEMP%", "'%TEMP%'"),
    ("MultiString", ["a", "b"], "([string[]]@('a', 'b'))"),
    ("MultiString", "a", "([string[]]@('a'))"),
    ("Binary", "00ff,10", "([byte[]]@(0, 255, 16))"),
    ("DWord", 1, "([int]'1')"),
    ("DWord", "0xFFFFFFFF", "([int]'-1')"),
    ("DWord", -1, "([int]'-1')"),
    ("QWord", 2**63, f"([long]'{-(2**63)}')"),
    ("QWord", ["12"], "([long]'12')"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES)
def test_values_of_the_registry(kind: str, value: Any, expected: str) -> None:
    made = registry_expression(kind, value)
    parsed(f"Set-Thing -Value:{made}")
    assert made == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DWord", 2**32),
        ("DWord", -(2**31) - 1),
        ("DWord", "one"),
        ("DWord", [1, 2]),
        ("QWord", 2**64),
        ("Binary", "0"),
        ("Binary", "xy"),
        ("Binary", 12),
        ("MultiString", [""]),
        ("MultiString", 7),
        ("String", ["a", "b"]),
    ],
)
def test_values_that_a_type_cannot_hold(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=kind):
        registry_data(kind, value)
