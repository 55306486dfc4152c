"""The Marketplace: `latest` becomes an exact version, which tells its plan, features and disks."""

from __future__ import annotations

import re
from typing import Any

from builder.azure.errors import NotFound
from builder.errors import BuildError
from builder.machines.azure.resolved import ResolvedSource, SourceDisk
from builder.machines.azure.sources.base import (
    Search,
    allowances,
    architecture,
    family,
    generation,
    purchase_plan,
)
from builder.model.spec import MIB

KIND = "Microsoft.Compute/locations/publishers"
# Publishers whose images hold Windows for people, with the licence type that their VMs need
LICENCES = {"microsoftwindowsdesktop": "Windows_Client"}
NAME = re.compile(r"[A-Za-z0-9._-]+")


def resolve(search: Search) -> ResolvedSource:
    """The image, with its exact version. Raises BuildError."""
    values = search.values
    names = [str(values[key]) for key in ("publisher", "offer", "sku")]
    for key, name in zip(("publisher", "offer", "sku"), names, strict=True):
        if not NAME.fullmatch(name):
            raise search.refuse("source-missing", f"the Marketplace has no {key} {name!r}", key)
    publisher, offer, sku = names
    place = f"/subscriptions/{search.reads.subscription}/providers/Microsoft.Compute/locations/{search.location}"
    versions = f"{place}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions"
    wanted = str(values["version"])
    if wanted == "latest":
        wanted = _latest(search, versions, ":".join(names))
    name = ":".join((*names, wanted))
    try:
        properties = search.reads.read(f"{versions}/{wanted}", kind=KIND)["properties"]
    except NotFound as error:
        raise _missing(search, name, "version") from error
    plan = purchase_plan(properties.get("plan"))
    return ResolvedSource(
        kind="marketplace",
        name=name,
        family=family(properties["osDiskImage"]["operatingSystem"]),
        generation=generation(properties.get("hyperVGeneration")),
        architecture=architecture(properties.get("architecture")),
        generalized=True,
        disks=_disks(properties),
        reference={"publisher": publisher, "offer": offer, "sku": sku, "version": wanted},
        plan=_with_promotion(plan, values.get("plan")),
        licence=LICENCES.get(publisher.lower(), ""),
        **allowances(properties.get("features")),
    )


def _latest(search: Search, versions: str, name: str) -> str:
    try:
        listed = search.reads.list(versions, KIND)
    except NotFound as error:
        raise _missing(search, name, "sku") from error
    if not listed:
        raise _missing(search, name, "sku")
    found = [str(entry["name"]) for entry in listed]
    # Azure orders names as text, where 9 comes after 10
    return max(found, key=lambda version: [int(part) if part.isdecimal() else -1 for part in version.split(".")])


def _missing(search: Search, name: str, key: str) -> BuildError:
    hint = "`az vm image list --all --publisher <publisher> --offer <offer>` lists what there is"
    return search.refuse("source-missing", f"the Marketplace has no {name} in {search.location}", key, hint=hint)


def _disks(properties: dict[str, Any]) -> tuple[SourceDisk, ...]:
    data = [
        SourceDisk(int(disk["lun"]), _size(disk))
        for disk in sorted(properties.get("dataDiskImages") or [], key=lambda disk: int(disk["lun"]))
    ]
    return (SourceDisk(None, _size(properties["osDiskImage"])), *data)


def _size(disk: dict[str, Any]) -> int:
    """The disk's bytes: those of the VHD less its footer, which is below a MiB."""
    return int(disk.get("sizeInBytes") or 0) // MIB * MIB


def _with_promotion(plan: dict[str, str] | None, written: dict[str, str] | None) -> dict[str, str] | None:
    """The plan with the promotion code that the spec gives: the one part that an image can't tell."""
    code = (written or {}).get("promotionCode")
    return {**plan, "promotionCode": code} if plan and code else plan
