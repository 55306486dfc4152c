"""A version's software bill of materials, as CycloneDX JSON. The same inventory gives the same text."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from builder.model.artifact import Inventory, Package
from builder.model.canonical import digest

if TYPE_CHECKING:
    from packageurl import PackageURL

# What Windows calls its own has no type among package URLs
GENERIC = frozenset({"windows", "hotfix", "feature"})
# Serial numbers are made from content within this namespace
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/build/image")


def sbom_json(inventory: Inventory, *, name: str, version: str, timestamp: str) -> str:
    """The bill of materials of one version of an image: packages with purls, and the files that the spec put there.

    `timestamp` is RFC 3339. The serial number covers the inventory, the name and the version.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    content = digest({"inventory": inventory.as_dict(), "name": name, "version": version})
    image = Component(
        name=name, version=version, type=ComponentType.OPERATING_SYSTEM, bom_ref=f"image:{name}@{version}"
    )
    components = []
    for package in inventory.packages:
        url = purl(package, inventory)
        components.append(
            Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                purl=url,
                bom_ref=url.to_string(),
            )
        )
    for file in inventory.files:
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)]
        components.append(
            Component(name=file.path, type=ComponentType.FILE, hashes=hashes, bom_ref=f"file:{file.path}")
        )
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, content),
        metadata=BomMetaData(component=image, timestamp=datetime.fromisoformat(timestamp)),
        components=components,
    )
    bom.register_dependency(image, components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def purl(package: Package, inventory: Inventory) -> PackageURL:
    """The package URL. Source: purl-spec's types deb, rpm, apk and generic; an RPM's epoch is a qualifier there."""
    from packageurl import PackageURL

    distribution = inventory.os.get("ID", "")
    release = inventory.os.get("VERSION_ID", "")
    qualifiers = {"arch": package.architecture}
    version = package.version
    if distribution:
        qualifiers["distro"] = f"{distribution}-{release}" if release else distribution
    if package.type == "rpm" and ":" in version:
        qualifiers["epoch"], version = version.split(":", 1)
    if package.type in GENERIC:
        qualifiers["kind"] = package.type
        return PackageURL("generic", distribution or None, package.name, version or None, qualifiers)
    return PackageURL(package.type, distribution or None, package.name, version, qualifiers)
