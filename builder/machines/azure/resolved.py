"""What plan time found out about an Azure build: where its disks start, and the VM that works on them.

Plan time (`observe`) makes these, the steps carry what the result depends on in their inputs, and run time reads it
from there. What it does not depend on (sizes, zones, networks) is no input: run time asks `resolve_machine` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from builder.model.spec import MIB

# The kinds of the steps that the Azure machine has of its own. What begins with "source." is told as a source in plans
SOURCE = "source.azure"
DISKS = "azure.disks"
CAPTURE = "azure.capture"
TEST_PROVISION = "azure.test.provision"
TEST_RUN = "azure.test.run"
TEST_IDENTITY = "azure.test.identity"

STANDARD = "Standard"
TRUSTED_LAUNCH = "TrustedLaunch"
CONFIDENTIAL = "ConfidentialVM"
SECURITY_TYPES = (STANDARD, TRUSTED_LAUNCH, CONFIDENTIAL)
# Bytes of files that a step may have on Windows; on Linux, more of them go as a disk instead of by run commands
MOST_FILES = 16 * MIB

Origin = Literal["image", "disk", "snapshot", "blob"]


@dataclass(frozen=True)
class SourceDisk:
    """A disk that the source brings. `lun` is None for the OS disk; `size` in bytes, 0 where Azure doesn't tell.

    `origin` "image" comes with the source's image reference; the others are copied from `resource`: the id of a disk
    (which may be in use: it is snapshotted first) or of a snapshot, or the address of a VHD blob in the storage account
    with the id `account`. `unique` is another text once the resource is another one under the same name.
    """

    lun: int | None
    size: int
    origin: Origin = "image"
    resource: str = ""
    account: str = ""
    unique: str = ""


@dataclass(frozen=True)
class ResolvedSource:
    """Where the disks start, exactly.

    `kind` is the spec's word ("marketplace", "vm", ...; "image" for a version of another image of the project), `name`
    is for people. `reference` is the `imageReference` of a VM that is made from an image, empty for one whose disks are
    copied. The OS disk is the first of `disks`. `plan` has the keys name, product, publisher (and promotionCode).
    `location` is the region that a source of one region is in, "" for others. `pin` is what else tells one content
    from another (when a version was published, for example).

    The last group is what the source allows; the result doesn't depend on it: `security` types of VMs, disk
    `controllers`, and `licence` for a licence type that its VMs must have ("" for none).
    """

    kind: str
    name: str
    family: str
    generation: int
    architecture: str
    generalized: bool
    disks: tuple[SourceDisk, ...]
    reference: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, str] | None = None
    location: str = ""
    pin: Mapping[str, str] = field(default_factory=dict)
    security: tuple[str, ...] = (STANDARD,)
    controllers: tuple[str, ...] = ("SCSI",)
    accelerated_networking: bool = False
    licence: str = ""

    @property
    def os_disk(self) -> SourceDisk:
        """The disk with the operating system."""
        return self.disks[0]

    @property
    def data_disks(self) -> tuple[SourceDisk, ...]:
        """The data disks that it brings, by LUN."""
        return self.disks[1:]

    def as_inputs(self) -> dict[str, Any]:
        """What identifies the source, as JSON: inputs of the first step."""
        found = {name: value for name, value in asdict(self).items() if name not in _ALLOWANCES}
        found["disks"] = [{key: value for key, value in disk.items() if value != ""} for disk in found["disks"]]
        return {name: value for name, value in found.items() if value not in ({}, None, "")}

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Any]) -> Self:
        """The source of a step's inputs; keys that others put beside it are passed by."""
        known = {name: inputs[name] for name in cls.__dataclass_fields__ if name in inputs}
        return cls(**{**known, "disks": tuple(SourceDisk(**disk) for disk in inputs["disks"])})


_ALLOWANCES = frozenset({"security", "controllers", "accelerated_networking", "licence"})


@dataclass(frozen=True)
class Security:
    """A VM's security type; `encryption` is what a confidential VM encrypts, "" for other types."""

    type: str = STANDARD
    secure_boot: bool = False
    vtpm: bool = False
    encryption: str = ""


@dataclass(frozen=True)
class Spot:
    """Spare capacity: the highest price for an hour in US dollars (-1: the usual one), and how often it is retried."""

    max_price: float
    retries: int


@dataclass(frozen=True)
class ResolvedMachine:
    """The build VM and what is around it.

    `sizes` are those of the spec that can be had, in its order: the first is taken, the others when Azure has no room.
    `group` is the resource group to work in, "" to make one for the run. `subnet` is the id of an existing one, "" to
    make a network. `zone` is "" for none. `user_data` and `custom_data` are files, relative to the spec's folder.
    """

    subscription: str
    location: str
    sizes: tuple[str, ...]
    group: str = ""
    zone: str = ""
    subnet: str = ""
    security: Security = Security()
    controller: str = "SCSI"
    licence: str = ""
    os_disk_type: str = "Premium_LRS"
    os_disk_caching: str = "ReadWrite"
    encryption_at_host: bool = False
    disk_encryption_set: str = ""
    accelerated_networking: bool = False
    spot: Spot | None = None
    identities: tuple[str, ...] = ()
    user_data: str = ""
    custom_data: str = ""
    verify: str = "standard"
    on_failure: str = "delete"
    tags: Mapping[str, str] = field(default_factory=dict)

    def as_inputs(self) -> dict[str, Any]:
        """What the result depends on, as JSON: an input ("machine") of the first step."""
        found: dict[str, Any] = {"security": {key: value for key, value in asdict(self.security).items() if value}}
        found["controller"] = self.controller
        given = {"licence": self.licence, "userData": self.user_data, "customData": self.custom_data}
        return found | {key: value for key, value in given.items() if value}
