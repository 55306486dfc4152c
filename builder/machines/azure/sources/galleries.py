"""Galleries: private ones by id, community and direct shared ones by name. `latest` becomes an exact version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.machines.azure.resolved import ResolvedSource, SourceDisk
from builder.machines.azure.sources.base import (
    Json,
    Search,
    allowances,
    architecture,
    family,
    generation,
    gib,
    purchase_plan,
)
from builder.model.version import is_version, version_key

VERSIONS = "Microsoft.Compute/galleries/images/versions"


@dataclass(frozen=True)
class Shared:
    """How galleries of others are named: in paths, in image references, and in the reference's value."""

    collection: str
    reference: str
    word: str


COMMUNITY = Shared("communityGalleries", "communityGalleryImageId", "CommunityGalleries")
DIRECT = Shared("sharedGalleries", "sharedGalleryImageId", "SharedGalleries")


def resolve_gallery(search: Search) -> ResolvedSource:
    """A version of a private gallery. Raises BuildError."""
    values = search.values
    definition_id = search.compute("galleries", values["gallery"], "images", values["definition"])
    definition = search.get(definition_id, "definition")
    if values["version"] == "latest":
        version = _latest(search, search.reads.list(definition_id, VERSIONS), definition_id.short)
    else:
        version = search.get(definition_id.child("versions", values["version"]), "version")
        _check(search, version)
    exact = definition_id.child("versions", version["name"])
    return of_version(search.image.source.kind, exact, definition["properties"], version["properties"])


def of_version(kind: str, exact: ResourceId, definition: Json, version: Json) -> ResolvedSource:
    """The source that a version is: its id, and the properties of its definition and of itself."""
    storage = version.get("storageProfile", {})
    data = sorted(storage.get("dataDiskImages") or [], key=lambda disk: int(disk["lun"]))
    return ResolvedSource(
        kind=kind,
        name=exact.short,
        generalized=str(definition["osState"]) == "Generalized",
        disks=(
            SourceDisk(None, gib(storage.get("osDiskImage", {}).get("sizeInGB"))),
            *(SourceDisk(int(disk["lun"]), gib(disk.get("sizeInGB"))) for disk in data),
        ),
        reference={"id": str(exact)},
        pin=_published(version.get("publishingProfile", {})),
        **_defined(definition),
    )


def resolve_community(search: Search) -> ResolvedSource:
    """A version of a community gallery. Raises BuildError."""
    return _resolve_shared(search, COMMUNITY)


def resolve_shared(search: Search) -> ResolvedSource:
    """A version of a gallery that is shared directly with this subscription. Raises BuildError."""
    return _resolve_shared(search, DIRECT)


def _resolve_shared(search: Search, shared: Shared) -> ResolvedSource:
    values = search.values
    gallery, name = str(values["gallery"]), str(values["definition"])
    definition_id = ResourceId(
        search.reads.subscription, "", "Microsoft.Compute", ("locations", shared.collection, "images"),
        (search.location, gallery, name),
    )  # fmt: skip
    definition = search.get(definition_id, "definition")["properties"]
    if values["version"] == "latest":
        version = _latest(
            search, search.reads.list(definition_id, f"{definition_id.kind}/versions"), f"{gallery}/{name}"
        )
    else:
        version = search.get(definition_id.child("versions", values["version"]), "version")
    exact = str(version["name"])
    storage = version["properties"].get("storageProfile", {})
    data = sorted(storage.get("dataDiskImages") or [], key=lambda disk: int(disk["lun"]))
    return ResolvedSource(
        kind=search.image.source.kind,
        name=f"{gallery}/{name}/{exact}",
        generalized=str(definition["osState"]) == "Generalized",
        disks=(
            SourceDisk(None, gib(storage.get("osDiskImage", {}).get("diskSizeGB"))),
            *(SourceDisk(int(disk["lun"]), gib(disk.get("diskSizeGB"))) for disk in data),
        ),
        reference={shared.reference: f"/{shared.word}/{gallery}/Images/{name}/Versions/{exact}"},
        pin=_published(version["properties"]),
        **_defined(definition),
    )


def _defined(definition: Json) -> dict[str, Any]:
    """What a definition says of all its versions."""
    return {
        "family": family(definition["osType"]),
        "generation": generation(definition.get("hyperVGeneration")),
        "architecture": architecture(definition.get("architecture")),
        "plan": purchase_plan(definition.get("purchasePlan")),
        **allowances(definition.get("features")),
    }


def _published(profile: Json) -> dict[str, str]:
    """When it was published: a version that was deleted and made anew under its number is another."""
    moment = profile.get("publishedDate")
    return {"published": str(moment)} if moment else {}


def _latest(search: Search, versions: list[Json], name: str) -> Json:
    """The highest version that Azure takes for the latest in the region."""
    found = [
        version
        for version in versions
        if is_version(str(version["name"])) and not _why_not(search, version) and not _excluded(search, version)
    ]
    if not found:
        there = f", though it has {len(versions)} elsewhere, excluded or unfinished" if versions else ""
        message = f"{name} has no version in {search.location}{there}"
        raise search.refuse("source-region", message, "version", hint="replicate one there, or write another location")
    return max(found, key=lambda version: version_key(version["name"]))


def _check(search: Search, version: Json) -> None:
    why = _why_not(search, version)
    if why:
        code = "source-region" if why.startswith("is not in") else "source-unfinished"
        raise search.refuse(code, f"version {version['name']} {why}", "version")


def _why_not(search: Search, version: Json) -> str:
    """Why no VM can be made of a version in the region now; "" when it can. Shared galleries list what is there."""
    properties = version["properties"]
    state = properties.get("provisioningState", "Succeeded")
    if state not in ("Succeeded", "Updating"):
        return f"is {state}"
    targets = properties.get("publishingProfile", {}).get("targetRegions")
    regions = [region_name(each["name"]) for each in targets or ()]
    if targets is not None and search.location and search.location not in regions:
        return f"is not in {search.location}, only in {', '.join(regions)}"
    return ""


def _excluded(search: Search, version: Json) -> bool:
    properties = version["properties"]
    profile = properties.get("publishingProfile", properties)
    here = [each for each in profile.get("targetRegions") or [] if region_name(each["name"]) == search.location]
    return bool(profile.get("excludeFromLatest") or any(each.get("excludeFromLatest") for each in here))
