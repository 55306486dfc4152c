"""What a VM's or disk's image reference means: marketplace, managed image, or a gallery of any kind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.azure.answers import ArmError, Call, Json, bad_request
from tests.azure.catalogue import MarketplaceImage, version_key
from tests.azure.facts import Facts
from tests.azure.state import Resource, type_of

MANAGED = "Microsoft.Compute/images"
DEFINITIONS = "Microsoft.Compute/galleries/images"
VERSIONS = "Microsoft.Compute/galleries/images/versions"


@dataclass(frozen=True)
class Resolved:
    """`specialized`: the image is a copy of one machine. `shown` is what goes into the VM's imageReference.

    `data_disks` are (LUN, GiB); `marketplace` is set for what is sold there.
    """

    facts: Facts
    data_disks: tuple[tuple[int, int], ...] = ()
    specialized: bool = False
    shown: Json = field(default_factory=dict)
    marketplace: MarketplaceImage | None = None


def resolve(call: Call, reference: Json, location: str, *, lun: int | None = None) -> Resolved:
    """Raises ArmError in Azure's words when there is no such image, or not there."""
    del lun
    if reference.get("communityGalleryImageId"):
        return _published(call, str(reference["communityGalleryImageId"]), location, "communityGalleryImageId")
    if reference.get("sharedGalleryImageId"):
        return _published(call, str(reference["sharedGalleryImageId"]), location, "sharedGalleryImageId")
    if reference.get("id"):
        return _by_id(call, str(reference["id"]), location)
    return _from_marketplace(call, reference, location)


def _from_marketplace(call: Call, reference: Json, location: str) -> Resolved:
    names = [str(reference.get(key, "")) for key in ("publisher", "offer", "sku", "version")]
    if not all(names):
        raise bad_request("Required parameter 'imageReference' is incomplete.", target="imageReference")
    image = call.cloud.catalogue.find(names[0], names[1], names[2], names[3], location)
    if image is None:
        raise ArmError(
            404,
            "PlatformImageNotFound",
            f"The platform image '{':'.join(names)}' is not available. Verify that all fields in the storage profile"
            " are correct.",
            target="imageReference",
        )
    keys = ("publisher", "offer", "sku", "version")
    shown = {**dict(zip(keys, names, strict=True)), "exactVersion": image.version}
    return Resolved(marketplace_facts(image), image.data_disks, shown=shown, marketplace=image)


def marketplace_facts(image: MarketplaceImage) -> Facts:
    features = dict(image.features)
    plan = dict(zip(("name", "product", "publisher"), image.plan, strict=True)) if image.plan else None
    return Facts(
        system=image.system,
        generation=image.generation,
        architecture=image.architecture,
        security=features.get("SecurityType", ""),
        controllers=features.get("DiskControllerTypes", "SCSI"),
        plan=plan,
        generalized=True,
        os_name=image.os_name,
        os_version=image.os_version,
        size_gib=image.size_gib,
    )


def _by_id(call: Call, image_id: str, location: str) -> Resolved:
    resource_type = type_of(image_id).lower()
    if resource_type == DEFINITIONS.lower():
        definition = call.cloud.state.get(image_id)
        version = latest_version(call, definition, location)
    elif resource_type == VERSIONS.lower():
        parent, _, name = image_id.rpartition("/versions/")
        definition = call.cloud.state.get(parent)
        version = (
            latest_version(call, definition, location) if name.lower() == "latest" else call.cloud.state.get(image_id)
        )
    elif resource_type == MANAGED.lower():
        return _managed(call, call.cloud.state.get(image_id), location)
    else:
        raise bad_request(f"The value '{image_id}' is no id of an image.", target="imageReference.id")
    return _version(definition, version, location, {"id": image_id, "exactVersion": version.name})


def _managed(call: Call, image: Resource, location: str) -> Resolved:
    if image.location != location:
        raise bad_request(
            f"Image '{image.id}' is in location {image.location}; a VM in {location} can't use it.",
            target="imageReference",
        )
    facts: Facts = image.hidden["facts"]
    disks = image.properties["storageProfile"].get("dataDisks", [])
    sizes = tuple((disk["lun"], disk.get("diskSizeGB", 32)) for disk in disks)
    del call
    return Resolved(facts, sizes, shown={"id": image.id})


def latest_version(call: Call, definition: Resource, location: str) -> Resource:
    """The highest version that is not excluded, is published, and is in that region. Raises ArmError 404."""
    found = [
        version
        for version in call.cloud.state.of_type(VERSIONS, below=definition.id)
        if version.provisioning == "Succeeded"
        and not version.properties["publishingProfile"].get("excludeFromLatest")
        and location in version.hidden.get("regions", ())
    ]
    if not found:
        raise ArmError(
            404,
            "GalleryImageNotFound",
            f"The gallery image {definition.id} is not available in {location} region. Please contact image owner to"
            " replicate to this region, or change your requested region.",
            target="imageReference",
        )
    return max(found, key=lambda version: version_key(version.name))


def _version(definition: Resource, version: Resource, location: str, shown: Json) -> Resolved:
    if location not in version.hidden.get("regions", ()):
        raise ArmError(
            404,
            "GalleryImageNotFound",
            f"The gallery image {version.id} is not available in {location} region. Please contact image owner to"
            " replicate to this region, or change your requested region.",
            target="imageReference",
        )
    facts: Facts = version.hidden["facts"]
    features = {f["name"].lower(): f["value"] for f in definition.properties.get("features", [])}
    # Of a gallery image, rules look at what the definition declares
    facts = replace(
        facts,
        generation=definition.properties["hyperVGeneration"],
        architecture=definition.properties["architecture"],
        security=features.get("securitytype", "Standard").replace("Standard", ""),
        controllers=features.get("diskcontrollertypes", "SCSI"),
        plan=definition.properties.get("purchasePlan"),
    )
    specialized = definition.properties["osState"] == "Specialized"
    return Resolved(facts, version.hidden.get("data_disks", ()), specialized=specialized, shown=shown)


def _published(call: Call, unique_id: str, location: str, key: str) -> Resolved:
    """`/CommunityGalleries/{public name}/Images/{image}[/Versions/{version}]`, and the same for SharedGalleries."""
    from tests.azure.kinds.shared_galleries import find_published

    parts = unique_id.strip("/").split("/")
    if len(parts) < 4:
        raise bad_request(f"The value '{unique_id}' of '{key}' is invalid.", target=f"imageReference.{key}")
    gallery = find_published(call, parts[0].lower(), parts[1], location)
    definition = call.cloud.state.get(f"{gallery.id}/images/{parts[3]}")
    wanted = parts[5] if len(parts) > 5 else "latest"
    if wanted.lower() == "latest":
        version = latest_version(call, definition, location)
    else:
        version = call.cloud.state.get(f"{definition.id}/versions/{wanted}")
    return _version(definition, version, location, {key: unique_id, "exactVersion": version.name})
