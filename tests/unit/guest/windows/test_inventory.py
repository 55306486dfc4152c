"""The inventory of a Windows image: what its script tells, and what is recorded of it."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import pytest

from builder.errors import BuildError
from builder.guest.powershell import template
from builder.guest.sbom import sbom_json
from builder.guest.windows_inventory import inventory_script, parse_inventory, read_inventory
from builder.model.artifact import Inventory, InventoryFile, Package, User
from builder.spec.published import schema_path
from tests.unit.guest.windows.guest import bench
from tests.unit.guest.windows.parsing import parsed

TOLD: dict[str, Any] = {
    "caption": "Microsoft Windows Server 2022 Datacenter ",
    "architecture": "AMD64",
    "version": "10.0.20348",
    "revision": 2340,
    "edition": "ServerDatacenter",
    "installation": "Server Core",
    "release": "21H2",
    "rearms_left": 999,
    "programs": [
        {"name": "Git", "version": "2.44.0", "bits": 64},
        {"name": "Git", "version": "2.44.0", "bits": 32},
        {"name": "Git", "version": "2.44.0", "bits": 64},
        {"name": "Outil é", "version": "", "bits": 32},
    ],
    "hotfixes": ["KB5034439", ""],
    "features": ["Web-Server"],
    "services": ["W32Time", "Dnscache", "W32Time"],
    "users": [
        {"name": "ann", "sid": "S-1-5-21-1-2-3-1001", "home": r"C:\Users\ann", "disabled": False},
        {"name": "Administrator", "sid": "S-1-5-21-1-2-3-500", "home": "", "disabled": False},
    ],
    "files": [{"path": r"C:\app\a", "sha256": "AB" * 32, "owner": r"BUILTIN\Administrators"}],
}

EXPECTED = Inventory(
    os={
        "ID": "windows",
        "VERSION_ID": "10.0.20348.2340",
        "PRETTY_NAME": "Microsoft Windows Server 2022 Datacenter",
        "VARIANT_ID": "ServerDatacenter",
        "VARIANT": "Server Core",
        "RELEASE": "21H2",
        "EARLIER_SYSPREP_RUNS": "2",
    },
    kernel=("10.0.20348.2340",),
    packages=(
        Package("Web-Server", "10.0.20348.2340", "x64", "feature"),
        Package("KB5034439", "", "x64", "hotfix"),
        Package("Git", "2.44.0", "x64", "windows"),
        Package("Git", "2.44.0", "x86", "windows"),
        Package("Outil é", "", "x86", "windows"),
    ),
    files=(InventoryFile(r"C:\app\a", "ab" * 32, "", r"BUILTIN\Administrators"),),
    users=(User("Administrator", 500, 513, "", ""), User("ann", 1001, 513, r"C:\Users\ann", "")),
    services=("Dnscache", "W32Time"),
)


def test_what_is_recorded() -> None:
    assert parse_inventory(TOLD) == EXPECTED
    assert Inventory.from_dict(EXPECTED.as_dict()) == EXPECTED


@pytest.mark.parametrize("left", [None, 0, 5])
def test_rearms_that_tell_nothing_are_left_out(left: int | None) -> None:
    assert "EARLIER_SYSPREP_RUNS" not in parse_inventory({**TOLD, "rearms_left": left}).os


def test_a_manifest_may_hold_it() -> None:
    schema = json.loads(schema_path("manifest").read_text(encoding="utf-8"))["properties"]["inventory"]
    jsonschema.Draft7Validator(schema).validate(json.loads(json.dumps(EXPECTED.as_dict())))


def test_it_is_read_in_the_guest() -> None:
    made = bench(TOLD)
    assert read_inventory(made.context, [r"C:\b", r"C:\it's", r"C:\b"]) == EXPECTED
    (script,) = made.session.guest.scripts
    assert r"Write-Result (Get-BuildInventory -Paths:@('C:\b', 'C:\it''s'))" in script.text


def test_the_script_tells_every_part() -> None:
    parsed(inventory_script().text)
    function = template("inventory").rpartition("function Get-BuildInventory")[2]
    assert set(re.findall(r"^ {8}([a-z0-9_]+) = ", function, re.MULTILINE)) == set(TOLD)


@pytest.mark.parametrize("part", sorted(TOLD))
def test_a_missing_part_is_an_error(part: str) -> None:
    told = copy.deepcopy(TOLD)
    del told[part]
    with pytest.raises(BuildError) as caught:
        parse_inventory(told)
    assert caught.value.code == "guest-result"


def test_the_bill_of_materials_names_each_once() -> None:
    text = sbom_json(EXPECTED, name="iis", version="1.0.0", timestamp="2026-01-01T00:00:00+00:00")
    found = re.findall(r'"purl": "([^"]+)"', text)
    assert len(found) == len(set(found)) == len(EXPECTED.packages)
    assert "pkg:generic/windows/Git@2.44.0?arch=x64&distro=windows-10.0.20348.2340&kind=windows" in found
