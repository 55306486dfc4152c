"""Rules about versions and where they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from posixpath import normpath

from builder.errors import Diagnostic
from builder.model.spec import Choice, ImageSpec, KeyPath
from builder.model.version import unversioned
from builder.spec.rules.base import destinations_of, finding

# Each part of a gallery version is a 32-bit integer; whether it has a sign is not documented
LARGEST_PART = 2**31 - 1
MOST_REPLICAS = 100
# Beginnings of tag names: whose they are
RESERVED_TAGS = {"azure": "Azure", "microsoft": "Azure", "windows": "Azure", "build-": "build"}
# How many characters Azure lets the offer of a definition's identifier have; the definition's own name, 80
LONGEST_OFFER = 64
# The SKU of a definition's identifier where the spec gives none
DEFAULT_SKU = "default"
# Which security types of definitions a build VM's disks can go to
DEFINITIONS_OF = {
    "TrustedLaunch": {"TrustedLaunchSupported", "TrustedLaunch", "TrustedLaunchAndConfidentialVmSupported"},
    "ConfidentialVM": {"ConfidentialVMSupported", "ConfidentialVM", "TrustedLaunchAndConfidentialVmSupported"},
}
IDENTIFIED_BY = {
    "gallery": ("subscription", "resourceGroup", "gallery", "definition"),
    "managedImage": ("subscription", "resourceGroup", "name"),
    "snapshot": ("subscription", "resourceGroup", "name"),
    "blob": ("account", "container", "prefix"),
    "directory": ("path",),
}
# What gives the versions of a destination their names; where the spec leaves it out, the image's name does
NAMED_BY = {"managedImage": "name", "snapshot": "name", "blob": "prefix"}


def version_parts(image: ImageSpec) -> Iterator[Diagnostic]:
    """Each part of a version is a 32-bit number (Azure Compute Gallery): a date with the time of day is too large."""
    for part in image.publish.version.split("."):
        if part.isdigit() and (int(part) > LARGEST_PART or part != str(int(part))):
            path = ("publish", "version")
            plain = ".".join(str(int(one)) if one.isdigit() else one for one in image.publish.version.split("."))
            help = "a date fits: 20260131" if int(part) > LARGEST_PART else f"write {plain}"
            what = "larger than 2,147,483,647" if int(part) > LARGEST_PART else "written with leading zeros"
            yield finding(image, path, "version", f"'{part}' is {what}", help)


def tags(image: ImageSpec) -> Iterator[Diagnostic]:
    """Some beginnings of tag names are Azure's or build's own, and Azure takes names that differ in case for the same.

    What `build-` tags say of a version decides whether it is rebuilt, promoted or removed.
    """
    given: dict[KeyPath, Mapping[str, str]] = {("tags",): image.tags, ("publish", "tags"): image.publish.tags}
    if image.machine.kind == "azure":
        given[*image.machine.path, "tags"] = image.machine.values["tags"]
    for prefix, values in given.items():
        seen: dict[str, str] = {}
        for name in values:
            path = (*prefix, name)
            owners = [owner for start, owner in RESERVED_TAGS.items() if name.lower().startswith(start)]
            if owners:
                yield finding(image, path, "tag", f"tag names that start like '{name}' are reserved by {owners[0]}")
            if seen.setdefault(name.lower(), name) != name:
                yield finding(image, path, "tag", f"'{name}' is the same tag as '{seen[name.lower()]}' to Azure")


def inside_project(image: ImageSpec) -> Iterator[Diagnostic]:
    """A directory gallery lies below the project's root: a spec must not choose where else root writes."""
    for destination in destinations_of(image, "directory"):
        path = PurePosixPath(destination.values["path"])
        if path.is_absolute() or ".." in path.parts or path.parts[:1] in ((), (".git",)):
            message = f"'{path}' must be a folder of its own below the project's root"
            yield finding(image, (*destination.path, "path"), "path-outside", message)
            continue
        resolved = (image.root / path).resolve()
        if not resolved.is_relative_to(image.root):
            message = f"'{path}' leads out of the project"
            yield finding(image, (*destination.path, "path"), "path-outside", message)
        elif image.folder.is_relative_to(resolved):
            message = f"'{path}' holds the specs: a gallery is a folder of its own"
            yield finding(image, (*destination.path, "path"), "path-specs", message, "write `path: gallery`")


def destinations_once(image: ImageSpec) -> Iterator[Diagnostic]:
    """A version goes to a destination once."""
    seen: set[tuple[object, ...]] = set()
    for destination in image.publish.to:
        identity = identity_of(destination, image)
        if identity in seen:
            message = f"the same {destination.kind} is listed before"
            yield finding(image, destination.path, "duplicate-destination", message)
        seen.add(identity)


def own_source(image: ImageSpec) -> Iterator[Diagnostic]:
    """Each version made of the latest one is a newer source: there would be something to build with every plan."""
    if image.source.kind != "gallery" or image.source.values["version"] != "latest":
        return
    source = identity_of(image.source, image)
    for destination in destinations_of(image, "gallery"):
        target = identity_of(destination, image)
        # Without a subscription it is the signed-in one's, whichever that is
        if target == source or ("" in (source[1], target[1]) and target[2:] == source[2:]):
            message = "the image's versions go to the definition whose latest version it is made of"
            help = "write the exact `version` to stand on, or publish to another definition"
            yield finding(image, (*image.source.path, "definition"), "own-source", message, help)


def identity_of(destination: Choice, image: ImageSpec) -> tuple[object, ...]:
    """What makes two destinations the same one: their versions have the same names, for which Azure ignores case."""
    kind, values = destination.kind, dict(destination.values)
    if kind == "directory":
        return (kind, PurePosixPath(normpath(values["path"])))
    if kind in NAMED_BY:
        name = str(values.get(NAMED_BY[kind], image.name))
        values[NAMED_BY[kind]] = unversioned(name) if kind != "blob" else name.rstrip("/")
    keys = IDENTIFIED_BY[kind]
    # Names of blobs are the only ones in Azure with small and capital letters apart
    texts = {key: str(values.get(key, "")) for key in keys}
    return (kind, *(text if key == "prefix" else text.lower() for key, text in texts.items()))


def gallery_regions(image: ImageSpec) -> Iterator[Diagnostic]:
    """Azure refuses regions listed twice, more than 100 replicas, and encryption sets for some regions only."""
    for destination in destinations_of(image, "gallery"):
        regions = destination.values.get("regions", [])
        path = (*destination.path, "regions")
        seen: set[str] = set()
        for index, region in enumerate(regions):
            if region["name"] in seen:
                where = (*path, index, "name")
                yield finding(image, where, "duplicate-region", f"'{region['name']}' is listed twice")
            seen.add(region["name"])
        if sum(region["replicas"] for region in regions) > MOST_REPLICAS:
            yield finding(image, path, "replicas", f"a version has at most {MOST_REPLICAS} replicas in all regions")
        without = [region["name"] for region in regions if "diskEncryptionSet" not in region]
        if without and len(without) != len(regions):
            message = f"regions without `diskEncryptionSet`: {', '.join(without)}"
            yield finding(image, path, "encryption", message, "give every region one, or none")


def shallow(image: ImageSpec) -> Iterator[Diagnostic]:
    """A shallow version isn't copied: one region, one replica."""
    for destination in destinations_of(image, "gallery"):
        regions = destination.values.get("regions") or [destination.values]
        many = len(regions) > 1 or any(region["replicas"] > 1 for region in regions)
        if destination.values["shallow"] and many:
            path = (*destination.path, "shallow")
            yield finding(image, path, "shallow", "a shallow version has one region and one replica")


def end_of_life(image: ImageSpec) -> Iterator[Diagnostic]:
    """End of life is a day of the calendar, and blocking deletion until then needs one."""
    for destination in destinations_of(image, "gallery"):
        values, path = destination.values, destination.path
        for where, holder in ((path, values), ((*path, "properties"), values.get("properties", {}))):
            date = holder.get("endOfLife")
            if date is not None and not _is_date(date):
                yield finding(image, (*where, "endOfLife"), "date", f"'{date}' is no day of the calendar")
        if values["blockDeletionBeforeEndOfLife"] and "endOfLife" not in values:
            where = (*path, "blockDeletionBeforeEndOfLife")
            yield finding(image, where, "missing-key", "`blockDeletionBeforeEndOfLife` needs `endOfLife`")


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def definition_identifier(image: ImageSpec) -> Iterator[Diagnostic]:
    """A definition's name is its identifier's offer, unless the spec gives one, and may be longer than that."""
    for destination in destinations_of(image, "gallery"):
        name = destination.values["definition"]
        if "offer" not in destination.values.get("properties", {}) and len(name) > LONGEST_OFFER:
            path = (*destination.path, "definition")
            message = f"as the definition's offer, its name may have {LONGEST_OFFER} characters, and has {len(name)}"
            yield finding(image, path, "identifier", message, "give a shorter one: `properties: {offer: ...}`")


def definition_properties(image: ImageSpec) -> Iterator[Diagnostic]:
    """What Azure refuses when it makes an image definition."""
    for destination in destinations_of(image, "gallery"):
        properties = destination.values.get("properties")
        if properties:
            yield from _properties(image, (*destination.path, "properties"), properties)


def _properties(image: ImageSpec, path: KeyPath, properties: dict[str, object]) -> Iterator[Diagnostic]:
    kind = str(properties.get("securityType", "Standard"))
    if kind != "Standard" and image.os.generation == 1:
        yield finding(image, (*path, "securityType"), "generation", f"{kind} needs generation 2")
    if kind.startswith("Confidential") and image.os.architecture == "arm64":
        yield finding(image, (*path, "securityType"), "security", "confidential VMs have x64 processors")
    built = image.machine.values.get("security", {}).get("type") if image.machine.kind == "azure" else None
    if "securityType" in properties and built in DEFINITIONS_OF and kind not in DEFINITIONS_OF[built]:
        message = f"the build VM is {built}: its disks can't go to a definition for {kind}"
        help = f"write {' or '.join(sorted(DEFINITIONS_OF[built]))}"
        yield finding(image, (*path, "securityType"), "security", message, help)
    controllers = properties.get("diskControllers", ["SCSI"])
    if isinstance(controllers, list) and "NVMe" in controllers:
        where = (*path, "diskControllers")
        if "SCSI" not in controllers:
            yield finding(image, where, "disk-controller", "a definition has SCSI, or SCSI and NVMe")
        if image.os.generation == 1:
            yield finding(image, where, "generation", "NVMe needs generation 2")
    for key in ("vcpus", "memory"):
        limits = properties.get(key)
        if isinstance(limits, dict) and limits.get("min", 0) > limits.get("max", limits.get("min", 0)):
            yield finding(image, (*path, key), "range", "`min` is larger than `max`")
    plan = image.source.values.get("plan")
    if plan and "plan" in properties and plan != properties["plan"]:
        message = "the definition's plan must be the source's: Azure refuses another"
        yield finding(image, (*path, "plan"), "plan", message, "remove it: the source's is taken")


def managed_image(image: ImageSpec) -> Iterator[Diagnostic]:
    """Managed images are generalized, for x64, without Trusted Launch (Azure: capture an image)."""
    for destination in destinations_of(image, "managedImage"):
        help = "publish to a `gallery`"
        if image.generalize is None:
            yield finding(image, destination.path, "managed-image", "a managed image can't be specialized", help)
        if image.os.architecture == "arm64":
            yield finding(image, destination.path, "managed-image", "a managed image can't be for Arm64", help)
        security = image.machine.values.get("security", {}).get("type", "Standard")
        if image.machine.kind == "azure" and security != "Standard":
            message = f"a managed image can't be made from a {security} VM"
            yield finding(image, destination.path, "managed-image", message, help)
