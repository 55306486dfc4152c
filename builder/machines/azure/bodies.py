"""What Azure is told about a build VM and its disks: bodies of requests, made of resolved facts alone."""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.azure.ids import ResourceId
from builder.machines.azure.resolved import CONFIDENTIAL, STANDARD, ResolvedMachine, ResolvedSource, SourceDisk
from builder.model.spec import GIB

Json = dict[str, Any]
ADMINISTRATOR = "builder"
KEY_BITS = 3072


@dataclass(frozen=True)
class NewDisk:
    """A data disk that the VM gets empty; `size` in bytes."""

    lun: int
    size: int


@dataclass(frozen=True)
class VmParts:
    """What a VM is put together from. `disks` are copied disks by LUN, the OS disk's under None."""

    interface: ResourceId
    computer: str
    os_name: str
    data_name: str
    disks: Mapping[int | None, ResourceId]
    image: Mapping[str, str] | None = None
    new: Sequence[NewDisk] = ()
    os_size: int | None = None
    user_data: bytes | None = None
    custom_data: bytes | None = None


def vm_body(source: ResolvedSource, machine: ResolvedMachine, parts: VmParts, size: str, tags: Json) -> Json:
    """The body of a VM of one size."""
    generalized = parts.image is not None and source.generalized
    properties: Json = {
        "hardwareProfile": {"vmSize": size},
        "storageProfile": _storage(source, machine, parts),
        "networkProfile": {
            "networkInterfaces": [{"id": str(parts.interface), "properties": {"primary": True}}],
        },
        # In storage that Azure manages: the console's tail after a failure
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
    }
    if generalized:
        properties["osProfile"] = _profile(source.family, parts)
    if parts.user_data is not None:
        properties["userData"] = base64.b64encode(parts.user_data).decode()
    security = _security(machine)
    if security:
        properties["securityProfile"] = security
    if machine.licence:
        properties["licenseType"] = machine.licence
    if machine.spot is not None:
        properties |= {
            "priority": "Spot",
            "evictionPolicy": "Deallocate",
            "billingProfile": {"maxPrice": machine.spot.max_price},
        }
    body: Json = {"location": machine.location, "tags": tags, "properties": properties}
    if source.plan:
        body["plan"] = dict(source.plan)
    if machine.zone:
        body["zones"] = [machine.zone]
    if machine.identities:
        body["identity"] = {
            "type": "UserAssigned",
            "userAssignedIdentities": {identity: {} for identity in machine.identities},
        }
    return body


def _storage(source: ResolvedSource, machine: ResolvedMachine, parts: VmParts) -> Json:
    os_disk: Json = {"caching": machine.os_disk_caching}
    if None in parts.disks:
        os_disk |= {
            "createOption": "Attach",
            "osType": source.family.capitalize(),
            "managedDisk": {"id": str(parts.disks[None])},
            "deleteOption": "Detach",
        }
        if machine.security.type == CONFIDENTIAL:
            os_disk["managedDisk"]["securityProfile"] = {"securityEncryptionType": machine.security.encryption}
    else:
        os_disk |= {
            "name": parts.os_name,
            "createOption": "FromImage",
            "managedDisk": _managed(machine, confidential=True),
            "deleteOption": "Delete",
        }
        if parts.os_size is not None:
            os_disk["diskSizeGB"] = gib(parts.os_size)
    storage: Json = {"osDisk": os_disk, "dataDisks": _data_disks(source, machine, parts)}
    if parts.image is not None:
        storage["imageReference"] = dict(parts.image)
    if machine.controller != "SCSI":
        storage["diskControllerType"] = machine.controller
    return storage


def _data_disks(source: ResolvedSource, machine: ResolvedMachine, parts: VmParts) -> list[Json]:
    found: list[Json] = []
    for lun, id in parts.disks.items():
        if lun is not None:
            found.append(
                {"lun": lun, "createOption": "Attach", "managedDisk": {"id": str(id)}, "deleteOption": "Detach"}
            )
    if parts.image is not None:
        for disk in source.data_disks:
            found.append(_own_disk(machine, parts, disk.lun, "FromImage"))
    for new in parts.new:
        found.append({**_own_disk(machine, parts, new.lun, "Empty"), "diskSizeGB": gib(new.size)})
    return sorted(found, key=lambda disk: int(disk["lun"]))


def _own_disk(machine: ResolvedMachine, parts: VmParts, lun: int | None, option: str) -> Json:
    return {
        "lun": lun,
        "name": parts.data_name.format(lun=lun),
        "createOption": option,
        "managedDisk": _managed(machine, confidential=False),
        "deleteOption": "Delete",
    }


def _managed(machine: ResolvedMachine, *, confidential: bool) -> Json:
    found: Json = {"storageAccountType": machine.os_disk_type}
    encryption_set = {"diskEncryptionSet": {"id": machine.disk_encryption_set}} if machine.disk_encryption_set else {}
    if confidential and machine.security.type == CONFIDENTIAL:
        # A confidential VM's OS disk names its encryption set there (REST reference: VMDiskSecurityProfile)
        found["securityProfile"] = {"securityEncryptionType": machine.security.encryption, **encryption_set}
    else:
        found |= encryption_set
    return found


def _security(machine: ResolvedMachine) -> Json:
    found: Json = {}
    if machine.security.type != STANDARD:
        found = {
            "securityType": machine.security.type,
            "uefiSettings": {"secureBootEnabled": machine.security.secure_boot, "vTpmEnabled": machine.security.vtpm},
        }
    if machine.encryption_at_host:
        found["encryptionAtHost"] = True
    return found


def _profile(family: str, parts: VmParts) -> Json:
    """How a generalized image becomes a machine. Nobody logs in: the password or key is thrown away at once."""
    profile: Json = {"computerName": parts.computer, "adminUsername": ADMINISTRATOR}
    if parts.custom_data is not None:
        profile["customData"] = base64.b64encode(parts.custom_data).decode()
    if family == "windows":
        profile["adminPassword"] = password()
        profile["windowsConfiguration"] = {
            "provisionVMAgent": True,
            # An update of its own accord may restart the machine under a step
            "enableAutomaticUpdates": False,
            "patchSettings": {"patchMode": "Manual"},
        }
    else:
        path = f"/home/{ADMINISTRATOR}/.ssh/authorized_keys"
        profile["linuxConfiguration"] = {
            "disablePasswordAuthentication": True,
            "provisionVMAgent": True,
            "ssh": {"publicKeys": [{"path": path, "keyData": nobodys_key()}]},
        }
    return profile


def password() -> str:
    """A password that meets Windows' rules for letters; nobody keeps it."""
    return f"{secrets.token_urlsafe(30)}aA1!"


def nobodys_key() -> str:
    """A public key of RSA that nobody has the private part of: Azure wants one, and nobody is to log in."""
    number = secrets.randbits(KEY_BITS) | 1 << (KEY_BITS - 1) | 1
    parts = (b"ssh-rsa", b"\1\0\1", b"\0" + number.to_bytes(KEY_BITS // 8, "big"))
    blob = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return f"ssh-rsa {base64.b64encode(blob).decode()} nobody"


def disk_body(
    disk: SourceDisk,
    source: ResolvedSource,
    machine: ResolvedMachine,
    *,
    copied_from: str,
    size: int | None,
    tags: Json,
) -> Json:
    """The body of a managed disk that starts as `copied_from`: a snapshot's id, or a blob's address."""
    creation: Json = {"createOption": "Copy", "sourceResourceId": copied_from}
    if disk.origin == "blob":
        creation = {"createOption": "Import", "sourceUri": copied_from, "storageAccountId": disk.account}
    properties: Json = {"creationData": creation, "networkAccessPolicy": "DenyAll", "publicNetworkAccess": "Disabled"}
    if size is not None:
        properties["diskSizeGB"] = gib(size)
    if disk.lun is None:
        properties |= {"osType": source.family.capitalize(), "hyperVGeneration": f"V{source.generation}"}
        if machine.security.type != STANDARD and disk.origin == "blob":
            properties["securityProfile"] = {"securityType": machine.security.type}
        if disk.origin == "blob" and source.architecture == "arm64":
            properties["supportedCapabilities"] = {"architecture": "Arm64"}
    if machine.disk_encryption_set and machine.security.type != CONFIDENTIAL:
        properties["encryption"] = {
            "type": "EncryptionAtRestWithCustomerKey",
            "diskEncryptionSetId": machine.disk_encryption_set,
        }
    body: Json = {
        "location": machine.location,
        "tags": tags,
        "sku": {"name": machine.os_disk_type},
        "properties": properties,
    }
    if machine.zone:
        body["zones"] = [machine.zone]
    return body


def snapshot_body(source: ResourceId, location: str, tags: Json, *, incremental: bool) -> Json:
    """The body of a snapshot of a disk. Incremental ones are checkpoints, whose bytes nobody is to fetch."""
    properties: Json = {
        "creationData": {"createOption": "Copy", "sourceResourceId": str(source)},
        "incremental": incremental,
    }
    if incremental:
        properties |= {"networkAccessPolicy": "DenyAll", "publicNetworkAccess": "Disabled"}
    return {"location": location, "tags": tags, "properties": properties}


def gib(size: int) -> int:
    """Bytes as the whole GiB that Azure counts disks in."""
    return -(-size // GIB)
