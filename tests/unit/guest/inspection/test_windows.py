"""Facts of a Windows to findings, and hives that are damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.guest.inspection.registry import Hive, HiveBroken
from builder.guest.inspection.rules import Wanted
from builder.guest.inspection.windows import GENERALIZED, WindowsFacts, check_windows, facts_of
from tests.integration.guest.inspection.hives import blank_hive

STARTS: Mapping[str, int | None] = {
    "vmbus": 0, "storvsc": 0, "netvsc": 3, "RdAgent": 2, "WindowsAzureGuestAgent": 2, "TermService": 3, "cdrom": 1,
}  # fmt: skip
GOOD = WindowsFacts(
    product="Windows Server 2022 Datacenter",
    build="20348",
    image_state=GENERALIZED,
    sysprep=7,
    services=STARTS,
    remote_desktop_denied=0,
    clock_is_universal=1,
    pending=(),
    routes=0,
    answer_files=(),
    unclean=(),
)


def starting(**starts: int | None) -> WindowsFacts:
    return replace(GOOD, services={**STARTS, **starts})


CASES: dict[str, tuple[WindowsFacts, Wanted, list[str]]] = {
    "good": (GOOD, "generalized", []),
    "good, whatever": (GOOD, "auto", []),
    "complete": (replace(GOOD, image_state="IMAGE_STATE_COMPLETE"), "generalized", ["windows-not-generalized"]),
    "complete, whatever": (replace(GOOD, image_state="IMAGE_STATE_COMPLETE"), "auto", ["windows-specialized"]),
    "complete on purpose": (replace(GOOD, image_state="IMAGE_STATE_COMPLETE"), "specialized", []),
    "not set": (replace(GOOD, image_state=""), "generalized", ["windows-not-generalized"]),
    "failed": (replace(GOOD, image_state="IMAGE_STATE_UNDEPLOYABLE"), "specialized", ["windows-undeployable"]),
    "in audit mode": (
        replace(GOOD, image_state="IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT"),
        "auto",
        ["windows-unfinished"],
    ),
    "in the middle of Setup": (
        replace(GOOD, image_state="IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE"),
        "specialized",
        ["windows-unfinished"],
    ),
    "generalized, but not on purpose": (GOOD, "specialized", ["windows-generalized"]),
    "driver too late": (starting(storvsc=3), "auto", ["windows-drivers"]),
    "network later": (starting(netvsc=3), "auto", []),
    "cdrom on demand": (starting(cdrom=3), "auto", []),
    "hibernated": (replace(GOOD, hibernated=True), "auto", ["windows-unclean"]),
    "driver off": (starting(storvsc=4), "auto", ["windows-drivers"]),
    "driver gone": (starting(netvsc=None), "auto", ["windows-drivers"]),
    "agent off": (starting(RdAgent=4), "auto", ["windows-agent"]),
    "no agent": (starting(RdAgent=None, WindowsAzureGuestAgent=None), "auto", ["windows-agent"] * 2),
    "remote desktop denied": (replace(GOOD, remote_desktop_denied=1), "auto", ["windows-remote-desktop"]),
    "remote desktop not set": (replace(GOOD, remote_desktop_denied=None), "auto", ["windows-remote-desktop"]),
    "remote desktop off": (starting(TermService=4), "auto", ["windows-remote-desktop"]),
    "local clock": (replace(GOOD, clock_is_universal=None), "auto", ["windows-clock"]),
    "cdrom": (starting(cdrom=4), "auto", ["windows-cdrom"]),
    "pending": (replace(GOOD, pending=("RebootPending",)), "auto", ["windows-pending-restart"]),
    "routes": (replace(GOOD, routes=2), "auto", ["windows-routes"]),
    "answer file": (replace(GOOD, answer_files=("Windows/Panther/unattend.xml",)), "auto", ["windows-answer-file"]),
    "unclean": (replace(GOOD, unclean=("SYSTEM",)), "auto", ["windows-unclean"]),
}


@pytest.mark.parametrize("case", CASES)
def test_facts_to_findings(case: str) -> None:
    facts, wanted, expected = CASES[case]
    assert [finding.rule for finding in check_windows(facts, wanted)] == expected


def test_messages_are_of_the_machine_not_of_the_program() -> None:
    facts = starting(cdrom=None, TermService=None, storvsc=4, RdAgent=None)
    messages = {item.place: item.message for item in check_windows(facts, "auto")}
    assert messages == {
        r"Services\cdrom": "it is not there",
        r"Services\TermService": "it is not there",
        r"Services\storvsc": "it is switched off (Start is 4)",
        r"Services\RdAgent": "it is not there",
    }


def hive(path: Path, content: bytes) -> Hive:
    path.write_bytes(content)
    return Hive(path)


def test_an_empty_registry_has_nothing(tmp_path: Path) -> None:
    empty = hive(tmp_path / "SYSTEM", blank_hive())
    assert empty.has("a\\b") is False
    assert (empty.value("a", "b"), empty.text("a", "b"), empty.number("a", "b"), empty.count("a")) == (
        None,
        "",
        None,
        0,
    )
    facts = facts_of(empty, empty)
    assert facts.image_state == ""
    assert facts.services == dict.fromkeys(STARTS)


@pytest.mark.parametrize("content", [b"", b"regf", b"MZ" + bytes(9000), b"regf" + bytes(9000), blank_hive()[:4096]])
def test_what_is_no_hive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(HiveBroken):
        hive(tmp_path / "SYSTEM", content).has("Select")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4400), st.integers(0, 255)), min_size=1, max_size=12))
def test_a_damaged_hive_is_told(damage: list[tuple[int, int]]) -> None:
    content = bytearray(blank_hive())
    for at, byte in damage:
        content[at] = byte
    with TemporaryDirectory() as folder:
        try:
            found = hive(Path(folder) / "SYSTEM", bytes(content))
            facts_of(found, found)
        except HiveBroken as error:
            assert "SYSTEM" in error.message
