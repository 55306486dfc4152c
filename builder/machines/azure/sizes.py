"""VM sizes: what Azure says of each in a region, what a build needs, and the first of a spec's list that fits.

The words of capabilities are those of Azure's list of SKUs (Microsoft.Compute/skus).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.azure.names import region_name
from builder.machines.azure.resolved import CONFIDENTIAL, TRUSTED_LAUNCH
from builder.model.observed import Demand

# Where no size fits, so many others are named
MOST_SUGGESTED = 3
# Windows is not to be had on one core without trouble, and nothing here needs more than a few
SUGGESTED_CORES = range(2, 9)
TOTAL_CORES, SPOT_CORES = "cores", "lowPriorityCores"


@dataclass(frozen=True)
class Needs:
    """What a build VM needs of its size. `data_disks` counts those of the source and of the spec.

    `others` is how many VMs of the same size stand beside it in the end: those that look at disks, and that test. They
    are never of spot capacity.
    """

    location: str
    generation: int
    architecture: str
    security: str
    controller: str = "SCSI"
    zone: str = ""
    data_disks: int = 0
    premium: bool = False
    encryption_at_host: bool = False
    accelerated_networking: bool = False
    spot: bool = False
    others: int = 0


@dataclass(frozen=True)
class VmSize:
    """A size in a region, as the list of SKUs shows it."""

    name: str
    family: str
    capabilities: Mapping[str, str]
    zones: frozenset[str]
    # Why the subscription can't have it at all, and where it can't have it in single zones
    restricted: str = ""
    restricted_zones: frozenset[str] = frozenset()

    @property
    def cores(self) -> int:
        """Its vCPUs."""
        return int(self.capabilities.get("vCPUs", "0"))

    def has(self, capability: str) -> bool:
        """Whether a capability that is true or false is true."""
        return self.capabilities.get(capability, "").lower() == "true"

    def lists(self, capability: str, default: str) -> list[str]:
        """The words of a capability that is a list."""
        return [word.strip() for word in self.capabilities.get(capability, default).split(",")]


@dataclass(frozen=True)
class Quota:
    """How much of a limit is used: cores of a family ("standardDSv5Family"), or of the whole region ("cores")."""

    limit: int
    used: int

    @property
    def free(self) -> int:
        """What is left of it."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class Refusal:
    """Why a size can't be taken: the rule's code and the sentence."""

    size: str
    code: str
    why: str


def sizes_of(skus: Iterable[Mapping[str, Any]], location: str) -> dict[str, VmSize]:
    """The VM sizes of a list of SKUs in a region, by name in lower case."""
    found = {}
    for sku in skus:
        if str(sku.get("resourceType", "")).lower() != "virtualmachines":
            continue
        here = [each for each in sku.get("locationInfo") or () if region_name(each.get("location")) == location]
        if not here:
            continue
        restricted, zones = _restrictions(sku.get("restrictions") or ())
        found[str(sku["name"]).lower()] = VmSize(
            name=str(sku["name"]),
            family=str(sku.get("family", "")),
            capabilities={str(each["name"]): str(each["value"]) for each in sku.get("capabilities") or ()},
            zones=frozenset(zone for each in here for zone in each.get("zones") or ()),
            restricted=restricted,
            restricted_zones=frozenset(zones),
        )
    return found


def _restrictions(restrictions: Iterable[Mapping[str, Any]]) -> tuple[str, set[str]]:
    whole, zones = "", set()
    for each in restrictions:
        if str(each.get("type", "")).lower() == "zone":
            zones |= set((each.get("restrictionInfo") or {}).get("zones") or ())
        else:
            whole = str(each.get("reasonCode") or "restricted")
    return whole, zones


def quotas_of(usages: Iterable[Mapping[str, Any]]) -> dict[str, Quota]:
    """The quotas of a list of usages, by name in lower case."""
    return {str(each["name"]["value"]).lower(): Quota(int(each["limit"]), int(each["currentValue"])) for each in usages}


Requirement = tuple[str, Callable[[VmSize, Needs], str]]


def _offered(size: VmSize, needs: Needs) -> str:
    reasons = {"NotAvailableForSubscription": f"is not available to the subscription in {needs.location}"}
    if size.restricted:
        return reasons.get(size.restricted, f"can't be had in {needs.location}: {size.restricted}")
    return ""


def _zone(size: VmSize, needs: Needs) -> str:
    if not needs.zone or (needs.zone in size.zones and needs.zone not in size.restricted_zones):
        return ""
    zones = sorted(size.zones - size.restricted_zones)
    return f"is not in zone {needs.zone} of {needs.location}, only in {', '.join(zones) or 'no zone'}"


def _generation(size: VmSize, needs: Needs) -> str:
    listed = size.lists("HyperVGenerations", "V1")
    fits = f"V{needs.generation}" in listed
    return "" if fits else f"boots generation {', '.join(word.lstrip('V') for word in listed)} only"


def _architecture(size: VmSize, needs: Needs) -> str:
    has = size.capabilities.get("CpuArchitectureType", "x64")
    return "" if has.lower() == needs.architecture else f"has {has} processors"


def _trusted_launch(size: VmSize, needs: Needs) -> str:
    lacks = needs.security == TRUSTED_LAUNCH and size.has("TrustedLaunchDisabled")
    return "has no Trusted Launch" if lacks else ""


def _confidential(size: VmSize, needs: Needs) -> str:
    lacks = needs.security == CONFIDENTIAL and not size.capabilities.get("ConfidentialComputingType")
    return "has no processors for confidential VMs" if lacks else ""


def _controller(size: VmSize, needs: Needs) -> str:
    listed = size.lists("DiskControllerTypes", "SCSI")
    return "" if needs.controller in listed else f"attaches disks by {', '.join(listed)} only"


def _data_disks(size: VmSize, needs: Needs) -> str:
    most = int(size.capabilities.get("MaxDataDiskCount", "0"))
    return f"takes {most} data disks, not {needs.data_disks}" if needs.data_disks > most else ""


def _capability(name: str, wanted: Callable[[Needs], bool], lacks: str) -> Callable[[VmSize, Needs], str]:
    return lambda size, needs: lacks if wanted(needs) and not size.has(name) else ""


REQUIREMENTS: tuple[Requirement, ...] = (
    ("size-offered", _offered),
    ("size-zone", _zone),
    ("size-generation", _generation),
    ("size-architecture", _architecture),
    ("size-trusted-launch", _trusted_launch),
    ("size-confidential", _confidential),
    ("size-controller", _controller),
    ("size-encryption-at-host",
     _capability("EncryptionAtHostSupported", lambda needs: needs.encryption_at_host, "can't encrypt at the host")),
    ("size-accelerated-networking",
     _capability("AcceleratedNetworkingEnabled", lambda needs: needs.accelerated_networking,
                 "has no accelerated networking")),
    ("size-premium", _capability("PremiumIO", lambda needs: needs.premium, "takes no Premium disks")),
    ("size-data-disks", _data_disks),
    ("size-spot", _capability("LowPriorityCapable", lambda needs: needs.spot, "is not sold as spot capacity")),
)  # fmt: skip


def refusals(size: VmSize, needs: Needs, quotas: Mapping[str, Quota]) -> Iterator[Refusal]:
    """Why a size can't be taken; nothing when it can."""
    for code, requirement in REQUIREMENTS:
        why = requirement(size, needs)
        if why:
            yield Refusal(size.name, code, why)
    yield from _over_quota(size, needs, quotas)


def _over_quota(size: VmSize, needs: Needs, quotas: Mapping[str, Quota]) -> Iterator[Refusal]:
    for what, machines, quota in _shares(size, needs, quotas):
        cores = machines * size.cores
        if quota.used + cores > quota.limit:
            vms = f" for {machines} VMs" if machines > 1 else ""
            why = f"needs {cores} vCPUs{vms}, and {quota.free} of the {quota.limit} {what} are free in {needs.location}"
            yield Refusal(size.name, "quota", why)


def _shares(size: VmSize, needs: Needs, quotas: Mapping[str, Quota]) -> Iterator[tuple[str, int, Quota]]:
    """The quotas that an image's VMs count in: in words, how many of them, and how much is used."""
    usual = needs.others if needs.spot else needs.others + 1
    for name, what, machines in (
        (SPOT_CORES, "of spot capacity", 1 if needs.spot else 0),
        (size.family, f"of {size.family}", usual),
        (TOTAL_CORES, "in all", usual),
    ):
        quota = quotas.get(name.lower())
        if quota is not None and machines:
            yield what, machines, quota


def demands(size: VmSize, needs: Needs, quotas: Mapping[str, Quota]) -> tuple[Demand, ...]:
    """What an image's VMs of a size take of the subscription's quotas, which other images share."""
    return tuple(
        Demand(f"vCPUs {what} in {needs.location}", machines * size.cores, quota.free)
        for what, machines, quota in _shares(size, needs, quotas)
    )


def choose(
    wanted: Sequence[str], offered: Mapping[str, VmSize], needs: Needs, quotas: Mapping[str, Quota]
) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
    """The sizes of a list that fit, in its order, and why the others don't."""
    fitting, refused = [], []
    for name in wanted:
        size = offered.get(name.lower())
        if size is None:
            refused.append(Refusal(name, "size-offered", f"is not offered in {needs.location}"))
            continue
        reasons = list(refusals(size, needs, quotas))
        refused += reasons
        if not reasons:
            fitting.append(size.name)
    return tuple(fitting), tuple(refused)


def suggestions(offered: Mapping[str, VmSize], needs: Needs, quotas: Mapping[str, Quota]) -> list[str]:
    """A few small sizes that would fit."""
    fitting = [size for size in offered.values() if size.cores in SUGGESTED_CORES]
    fitting = [size for size in fitting if not any(refusals(size, needs, quotas))]
    return [size.name for size in sorted(fitting, key=lambda size: (size.cores, size.name))[:MOST_SUGGESTED]]
