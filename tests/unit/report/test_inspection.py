"""What `build inspect` writes: text, JSON and SARIF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.guest.inspection.mending import Mended
from builder.guest.inspection.rules import RULES, DiskFinding, Inspection
from builder.report.inspection import as_json, as_sarif, as_text

ALIGNMENT = DiskFinding("vhd-alignment", "file", "the disk has 5 bytes")
SSH = DiskFinding("ssh", "/usr/sbin/sshd", "it is not there", ("a line", "another\nof two"), remedy="do this")
FOUND = Inspection("my disk.vhd", {"file": "fixed VHD", "starts as": "Generation 2"}, (ALIGNMENT, SSH), ("Windows: x",))
MENDED = Mended(
    Path("out.vhd"), (ALIGNMENT,), ((SSH, "ended with exit code 1\nno room"),), Inspection("out.vhd", {}, (SSH,))
)


def test_text() -> None:
    assert as_text(FOUND).splitlines() == [
        "my disk.vhd: not ready for Azure (1 error, 1 warning)",
        "  file       fixed VHD",
        "  starts as  Generation 2",
        "  not looked at: Windows: x",
        "",
        "error[vhd-alignment] file: the disk has 5 bytes",
        f"    why:  {RULES['vhd-alignment'].why}",
        f"    mend: {RULES['vhd-alignment'].remedy} (--fix {RULES['vhd-alignment'].mends})",
        "",
        "warning[ssh] /usr/sbin/sshd: it is not there",
        "    | a line",
        "    | another",
        "    | of two",
        f"    why:  {RULES['ssh'].why}",
        "    mend: do this",
    ]


def test_text_of_a_mended_copy() -> None:
    assert as_text(FOUND, MENDED).splitlines()[-6:] == [
        "out.vhd: a mended copy",
        "  mended    vhd-alignment: the disk has 5 bytes",
        "  failed    ssh: ended with exit code 1",
        "    | no room",
        "  remains   warning[ssh] /usr/sbin/sshd: it is not there",
        "out.vhd: ready for Azure (1 warning)",
    ]


def test_text_of_a_copy_with_nothing_mended() -> None:
    mended = Mended(Path("out.vhd"), (), (), Inspection("out.vhd", {}, (SSH,)))
    assert "out.vhd: a copy; nothing was mended" in as_text(FOUND, mended).splitlines()


@pytest.mark.parametrize(
    ("findings", "left_out", "verdict"),
    [
        ((), (), "disk: ready for Azure"),
        ((SSH, SSH), (), "disk: ready for Azure (2 warnings)"),
        ((), ("x",), "disk: nothing found against it, but not everything was looked at"),
        ((ALIGNMENT,), ("x",), "disk: not ready for Azure (1 error)"),
    ],
)
def test_the_first_line_says_it_all(findings, left_out, verdict: str) -> None:
    assert as_text(Inspection("disk", {}, findings, left_out)).splitlines()[0] == verdict


def test_nothing_of_a_disk_drives_the_terminal() -> None:
    hostile = DiskFinding("ssh", "/a\x1b[2J", "b\u202e", ("c\x07",), remedy="d\r")
    text = as_text(Inspection("x\x1b.vhd", {"system": "\x1b]0;y\x07"}, (hostile,)))
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"/a\x1b[2J: b\u202e" in text


def test_json() -> None:
    document = json.loads(as_json(FOUND, MENDED))
    assert (document["disk"], document["ready"], document["left_out"]) == ("my disk.vhd", False, ["Windows: x"])
    assert document["findings"][1] == {
        "rule": "ssh", "severity": "warning", "place": "/usr/sbin/sshd", "message": "it is not there",
        "lines": ["a line", "another\nof two"], "why": RULES["ssh"].why, "remedy": "do this", "fixable": False,
    }  # fmt: skip
    assert document["findings"][0]["fixable"]
    assert document["fixed"]["mended"] == ["vhd-alignment"]
    assert document["fixed"]["failed"] == [{"rule": "ssh", "why": "ended with exit code 1\nno room"}]
    assert document["fixed"]["ready"]
    assert "fixed" not in json.loads(as_json(FOUND))


def test_sarif() -> None:
    log = json.loads(as_sarif(FOUND))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["ssh", "vhd-alignment"]
    assert [(item["ruleId"], item["level"]) for item in run["results"]] == [
        ("vhd-alignment", "error"), ("ssh", "warning"),
    ]  # fmt: skip
    for item in run["results"]:
        assert rules[item["ruleIndex"]]["id"] == item["ruleId"]
        assert item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "my%20disk.vhd"
    assert run["results"][1]["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "/usr/sbin/sshd"}]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "not looked at: Windows: x"


def test_a_finding_stays_the_same_one() -> None:
    def fingerprints(*findings: DiskFinding) -> list[str]:
        results = json.loads(as_sarif(Inspection("d", {}, findings)))["runs"][0]["results"]
        return [result["partialFingerprints"]["finding/v2"] for result in results]

    assert fingerprints(ALIGNMENT) == fingerprints(DiskFinding("vhd-alignment", "file", "the disk has 6 bytes"))
    assert fingerprints(ALIGNMENT) != fingerprints(SSH)
    home, srv = (
        DiskFinding("fstab-device-name", "/etc/fstab", f"{target} is mounted from /dev/sda1")
        for target in ("/home", "/srv")
    )
    assert fingerprints(home, srv) == [*fingerprints(home), *fingerprints(srv)]
    assert len(set(fingerprints(home, srv, home))) == 3, "no two of one report are equal"


def test_what_fix_cannot_mend_is_not_promised() -> None:
    by_hand = DiskFinding("fstab-device-name", "/etc/fstab", "/srv is mounted from /dev/sdb1", by_hand=True)
    found = Inspection("d", {}, (by_hand,))
    assert "--fix" not in as_text(found)
    assert not json.loads(as_json(found))["findings"][0]["fixable"]


def test_a_disk_whose_name_is_no_text() -> None:
    log = json.loads(as_sarif(Inspection("a\udcff.vhd", {}, (SSH,))))
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uri"] == "a%FF.vhd"
