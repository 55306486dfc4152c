"""What blocks Sysprep, the script that runs it, and what its failures become."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.guest import sysprep
from builder.guest.generalize import generalize_step
from builder.guest.powershell import TEMPLATES, template
from builder.guest.sysprep_findings import SysprepFacts, blocking, sysprep_findings
from builder.model.kinds import KINDS
from builder.model.spec import OsSpec
from builder.model.steps import Stage, Step
from builder.model.sysprep_roles import ROLES, Support, installed_roles, role_of
from tests.unit.guest.images import make_image
from tests.unit.guest.windows.facts import HEALTHY
from tests.unit.guest.windows.guest import bench
from tests.unit.guest.windows.parsing import commands, parsed

STORE = {"name": "Photos_1", "provisioned": False}

FINDINGS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, [], []),
    ({"features": ["DHCP"]}, ["role"], []),
    ({"features": ["ad-domain-services", "DNS", "UpdateServices"]}, ["role", "role"], []),
    ({"features": ["WDS"]}, [], ["role"]),
    ({"features": ["Hyper-V"]}, [], []),
    ({"features": ["Hyper-V"], "virtual_switches": 1}, ["role"], []),
    ({"features": ["Web-Server"], "encrypted_credentials": True}, ["role"], []),
    ({"features": [], "encrypted_credentials": True}, [], []),
    ({"encrypted_volumes": ["C:", "D:"]}, ["bitlocker"], []),
    ({"pending_restart": ["servicing", "renames"]}, ["pending-restart"], []),
    ({"pending_restart": ["updates"]}, ["pending-restart"], []),
    ({"pending_restart": ["renames"]}, [], ["pending-renames"]),
    ({"domain": "corp.example"}, [], ["domain"]),
    ({"store_apps": [STORE]}, ["store-app"], []),
    ({"store_apps": [{**STORE, "provisioned": True}]}, [], ["store-app"]),
    ({"cdrom_start": 0}, [], []),
    ({"cdrom_start": 4}, ["cdrom"], []),
    ({"cdrom_start": None}, ["cdrom"], []),
    ({"storage_denied": True}, ["storage-policy"], []),
    ({"image_state": "IMAGE_STATE_UNDEPLOYABLE"}, ["image-state"], []),
    ({"image_state": ""}, ["image-state"], []),
    ({"generalization_state": 4}, [], ["sysprep-status"]),
    ({"generalization_state": None, "cleanup_state": None}, [], []),
    ({"rearms_left": 0}, ["rearms"], []),
    ({"rearms_left": 0, "skip_rearm": True}, [], []),
    ({"rearms_left": 994}, [], []),
    ({"rearms_left": 993}, [], ["many-runs"]),
    # An evaluation has a few rearms, which say nothing about earlier runs
    ({"rearms_left": 5}, [], []),
    ({"rearms_left": None}, [], []),
    ({"agents": []}, [], ["agent"]),
    ({"domain": "x", "encrypted_volumes": ["C:"], "cdrom_start": 4}, ["bitlocker", "cdrom"], ["domain"]),
]


@pytest.mark.parametrize(("facts", "blocks", "notes"), FINDINGS)
def test_what_is_found(facts: dict[str, Any], blocks: list[str], notes: list[str]) -> None:
    found = sysprep_findings(SysprepFacts.from_result({**HEALTHY, **facts}))
    assert [item.code for item in blocking(found)] == blocks
    assert [item.code for item in found] == blocks + notes
    assert all(item.remedy and item.describe().startswith(item.message) for item in found)


def test_every_finding_has_a_case() -> None:
    text = (Path(sysprep.__file__).parent / "sysprep_findings.py").read_text()
    codes = set(re.findall(r'SysprepFinding\(\s*"([a-z-]+)"', text))
    assert codes == {code for _, blocks, notes in FINDINGS for code in (*blocks, *notes)}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_facts_that_are_missing_are_named(name: str) -> None:
    with pytest.raises(BuildError, match=name):
        SysprepFacts.from_result({key: value for key, value in HEALTHY.items() if key != name})


def test_the_script_tells_every_fact() -> None:
    function = template("sysprep_check").rpartition("function Get-SysprepFact")[2]
    told = set(re.findall(r"^ {8}([a-z_]+) = ", function, re.MULTILINE))
    assert told == {item.name for item in fields(SysprepFacts)} == set(HEALTHY)


RUNS = [(1001, 0), (1000, 1), (993, 8), (501, 500), (5, None), (1002, None), (None, None)]


@pytest.mark.parametrize(("left", "earlier"), RUNS)
def test_earlier_runs_are_counted_by_rearms(left: int | None, earlier: int | None) -> None:
    assert SysprepFacts.from_result({**HEALTHY, "rearms_left": left}).earlier_runs == earlier


def test_the_table_of_roles() -> None:
    """Microsoft says No to nine roles that Windows Server 2012 and later still have."""
    names = [feature.lower() for role in ROLES for feature in role.features]
    assert len(names) == len(set(names))
    assert sum(role.support == Support.NO for role in ROLES) == 9
    for role in ROLES:
        assert bool(role.reason) == (role.support in (Support.NO, Support.CONDITION)), role.name
    assert role_of("dhcp") is role_of("DHCP")
    # Tools for a role are not the role
    assert role_of("RSAT-DHCP") is None
    assert [role.name for role in installed_roles(["Web-Server", "DHCP", "X"])] == ["DHCP Server", "Web Server (IIS)"]


def sysprep_step(tmp_path: Path, **changes: Any) -> Step:
    image = replace(make_image(tmp_path, machine="azure"), os=OsSpec("windows"))
    return replace(generalize_step(image), **changes)


def test_the_step_of_a_windows_image(tmp_path: Path) -> None:
    step = sysprep_step(tmp_path)
    assert (step.stage, step.kind, dict(step.inputs), step.checkpoint) == (
        Stage.GENERALIZE, "sysprep", {"mode": "vm"}, True,
    )  # fmt: skip
    assert KINDS[step.kind].version == sysprep.VERSION


def test_the_script_in_order() -> None:
    made = sysprep.sysprep_script(seconds=900)
    calls = [name for name in commands(made.text) if f"function {name}" in made.text]
    main = calls[calls.index("Add-Cause") :]
    assert main == ["Add-Cause"] * len(sysprep.CAUSES) + ["Remove-LeftOvers", "Wait-Agents", "Invoke-Sysprep"]
    assert "-Arguments:@('/generalize', '/oobe', '/quit', '/mode:vm', '/quiet') -Seconds:900 -Grace:60" in made.text
    assert made.timeout is not None and made.timeout > 900 + sysprep.AGENT_SECONDS + sysprep.GRACE_SECONDS


def test_the_check_changes_nothing() -> None:
    made = sysprep.check_script()
    called = {name for name in commands(made.text) if f"function {name}" not in made.text}
    verbs = {name.split("-")[0] for name in called if "-" in name}
    assert verbs <= {"Get", "Test", "Select", "Where", "ForEach", "ConvertTo", "Write", "Set", "Invoke", "New"}
    assert {name for name in called if name.startswith(("Set-", "Invoke-"))} == {"Set-StrictMode", "Invoke-CimMethod"}
    assert "New-Object" not in template("sysprep_check")
    # Of the methods only one that reads is called
    assert re.findall(r"-MethodName (\S+?)\)", made.text) == ["GetConversionStatus"]


LOGS = [
    ("Error SYSPRP Failed to remove apps for the current user: 0x80073cf2.", "store-app"),
    ("SYSPRP Package X was installed for a user, but not provisioned for all users.", "store-app"),
    ("SYSPRP BitLocker-Sysprep: BitLocker is on for the OS volume. (0x80310039)", "bitlocker"),
    ("There are one or more Windows updates that require a reboot.", "restart"),
    ("hr = 0x800F0975", "restart"),
    ("RunExternalDlls: 0xC004D307", "rearm"),
    ("something else", None),
]


@pytest.mark.parametrize(("line", "cause"), LOGS)
def test_the_logs_tell_the_cause(line: str, cause: str | None) -> None:
    """As the script does it: the first pattern that matches, whatever the case."""
    found = [item.name for item in sysprep.CAUSES if item.pattern and re.search(item.pattern, line, re.IGNORECASE)]
    assert found[:1] == ([cause] if cause else [])


def test_every_cause_has_a_code_of_its_own() -> None:
    codes = [item.code for item in sysprep.CAUSES]
    assert len(set(codes)) == len(codes) and not {0, 1} & set(codes)
    named = set(re.findall(r"Stop-Failed -Name '([a-z-]+)'", (TEMPLATES / "sysprep.ps1").read_text()))
    assert named <= {item.name for item in sysprep.CAUSES if not item.pattern}
    assert sysprep.CAUSES[-1].name == "other"


def test_a_healthy_windows_is_sealed(tmp_path: Path) -> None:
    made = bench(HEALTHY, "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE after 61 seconds")
    KINDS["sysprep"].run(sysprep_step(tmp_path, timeout=600.0), made.context)
    assert "earlier runs of Sysprep: 1; rearms left: 1000" in made.log
    assert made.log[-1].startswith("IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE")
    assert [script.text.splitlines()[0] for script in made.session.guest.scripts] == [
        "# build: sysprep-check", "# build: sysprep",
    ]  # fmt: skip
    assert "-Seconds:600" in made.session.guest.scripts[1].text


def test_what_blocks_is_told_before_sysprep_begins(tmp_path: Path) -> None:
    made = bench({**HEALTHY, "features": ["DHCP"], "encrypted_volumes": ["C:"], "domain": "corp"}, "never")
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(sysprep_step(tmp_path), made.context)
    assert caught.value.code == "sysprep-blocked"
    assert "DHCP Server" in caught.value.message and "(and 1 more)" in caught.value.message
    assert "C:" in (caught.value.detail or "")
    assert len(made.session.guest.scripts) == 1
    assert sum(line.startswith("blocks:") for line in made.log) == 2


def failed(printed: str, code: str = "step-failed") -> BuildError:
    return BuildError("ended with exit code 23", code=code, detail=printed)


@pytest.mark.parametrize("cause", sysprep.CAUSES, ids=lambda cause: cause.name)
def test_a_failure_is_its_cause(tmp_path: Path, cause: sysprep.Cause) -> None:
    printed = f'---- setuperr.log\nlast line\nbuild: result {{"cause": "{cause.name}", "state": "IMAGE_STATE_X"}}'
    made = bench(HEALTHY, failed(printed))
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(sysprep_step(tmp_path), made.context)
    assert (caught.value.code, caught.value.hint) == (f"sysprep-{cause.name}", cause.hint)
    assert caught.value.message == f"{cause.message} (the image's state is IMAGE_STATE_X)"
    assert made.log[-1] == "---- setuperr.log\nlast line"


@pytest.mark.parametrize(
    "error", [failed("no result"), failed('build: result {"cause": "other"}', "step-timeout")], ids=["early", "timeout"]
)
def test_other_failures_stay_what_they_are(tmp_path: Path, error: BuildError) -> None:
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(sysprep_step(tmp_path), bench(HEALTHY, error).context)
    assert caught.value is error


def test_logs_are_read_when_it_was_ended_from_outside(tmp_path: Path) -> None:
    """Nobody but Sysprep's own logs can tell why; the machine still answers."""
    ended = BuildError("did not end within 2460 s", code="step-timeout")
    printed = '---- setupact.log\nwaits for ever\nbuild: result {"cause": "timeout", "state": "IMAGE_STATE_X"}'
    made = bench(HEALTHY, ended, failed(printed))
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(sysprep_step(tmp_path), made.context)
    assert caught.value.code == "sysprep-timeout"
    assert "IMAGE_STATE_X" in caught.value.message
    assert made.log[-1] == "---- setupact.log\nwaits for ever"
    assert made.session.guest.scripts[-1].text.splitlines()[0] == "# build: sysprep-logs"


def test_a_machine_that_does_not_tell_them_is_no_other_error(tmp_path: Path) -> None:
    ended = BuildError("did not end within 2460 s", code="step-timeout")
    made = bench(HEALTHY, ended, BuildError("nobody answers", code="guest-unreachable"))
    with pytest.raises(BuildError) as caught:
        KINDS["sysprep"].run(sysprep_step(tmp_path), made.context)
    assert caught.value is ended
    assert made.log[-1] == "Sysprep's logs can't be read: nobody answers"


def test_scripts_are_powershell() -> None:
    for made in (sysprep.check_script(), sysprep.sysprep_script(), sysprep.logs_script()):
        parsed(made.text)
        assert made.text.isascii()
