"""The tables agree with each other, with the code, and with docs/inspect.md."""

from __future__ import annotations

import re
from pathlib import Path

from builder.guest.inspection import reference
from builder.guest.inspection.distributions import UNWANTED
from builder.guest.inspection.linux_facts import INITRAMFS
from builder.guest.inspection.mending import DRIVERS, IN_GUEST, fstab_script, root_name_script
from builder.guest.inspection.rules import GROUPS, RULES, DiskFinding, Inspection, in_order
from tests.unit.guest.inspection.facts import UUID, linux

ROOT = Path(__file__).parents[4]
CODE = ROOT / "builder/guest/inspection"


def test_every_rule_has_all_it_needs() -> None:
    assert len(RULES) == sum(len(rules) for _, rules in GROUPS)
    for rule in RULES.values():
        assert rule.severity in ("error", "warning", "note")
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
        assert rule.what and rule.why and rule.remedy
        assert not rule.what.endswith(".")


def test_every_rule_is_found_by_some_check_and_no_other() -> None:
    text = "".join(path.read_text() for path in CODE.glob("*.py") if not path.name.startswith(("rules", "reference")))
    assert {name for name in RULES if f'"{name}"' not in text} == set()
    named = set(re.findall(r'DiskFinding\(\s*"([a-z-]+)"', text)) | {row.rule for row in UNWANTED}
    assert named <= set(RULES)


def test_the_table_promises_what_scripts_mend() -> None:
    assert {name for name, rule in RULES.items() if rule.mends} >= IN_GUEST


def test_the_page_is_of_the_table() -> None:
    assert (ROOT / "docs/inspect.md").read_text() == reference.markdown(), (
        "run `build inspect --format markdown > docs/inspect.md`"
    )


def test_errors_come_first() -> None:
    names = ["specialized", "ssh", "disk-format", "boot-none", "vhd-alignment"]
    found = in_order([DiskFinding(name, "x", "y") for name in names])
    assert [item.rule for item in found] == ["disk-format", "vhd-alignment", "boot-none", "ssh", "specialized"]
    inspection = Inspection("disk", {}, found)
    assert (inspection.count("error"), inspection.count("warning"), inspection.count("note")) == (3, 1, 1)
    assert not inspection.ready
    assert Inspection("disk", {}, found[3:]).ready


def test_only_names_of_the_kernel_are_replaced() -> None:
    lines = fstab_script(linux(f"/dev/sda1 / ext4 d 0 1\nUUID={UUID} /x ext4 d 0 2\n/dev/sda9 /y ext4 d 0 2\n")).text
    assert lines.count("sed") == 1
    assert rf"\/dev\/sda1([[:space:]])/\1UUID={UUID}\2/" in lines
    assert root_name_script(linux()).env == {"ROOT": f"UUID={UUID}"}


def test_every_initramfs_that_is_looked_at_is_made_again() -> None:
    looked_at = [pattern.format("$kernel") for pattern in INITRAMFS if pattern.startswith("/boot/")]
    assert [name for name in looked_at if f'"{name}"' not in DRIVERS] == []
