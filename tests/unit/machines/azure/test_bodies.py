"""What Azure is told about a build VM, as a table of options."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from builder.azure.ids import compute, network
from builder.machines.azure.bodies import KEY_BITS, NewDisk, VmParts, disk_body, nobodys_key, password, vm_body
from builder.machines.azure.resolved import ResolvedMachine, ResolvedSource, Security, SourceDisk, Spot
from builder.model.spec import GIB

DEBIAN = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "1"}
SOURCE = ResolvedSource("marketplace", "Debian", "linux", 2, "x64", True, (SourceDisk(None, 30 * GIB),), DEBIAN)
MACHINE = ResolvedMachine("s", "westeurope", ("Standard_D2s_v5",))
PARTS = VmParts(
    interface=network("s", "g", "networkInterfaces", "nic"), computer="b1", os_name="os", data_name="data-{lun}",
    disks={}, image=DEBIAN,
)  # fmt: skip


def body(source: ResolvedSource = SOURCE, parts: VmParts = PARTS, **machine: Any) -> dict[str, Any]:
    return vm_body(source, replace(MACHINE, **machine), parts, "Standard_D2s_v5", {"a": "b"})


def at(found: Any, path: str) -> Any:
    for key in path.split("."):
        found = found[int(key)] if key.isdecimal() else found[key]
    return found


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        ({"zone": "2"}, "zones", ["2"]),
        ({"licence": "Windows_Server"}, "properties.licenseType", "Windows_Server"),
        ({"controller": "NVMe"}, "properties.storageProfile.diskControllerType", "NVMe"),
        ({"encryption_at_host": True}, "properties.securityProfile", {"encryptionAtHost": True}),
        ({"os_disk_caching": "None"}, "properties.storageProfile.osDisk.caching", "None"),
        ({"os_disk_type": "StandardSSD_LRS"}, "properties.storageProfile.osDisk.managedDisk.storageAccountType",
         "StandardSSD_LRS"),
        ({"disk_encryption_set": "/des"}, "properties.storageProfile.osDisk.managedDisk.diskEncryptionSet.id", "/des"),
        ({"spot": Spot(0.5, 2)}, "properties.billingProfile.maxPrice", 0.5),
        ({"spot": Spot(-1, 2)}, "properties.evictionPolicy", "Deallocate"),
        ({"identities": ("/one",)}, "identity", {"type": "UserAssigned", "userAssignedIdentities": {"/one": {}}}),
        ({"security": Security("TrustedLaunch", True, True)}, "properties.securityProfile",
         {"securityType": "TrustedLaunch", "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}}),
        ({"security": Security("ConfidentialVM", True, True, "DiskWithVMGuestState"), "disk_encryption_set": "/des"},
         "properties.storageProfile.osDisk.managedDisk.securityProfile",
         {"securityEncryptionType": "DiskWithVMGuestState", "diskEncryptionSet": {"id": "/des"}}),
        ({}, "properties.diagnosticsProfile.bootDiagnostics.enabled", True),
        ({}, "tags", {"a": "b"}),
    ],
)  # fmt: skip
def test_options(options: dict[str, Any], path: str, value: Any) -> None:
    assert at(body(**options), path) == value


def test_a_machine_of_standard_security_says_nothing_of_it() -> None:
    assert not {"securityProfile", "licenseType", "priority"} & body()["properties"].keys()
    assert not {"zones", "identity", "plan"} & body().keys()
    assert "diskControllerType" not in body()["properties"]["storageProfile"]


def test_plans_and_files_go_along() -> None:
    plan = {"name": "n", "product": "p", "publisher": "x"}
    found = body(replace(SOURCE, plan=plan), replace(PARTS, user_data=b"user", custom_data=b"custom"))
    assert found["plan"] == plan
    assert base64.b64decode(found["properties"]["userData"]) == b"user"
    assert base64.b64decode(found["properties"]["osProfile"]["customData"]) == b"custom"


def test_only_what_is_generalized_gets_a_profile() -> None:
    linux = body()["properties"]["osProfile"]
    assert linux["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert "adminPassword" not in linux
    windows = body(replace(SOURCE, family="windows"))["properties"]["osProfile"]
    assert len(windows["adminPassword"]) > 30
    assert windows["windowsConfiguration"]["enableAutomaticUpdates"] is False
    assert "osProfile" not in body(replace(SOURCE, generalized=False))["properties"]
    attached = replace(PARTS, image=None, disks={None: compute("s", "g", "disks", "os")})
    assert "osProfile" not in body(SOURCE, attached)["properties"]


def test_disks_by_lun() -> None:
    source = replace(SOURCE, disks=(SourceDisk(None, GIB), SourceDisk(5, GIB)))
    parts = replace(PARTS, new=[NewDisk(2, 8 * GIB)], os_size=64 * GIB)
    storage = body(source, parts)["properties"]["storageProfile"]
    assert storage["osDisk"]["diskSizeGB"] == 64
    assert [(disk["lun"], disk["createOption"]) for disk in storage["dataDisks"]] == [(2, "Empty"), (5, "FromImage")]
    held = {lun: compute("s", "g", "disks", f"d{lun}") for lun in (None, 7)}
    storage = body(SOURCE, replace(PARTS, image=None, disks=held))["properties"]["storageProfile"]
    assert (storage["osDisk"]["createOption"], storage["osDisk"]["osType"]) == ("Attach", "Linux")
    assert [(disk["lun"], disk["createOption"]) for disk in storage["dataDisks"]] == [(7, "Attach")]


@pytest.mark.parametrize(
    ("disk", "path", "value"),
    [
        (SourceDisk(None, GIB, "snapshot", "/snap"), "properties.creationData",
         {"createOption": "Copy", "sourceResourceId": "/snap"}),
        (SourceDisk(None, GIB, "blob", "/snap", "/account"), "properties.creationData",
         {"createOption": "Import", "sourceUri": "/snap", "storageAccountId": "/account"}),
        (SourceDisk(None, GIB, "blob", "/snap", "/account"), "properties.hyperVGeneration", "V2"),
        (SourceDisk(1, GIB, "snapshot", "/snap"), "properties.networkAccessPolicy", "DenyAll"),
    ],
)  # fmt: skip
def test_copied_disks(disk: SourceDisk, path: str, value: Any) -> None:
    assert at(disk_body(disk, SOURCE, MACHINE, copied_from="/snap", size=None, tags={}), path) == value


def test_nobody_can_log_in() -> None:
    kind, text, _ = nobodys_key().split()
    data = base64.b64decode(text)
    assert (kind, data[4:11], data[11:18]) == ("ssh-rsa", b"ssh-rsa", b"\0\0\0\3\1\0\1")
    assert len(data) == 11 + 7 + 4 + 1 + KEY_BITS // 8
    assert nobodys_key() != nobodys_key()
    assert password() != password()
