"""Gallery image versions: of a VM, an image, disks, snapshots, blobs or another version; replicated by region."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.facts import Facts
from tests.azure.kinds.galleries import DEFINITIONS, region_name
from tests.azure.operations import GALLERY_VERSION, stamp
from tests.azure.resources import Manner, accept, check_free, lister, merge, new_body, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource, type_of

TYPE = "Microsoft.Compute/galleries/images/versions"
MANNER = Manner(GALLERY_VERSION, retry_after=60, update_retry_after=60, delete_retry_after=60)
LARGEST_PART = 2**31 - 1


@dataclass(frozen=True)
class Content:
    """What a version is made of: `os_disk` and `data_disks` are (GiB, caching), data disks by LUN.

    `generalized` is None where Azure can't know: of disks and snapshots.
    """

    facts: Facts
    generalized: bool | None
    os_disk: tuple[int, str]
    data_disks: tuple[tuple[int, int, str], ...]
    locations: tuple[str, ...]


def put(call: Call) -> Answer:
    definition = call.cloud.state.get(call.path.rpartition("/versions/")[0])
    parts = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", call.name)
    if parts is None or any(int(part) > LARGEST_PART for part in parts.groups()):
        raise bad_request(
            f"The gallery image version name '{call.name}' is invalid. It must follow the Major.Minor.Patch pattern,"
            " each a 32-bit integer.",
            target="galleryImageVersionName",
        )
    given = without_nulls(call.properties)
    old = call.cloud.state.find(call.path)
    if old is not None:
        return _update(call, old, call.document, whole=True)
    body = new_body(call, TYPE, call.path)
    content = _content(call, given.get("storageProfile", {}))
    _check_definition(definition, content)
    if body["location"] != definition.location:
        raise bad_request(
            f"The image definition is in '{definition.location}' and the version in '{body['location']}':"
            " they must be the same.",
            target="location",
        )
    if any(location != body["location"] for location in content.locations):
        raise bad_request(
            f"The source {content.locations[0]} is not in the location '{body['location']}' of the version.",
            target="storageProfile.source",
        )
    publishing = _publishing(call, given.get("publishingProfile", {}), body["location"])
    safety = {"reportedForPolicyViolation": False, "allowDeletionOfReplicatedLocations": False}
    for key in ("allowDeletionOfReplicatedLocations", "blockDeletionBeforeEndOfLife"):
        if key in given.get("safetyProfile", {}):
            safety[key] = given["safetyProfile"][key]
    body["properties"] = {
        "publishingProfile": publishing,
        "storageProfile": _given_storage(given["storageProfile"]),
        "safetyProfile": safety,
    }
    version = Resource(call.path, TYPE, body)
    # What is published is what the source held when it was asked for
    version.hidden["facts"] = content.facts.copied()
    version.hidden["data_disks"] = tuple((lun, gib) for lun, gib, _caching in content.data_disks)
    version.hidden["regions"] = ()
    seconds = _replicate(call, version, _regions(publishing))

    def finish() -> None:
        storage = version.properties["storageProfile"]
        storage["osDiskImage"] = {
            "sizeInGB": content.os_disk[0],
            "hostCaching": content.os_disk[1],
            "source": storage.get("osDiskImage", {}).get("source", {}),
        }
        if content.data_disks:
            sources = {disk["lun"]: disk.get("source") for disk in storage.get("dataDiskImages", [])}
            storage["dataDiskImages"] = [
                {
                    "lun": lun,
                    "sizeInGB": gib,
                    "hostCaching": caching,
                    **({"source": sources[lun]} if sources.get(lun) else {}),
                }
                for lun, gib, caching in content.data_disks
            ]
        version.hidden["regions"] = _regions(version.properties["publishingProfile"])

    def failed(_error: ArmError) -> None:
        for progress in version.hidden["replication"].values():
            progress["failed"] = True

    return accept(call, version, MANNER, seconds, finish, new=True, failed=failed)


def _given_storage(given: Json) -> Json:
    shown: Json = {}
    if "source" in given:
        shown["source"] = copy(given["source"])
    if "osDiskImage" in given:
        shown["osDiskImage"] = copy(given["osDiskImage"])
        shown["osDiskImage"].setdefault("hostCaching", "None")
    if "dataDiskImages" in given:
        shown["dataDiskImages"] = copy(given["dataDiskImages"])
    return shown


def _content(call: Call, storage: Json) -> Content:
    source = storage.get("source", {})
    whole = [source[key] for key in ("id", "virtualMachineId", "communityGalleryImageId") if source.get(key)]
    if len(whole) + ("osDiskImage" in storage) != 1:
        raise bad_request(
            "Exactly one source is needed: either 'storageProfile.source' or 'storageProfile.osDiskImage'.",
            target="storageProfile",
        )
    if not whole:
        return _of_disks(call, storage)
    readers = {
        "microsoft.compute/virtualmachines": _of_machine,
        "microsoft.compute/images": _of_image,
        TYPE.lower(): _of_version,
    }
    if source.get("communityGalleryImageId"):
        return _of_published(call, source["communityGalleryImageId"])
    reader_of = readers.get(type_of(whole[0]).lower())
    found = call.cloud.state.find(whole[0])
    if reader_of is None or found is None:
        raise ArmError(404, "NotFound", f"The source '{whole[0]}' of the gallery image version was not found.")
    return reader_of(found)


def _of_machine(machine: Resource) -> Content:
    profile = machine.properties["storageProfile"]
    data = tuple((disk["lun"], disk["diskSizeGB"], disk["caching"]) for disk in profile["dataDisks"])
    os_disk = (profile["osDisk"]["diskSizeGB"], profile["osDisk"]["caching"])
    facts: Facts = machine.hidden["facts"]
    security = machine.properties.get("securityProfile", {}).get("securityType", "")
    return Content(replace(facts, security=security), machine.hidden["generalized"], os_disk, data, (machine.location,))


def _of_image(image: Resource) -> Content:
    profile = image.properties["storageProfile"]
    data = tuple((disk["lun"], disk.get("diskSizeGB", 32), disk["caching"]) for disk in profile.get("dataDisks", []))
    facts: Facts = image.hidden["facts"]
    os_disk = (profile["osDisk"].get("diskSizeGB", facts.size_gib), profile["osDisk"]["caching"])
    return Content(replace(facts, security=""), True, os_disk, data, (image.location,))


def _of_version(version: Resource) -> Content:
    facts: Facts = version.hidden["facts"]
    os_disk = version.properties["storageProfile"].get("osDiskImage", {})
    data = tuple((lun, gib, "None") for lun, gib in version.hidden["data_disks"])
    return Content(facts, facts.generalized, (os_disk.get("sizeInGB", facts.size_gib), "ReadWrite"), data, ())


def _of_published(call: Call, unique_id: str) -> Content:
    from tests.azure.kinds.image_references import resolve

    found = resolve(call, {"communityGalleryImageId": unique_id}, call.document.get("location", ""))
    data = tuple((lun, gib, "None") for lun, gib in found.data_disks)
    return Content(found.facts, not found.specialized, (found.facts.size_gib, "ReadWrite"), data, ())


def _of_disks(call: Call, storage: Json) -> Content:
    os_disk = storage["osDiskImage"]
    held, size, location = _disk_source(call, os_disk, "osDiskImage")
    locations = [location]
    data = []
    luns: set[int] = set()
    for disk in storage.get("dataDiskImages", []):
        if disk.get("lun") in luns:
            raise bad_request("Data disk images must have unique LUNs.", target="dataDiskImages.lun")
        luns.add(disk["lun"])
        _facts, gib, place = _disk_source(call, disk, "dataDiskImages")
        locations.append(place)
        data.append((disk["lun"], gib, disk.get("hostCaching", "None")))
    facts = held or Facts(size_gib=size)
    generalized = held.generalized if held is not None and held.generalized else None
    caching = os_disk.get("hostCaching", "None")
    return Content(facts, generalized, (size, caching), tuple(data), tuple(place for place in locations if place))


def _disk_source(call: Call, disk: Json, target: str) -> tuple[Facts | None, int, str]:
    source = disk.get("source", {})
    if source.get("id"):
        found = call.cloud.state.find(source["id"])
        if found is None or type_of(found.id).lower() not in ("microsoft.compute/disks", "microsoft.compute/snapshots"):
            raise ArmError(404, "NotFound", f"The source '{source['id']}' of {target} was not found.")
        if found.properties.get("diskState") in ("ReadyToUpload", "ActiveUpload"):
            raise conflict(f"The upload of disk '{found.name}' has not been ended.")
        return found.hidden.get("facts"), found.properties.get("diskSizeGB", 30), found.location
    if source.get("uri"):
        if not source.get("storageAccountId"):
            raise bad_request(f"'{target}.source.storageAccountId' is needed with 'uri'.", target=f"{target}.source")
        if call.cloud.blobs is None:
            raise ArmError(500, "InternalServerError", "This simulator was started without blobs (Azurite).")
        return None, -(-call.cloud.blobs.vhd_size(source["uri"]) // (1 << 30)), ""
    raise bad_request(f"Required parameter '{target}.source' is missing (null).", target=f"{target}.source")


def _check_definition(definition: Resource, content: Content) -> None:
    """Definition and source must agree. A raw disk says little of itself, so that little is checked."""
    declared, facts = definition.properties, content.facts
    wrong = [
        (name, theirs, ours)
        for name, theirs, ours in (
            ("OSType", facts.system, declared["osType"]),
            ("HyperVGeneration", facts.generation, declared["hyperVGeneration"]),
            ("Architecture", facts.architecture, declared["architecture"]),
        )
        if facts.system and theirs != ours
    ]
    if wrong:
        name, theirs, ours = wrong[0]
        raise bad_request(
            f"The {name} '{theirs}' of the source does not match that of the gallery image definition '{ours}'.",
            code="BadRequest",
            target="storageProfile.source",
        )
    state = declared["osState"]
    if content.generalized is not None and (state == "Generalized") != content.generalized:
        word = "generalized" if content.generalized else "specialized"
        raise bad_request(
            f"The source is {word}, but the gallery image definition is {state}.",
            code="BadRequest",
            target="storageProfile.source",
        )
    plan = declared.get("purchasePlan")
    if (facts.plan is not None or plan is not None) and _key(facts.plan) != _key(plan):
        raise bad_request(
            f"The gallery image definition '{definition.name}' has a different plan {_key(plan)} than the parent image"
            f" plan {_key(facts.plan)}.",
            code="BadRequest",
            target="purchasePlan",
        )
    security = next((f["value"] for f in declared.get("features", []) if f["name"].lower() == "securitytype"), "")
    if facts.security == "TrustedLaunch" and security in ("", "Standard"):
        raise bad_request(
            f"The source has security type TrustedLaunch, which the definition '{definition.name}' does not support.",
            code="BadRequest",
        )


def _key(plan: Json | None) -> tuple[str, ...] | None:
    return tuple(str(plan[key]).lower() for key in ("name", "product", "publisher")) if plan else None


def _publishing(call: Call, given: Json, location: str) -> Json:
    storage = given.get("storageAccountType", "Standard_LRS")
    replicas = given.get("replicaCount", 1)
    regions = given.get("targetRegions") or [{"name": location}]
    shown = []
    for region in regions:
        entry = {
            "name": region_name(region["name"]),
            "regionalReplicaCount": region.get("regionalReplicaCount", replicas),
            "storageAccountType": region.get("storageAccountType", storage),
        }
        for key in ("encryption", "excludeFromLatest", "additionalReplicaSets"):
            if key in region:
                entry[key] = copy(region[key])
        if not 1 <= entry["regionalReplicaCount"] <= 100:
            raise bad_request("A region must have 1 to 100 replicas.", target="regionalReplicaCount")
        shown.append(entry)
    names = [entry["name"] for entry in shown]
    if len(set(names)) != len(names):
        raise bad_request("Duplicate regions are not allowed in 'targetRegions'.", target="targetRegions")
    if region_name(location) not in names:
        raise bad_request(
            f"The location '{location}' of the version must be one of its target regions.", target="targetRegions"
        )
    end = given.get("endOfLifeDate")
    if end is not None and datetime.fromisoformat(end) <= call.cloud.clock.now():
        raise bad_request("'endOfLifeDate' must be in the future.", target="endOfLifeDate")
    profile: Json = {
        "targetRegions": shown,
        "replicaCount": replicas,
        "excludeFromLatest": given.get("excludeFromLatest", False),
        "publishedDate": stamp(call.cloud.clock.now()),
        "storageAccountType": storage,
    }
    profile.update({key: given[key] for key in ("endOfLifeDate", "replicationMode") if key in given})
    return profile


def _regions(publishing: Json) -> tuple[str, ...]:
    return tuple(region["name"].replace(" ", "").lower() for region in publishing["targetRegions"])


def _replicate(call: Call, version: Resource, regions: tuple[str, ...]) -> float:
    """Plans each region's replication. Returns the seconds until the last is done."""
    known: dict[str, Json] = version.hidden.setdefault("replication", {})
    now = call.cloud.clock.elapsed
    shallow = version.properties["publishingProfile"].get("replicationMode") == "Shallow"
    first = 30.0 if shallow else call.cloud.seconds("versions.put")
    longest = call.cloud.seconds("versions.patch") if known else first
    new = not known
    for place, region in enumerate([region for region in regions if region not in known]):
        length = (first if new else 0) + (0 if place == 0 and new else call.cloud.seconds("versions.region"))
        known[region] = {"began": now, "ends": now + length}
        longest = max(longest, length)
    for region in [name for name in known if name not in regions]:
        del known[region]
    return longest


def view(call: Call, version: Resource) -> Json:
    body: Json = copy(version.body)
    if call.query.get("$expand", "").lower() == "replicationstatus":
        body["properties"]["replicationStatus"] = _replication_status(call, version)
    return body


def _replication_status(call: Call, version: Resource) -> Json:
    now = call.cloud.clock.elapsed
    summary = []
    for region in version.properties["publishingProfile"]["targetRegions"]:
        progress = version.hidden["replication"].get(region["name"].replace(" ", "").lower(), {})
        length = max(progress.get("ends", now) - progress.get("began", now), 1e-9)
        percent = min(100, int(100 * (now - progress.get("began", now)) / length)) if progress else 100
        state = "Failed" if progress.get("failed") else "Completed" if percent >= 100 else "Replicating"
        summary.append({"region": region["name"], "state": state, "details": "", "progress": percent})
    states = {entry["state"] for entry in summary}
    together = "Failed" if "Failed" in states else "InProgress" if "Replicating" in states else "Completed"
    return {"aggregatedState": together, "summary": summary}


def _update(call: Call, version: Resource, changes: Json, *, whole: bool = False) -> Answer:
    """Regions, replicas, exclusion, end of life and safety can change; what was published can't.

    A PUT tells the `whole` publishing profile: what it leaves out goes back to its default. A PATCH keeps that.
    """
    check_free(version)
    given = without_nulls(changes)
    properties = given.get("properties", {})
    storage = properties.get("storageProfile")
    if storage is not None and _origin(storage) not in (None, _origin(version.properties["storageProfile"])):
        raise conflict(
            "Changing property 'galleryImageVersion.properties.storageProfile.source' is not allowed.",
            code="PropertyChangeNotAllowed",
            target="galleryImageVersion.properties.storageProfile.source",
        )
    # One that never was whole has nothing to change; a change that failed is tried again by the same change
    if version.provisioning == "Failed" and not version.hidden["regions"]:
        raise conflict(
            f"The gallery image version '{version.name}' is in state Failed; delete it before it is published again."
        )
    version.body = merge(version.body, {"tags": given["tags"]} if "tags" in given else {})
    publishing = version.properties["publishingProfile"]
    if "publishingProfile" in properties:
        fixed = {key: publishing[key] for key in ("storageAccountType", "replicationMode") if key in publishing}
        wanted = merge(fixed if whole else publishing, properties["publishingProfile"])
        if wanted["storageAccountType"] != publishing["storageAccountType"]:
            raise conflict("Changing property 'storageAccountType' is not allowed.", code="PropertyChangeNotAllowed")
        replaced = _publishing(call, wanted, version.location)
        version.properties["publishingProfile"] = {**replaced, "publishedDate": publishing["publishedDate"]}
    if "safetyProfile" in properties:
        version.properties["safetyProfile"].update(copy(properties["safetyProfile"]))
    seconds = _replicate(call, version, _regions(version.properties["publishingProfile"]))

    def finish() -> None:
        version.hidden["regions"] = _regions(version.properties["publishingProfile"])

    return accept(call, version, MANNER, seconds, finish, new=False)


def _origin(storage: Json) -> str | None:
    source = storage.get("source") or storage.get("osDiskImage", {}).get("source") or {}
    found = next(
        (source[key] for key in ("id", "virtualMachineId", "uri", "communityGalleryImageId") if key in source), None
    )
    return str(found).lower() if found is not None else None


def patch(call: Call) -> Answer:
    return _update(call, call.cloud.state.get(call.path), call.document)


def delete(call: Call) -> Answer:
    def check(version: Resource) -> None:
        end = version.properties["publishingProfile"].get("endOfLifeDate")
        blocked = version.properties["safetyProfile"].get("blockDeletionBeforeEndOfLife")
        if blocked and end is not None and datetime.fromisoformat(end) > call.cloud.clock.now():
            raise conflict(
                f"The gallery image version '{version.name}' can't be deleted before its end of life {end}.",
                code="DeleteGalleryImageVersionBlockedBeforeEndOfLife",
            )

    return remove(call, MANNER, call.cloud.seconds("versions.delete"), check=check)


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "PATCH": patch, "GET": reader(view), "DELETE": delete},
    list_group=lister(TYPE, view),
)
__all__ = ["DEFINITIONS", "ROUTES", "TYPE"]
