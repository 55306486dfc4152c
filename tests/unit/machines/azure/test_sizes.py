"""VM sizes against what a build needs, as Azure's lists describe them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.machines.azure.rules import RULES
from builder.machines.azure.sizes import (
    REQUIREMENTS,
    Needs,
    Quota,
    VmSize,
    choose,
    quotas_of,
    refusals,
    sizes_of,
    suggestions,
)

CAPABILITIES = {
    "vCPUs": "2", "HyperVGenerations": "V1,V2", "DiskControllerTypes": "SCSI", "CpuArchitectureType": "x64",
    "MaxDataDiskCount": "4", "LowPriorityCapable": "True", "PremiumIO": "True", "EncryptionAtHostSupported": "True",
    "AcceleratedNetworkingEnabled": "True",
}  # fmt: skip
SIZE = VmSize("Standard_D2s_v5", "standardDSv5Family", CAPABILITIES, frozenset("123"))
NEEDS = Needs("westeurope", 2, "x64", "Standard", data_disks=1, premium=True)


def sku(name: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": "f",
        "locationInfo": [{"location": "WestEurope", "zones": ["1", "2"]}],
        "capabilities": [{"name": key, "value": value} for key, value in CAPABILITIES.items()],
        "restrictions": [],
        **more,
    }


def test_a_list_of_skus() -> None:
    zone = {"type": "Zone", "values": ["westeurope"], "restrictionInfo": {"zones": ["2"]}, "reasonCode": "X"}
    place = {"type": "Location", "values": ["westeurope"], "reasonCode": "NotAvailableForSubscription"}
    elsewhere = [{"location": "eastus", "zones": []}]
    found = sizes_of(
        [
            sku("Standard_A"),
            sku("Standard_B", restrictions=[zone]),
            sku("Standard_C", restrictions=[place]),
            sku("Standard_D", locationInfo=elsewhere),
            sku("Standard_E", resourceType="disks"),
        ],
        "westeurope",
    )
    assert set(found) == {"standard_a", "standard_b", "standard_c"}
    needs = replace(NEEDS, zone="2")
    assert list(refusals(found["standard_a"], needs, {})) == []
    assert [each.code for each in refusals(found["standard_b"], needs, {})] == ["size-zone"]
    assert [each.code for each in refusals(found["standard_b"], NEEDS, {})] == []
    assert [each.code for each in refusals(found["standard_c"], NEEDS, {})] == ["size-offered"]


LACKING: tuple[tuple[dict[str, str], Needs, str], ...] = (
    ({"HyperVGenerations": "V1"}, NEEDS, "size-generation"),
    ({"CpuArchitectureType": "Arm64"}, NEEDS, "size-architecture"),
    ({"TrustedLaunchDisabled": "True"}, replace(NEEDS, security="TrustedLaunch"), "size-trusted-launch"),
    ({}, replace(NEEDS, security="ConfidentialVM"), "size-confidential"),
    ({"DiskControllerTypes": "NVMe"}, NEEDS, "size-controller"),
    ({}, replace(NEEDS, controller="NVMe"), "size-controller"),
    ({"EncryptionAtHostSupported": "False"}, replace(NEEDS, encryption_at_host=True), "size-encryption-at-host"),
    ({"AcceleratedNetworkingEnabled": "False"}, replace(NEEDS, accelerated_networking=True),
     "size-accelerated-networking"),
    ({"PremiumIO": "False"}, NEEDS, "size-premium"),
    ({}, replace(NEEDS, data_disks=5), "size-data-disks"),
    ({"LowPriorityCapable": "False"}, replace(NEEDS, spot=True), "size-spot"),
)  # fmt: skip


@pytest.mark.parametrize(("changed", "needs", "code"), LACKING)
def test_what_a_size_lacks(changed: dict[str, str], needs: Needs, code: str) -> None:
    size = replace(SIZE, capabilities={**CAPABILITIES, **changed})
    assert [each.code for each in refusals(size, needs, {})] == [code]


def test_all_requirements_are_rules_and_are_tried() -> None:
    assert {code for code, _ in REQUIREMENTS} <= set(RULES)
    assert {code for code, _ in REQUIREMENTS} - {"size-offered", "size-zone"} == {code for _, _, code in LACKING}


def test_a_confidential_size_is_one_by_its_processors() -> None:
    size = replace(SIZE, capabilities={**CAPABILITIES, "ConfidentialComputingType": "SNP"})
    assert list(refusals(size, replace(NEEDS, security="ConfidentialVM"), {})) == []


@given(used=st.integers(0, 12), limit=st.integers(0, 12), spot=st.booleans())
def test_quotas(used: int, limit: int, *, spot: bool) -> None:
    usages = [
        {"name": {"value": name}, "limit": limit, "currentValue": used}
        for name in ("cores", "standardDSv5Family", "lowPriorityCores")
    ]
    found = list(refusals(SIZE, replace(NEEDS, spot=spot), quotas_of(usages)))
    assert bool(found) == (used + 2 > limit)
    assert len(found) in ({0, 1} if spot else {0, 2})


def test_the_list_keeps_its_order() -> None:
    offered = {name.lower(): replace(SIZE, name=name) for name in ("Standard_B", "Standard_A", "Standard_C")}
    offered["standard_b"] = replace(offered["standard_b"], restricted="QuotaId")
    fitting, refused = choose(["Standard_c", "Standard_B", "Standard_A", "Standard_X"], offered, NEEDS, {})
    assert fitting == ("Standard_C", "Standard_A")
    assert [(each.size, each.code) for each in refused] == [
        ("Standard_B", "size-offered"),
        ("Standard_X", "size-offered"),
    ]
    assert suggestions(offered, NEEDS, {}) == ["Standard_A", "Standard_C"]
    assert suggestions(offered, NEEDS, {"cores": Quota(1, 0)}) == []


@pytest.mark.parametrize(("limit", "others", "spot", "message"), [
    (6, 2, False, ""),
    (5, 2, False, "needs 6 vCPUs for 3 VMs, and 5 of the 5 of standardDSv5Family are free"),
    (4, 2, True, ""),
    (3, 2, True, "needs 4 vCPUs for 2 VMs, and 3 of the 3 of standardDSv5Family are free"),
    (0, 0, True, ""),
])  # fmt: skip
def test_vms_that_test_have_a_share_in_the_quota(limit: int, others: int, message: str, *, spot: bool) -> None:
    size = replace(SIZE, family="standardDSv5Family", capabilities={**SIZE.capabilities, "vCPUs": "2"})
    used = {"standarddsv5family": Quota(limit, 0)}
    needs = replace(NEEDS, others=others, spot=spot)
    found = [refusal.why for refusal in refusals(size, needs, used) if refusal.code == "quota"]
    assert [why.startswith(message) for why in found] == ([True] if message else [])
