"""The table of generalize operations: what virt-sysprep, waagent, cloud-init and mkosi remove, and what none does.

`build generalize --list` and docs/generalize.md are made from it. A change here that changes what the script does must
raise `VERSION` in `builder.guest.generalize` (a test compares).
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.guest.actions import Delete, ResetMachineId
from builder.guest.operation import LAST, Operation
from builder.guest.operations_machine import CLOUD, KEYS, NETWORK, USERS
from builder.guest.operations_software import LEFT_OVERS, REGISTRATIONS

IDENTITY = (
    Operation(
        "machine-info",
        "the pretty name, location and chassis of the build machine",
        (Delete(("/etc/machine-info",)),),
        covers=("mkosi:machine-info",),
    ),
    Operation(
        "machine-id",
        "clones of one id share addresses, journals and licences; D-Bus's copy would bring the old one back",
        (ResetMachineId(),),
        order=LAST,
        covers=("virt-sysprep:machine-id", "cloud-init:machine-id", "mkosi:machine-id", "mkosi:dbus-machine-id"),
    ),
)

OPERATIONS: tuple[Operation, ...] = (*USERS, *CLOUD, *NETWORK, *KEYS, *REGISTRATIONS, *LEFT_OVERS, *IDENTITY)

# What a peer does and we don't, with the reason
NOT_COVERED: Mapping[str, str] = {
    "virt-sysprep:customize": "`prepare` steps do that, before and not after the identity is taken out",
    "virt-sysprep:script": "`prepare` steps do that",
    "virt-sysprep:fs-uuids": "changes neither fstab nor the bootloader, so that most images would not boot",
    "virt-sysprep:lvm-uuids": "VMs share no disks, so that equal ones never meet; systems may name volumes by them",
    "waagent:stop-service": "offline nothing runs",
    "cloud-init:datasource": "asks the running data source, of which there is none offline",
}
