"""Where a disk or snapshot comes from (`creationData`): found, checked, and with what it brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.azure.answers import ArmError, Call, Json, bad_request, copy
from tests.azure.facts import Facts
from tests.azure.state import Resource

GIB = 1 << 30


@dataclass
class Source:
    """`shown` are properties that the new disk inherits; `settle` adds to its `creationData` at the end."""

    size_bytes: int = 0
    facts: Facts | None = None
    shown: Json = field(default_factory=dict)
    settle: Callable[[Resource], None] = lambda _disk: None


def source_of(call: Call, creation: Json, location: str) -> Source:
    """Raises ArmError as Azure does for a source that isn't there, isn't usable, or is of another region."""
    option = creation.get("createOption")
    if option == "Copy" and "sourceUri" in creation and "sourceResourceId" not in creation:
        # Recorded: an ARM id given as sourceUri is taken, and shown as both
        creation["sourceResourceId"] = creation["sourceUri"]
    reader = READERS.get(str(option))
    if reader is None:
        raise bad_request(f"The value '{option}' of parameter 'creationData.createOption' is invalid.")
    return reader(call, creation, location)


def _empty(_call: Call, _creation: Json, _location: str) -> Source:
    return Source()


def _copied(call: Call, creation: Json, location: str) -> Source:
    source = call.cloud.state.get(_required(creation, "sourceResourceId"))
    if source.type not in ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots"):
        raise bad_request(f"'{source.id}' is neither a disk nor a snapshot.", target="creationData.sourceResourceId")
    if source.location != location and creation["createOption"] != "CopyStart":
        raise bad_request(
            f"The source resource {source.id} is in location {source.location}, not in {location}.",
            code="InvalidParameter",
            target="creationData.sourceResourceId",
        )
    if source.properties.get("diskState") in ("ReadyToUpload", "ActiveUpload"):
        raise ArmError(409, "OperationNotAllowed", f"The upload of disk '{source.name}' has not been ended.")
    if source.properties.get("completionPercent", 100.0) < 100.0 and source.location != location:
        raise ArmError(409, "OperationNotAllowed", f"The background copy of '{source.name}' has not completed.")
    facts: Facts | None = source.hidden.get("facts")

    def settle(disk: Resource) -> None:
        disk.properties["creationData"]["sourceUniqueId"] = source.properties["uniqueId"]
        disk.hidden["facts"] = facts.copied() if facts is not None else None

    size = source.properties.get("diskSizeBytes", source.properties.get("diskSizeGB", 0) * GIB)
    inherited = ("osType", "hyperVGeneration", "purchasePlan", "supportedCapabilities", "securityProfile")
    shown = {key: copy(source.properties[key]) for key in inherited if key in source.properties}
    return Source(size, facts, shown, settle)


def _from_image(call: Call, creation: Json, location: str) -> Source:
    from tests.azure.kinds.image_references import resolve

    reference = creation.get("imageReference") or creation.get("galleryImageReference") or {}
    found = resolve(call, _as_machine_reference(reference), location, lun=reference.get("lun"))
    if "lun" in reference:
        size = next((gib for lun, gib in found.data_disks if lun == reference["lun"]), None)
        if size is None:
            raise bad_request(f"The image has no data disk with LUN {reference['lun']}.", target="lun")
        return Source(size * GIB)
    facts = found.facts
    shown: Json = {"osType": facts.system, "hyperVGeneration": facts.generation}
    if facts.plan is not None:
        shown["purchasePlan"] = copy(facts.plan)

    def settle(disk: Resource) -> None:
        disk.hidden["facts"] = facts.copied()

    return Source(facts.size_gib * GIB, facts, shown, settle)


def _as_machine_reference(reference: Json) -> Json:
    """`creationData` names a marketplace image by an id with its publisher, offer, SKU and version."""
    given = str(reference.get("id", ""))
    if "/artifacttypes/" not in given.lower():
        return reference
    parts = given.split("/")
    lowered = given.lower().split("/")
    return {
        key: parts[lowered.index(word) + 1]
        for key, word in (("publisher", "publishers"), ("offer", "offers"), ("sku", "skus"), ("version", "versions"))
    }


def _imported(call: Call, creation: Json, _location: str) -> Source:
    uri = _required(creation, "sourceUri")
    _required(creation, "storageAccountId")
    blobs = call.cloud.blobs
    if blobs is None:
        raise ArmError(500, "InternalServerError", "This simulator was started without blobs (Azurite).")
    return Source(blobs.vhd_size(uri))


def _uploaded(_call: Call, creation: Json, _location: str) -> Source:
    return Source(int(creation.get("uploadSizeBytes") or 512) - 512)


def _required(creation: Json, key: str) -> str:
    found = creation.get(key)
    if not isinstance(found, str) or not found:
        raise bad_request(f"Required parameter 'creationData.{key}' is missing (null).", target=f"creationData.{key}")
    return found


READERS: dict[str, Callable[[Call, Json, str], Source]] = {
    "Empty": _empty,
    "Copy": _copied,
    "CopyStart": _copied,
    "FromImage": _from_image,
    "Import": _imported,
    "ImportSecure": _imported,
    "Restore": _copied,
    "Upload": _uploaded,
    "UploadPreparedSecure": _uploaded,
}
