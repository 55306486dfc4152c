"""Managed images: of a generalized VM with all its disks, or of disks, snapshots and blobs."""

from __future__ import annotations

from dataclasses import replace

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.facts import Facts
from tests.azure.operations import COMPUTE
from tests.azure.resources import Manner, accept, lister, merge, new_body, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource

TYPE = "Microsoft.Compute/images"
MANNER = Manner(COMPUTE)


def put(call: Call) -> Answer:
    given = without_nulls(call.properties)
    old = call.cloud.state.find(call.path)
    if old is not None:
        return _update(call, old)
    body = new_body(call, TYPE, call.path, keys=("extendedLocation",))
    image = Resource(call.path, TYPE, body)
    if "sourceVirtualMachine" in given:
        storage, facts = _of_machine(call, given, body["location"])
        body["properties"] = {"sourceVirtualMachine": {"id": given["sourceVirtualMachine"]["id"]}}
    elif "storageProfile" in given:
        storage, facts = _of_disks(call, given, body["location"])
        body["properties"] = {}
    else:
        raise bad_request("Required parameter 'storageProfile' is missing (null).", target="storageProfile")
    if facts.architecture == "Arm64":
        raise conflict("Creation of managed images are not supported for virtual machines with Arm64 architecture.")
    zone = given.get("storageProfile", {}).get("zoneResilient")
    if zone is not None:
        storage["zoneResilient"] = zone
    body["properties"].update({"storageProfile": storage, "hyperVGeneration": facts.generation})
    # What the image holds is what its source held now
    image.hidden["facts"] = replace(facts.copied(), generalized=True)
    sizes = storage.pop("_sizes")

    def finish() -> None:
        storage["osDisk"].setdefault("diskSizeGB", facts.size_gib)
        for disk in storage["dataDisks"]:
            if disk["lun"] in sizes:
                disk.setdefault("diskSizeGB", sizes[disk["lun"]])

    return accept(call, image, MANNER, call.cloud.seconds("images.put"), finish, new=True)


def _of_machine(call: Call, given: Json, location: str) -> tuple[Json, Facts]:
    machine = call.cloud.state.get(given["sourceVirtualMachine"]["id"])
    if machine.location != location:
        raise bad_request(f"The source VM is in location {machine.location}, not in {location}.", target="location")
    security = machine.properties.get("securityProfile", {}).get("securityType", "Standard")
    if security in ("TrustedLaunch", "ConfidentialVM"):
        raise conflict(
            f"Creation of managed images are not supported for virtual machines with {security} security type."
        )
    if not machine.hidden["generalized"]:
        raise conflict(
            "Cannot create an image from the source Virtual Machine because it is not generalized:"
            f" '{machine.name}' must be deallocated and set as generalized first."
        )
    facts: Facts = machine.hidden["facts"]
    generation = given.get("hyperVGeneration", "V1" if call.api_version >= "2019-03-01" else facts.generation)
    if generation != facts.generation:
        raise bad_request(
            f"The HyperVGeneration '{generation}' of the image does not match that of the source VM"
            f" '{facts.generation}'.",
            target="hyperVGeneration",
        )
    profile = machine.properties["storageProfile"]
    storage: Json = {
        "osDisk": {
            "osType": facts.system,
            "osState": "Generalized",
            "diskSizeGB": profile["osDisk"]["diskSizeGB"],
            "managedDisk": {"id": profile["osDisk"]["managedDisk"]["id"]},
            "caching": profile["osDisk"]["caching"],
            "storageAccountType": profile["osDisk"]["managedDisk"]["storageAccountType"],
        },
        "dataDisks": [
            {
                "lun": disk["lun"],
                "diskSizeGB": disk["diskSizeGB"],
                "managedDisk": {"id": disk["managedDisk"]["id"]},
                "caching": disk["caching"],
                "storageAccountType": disk["managedDisk"]["storageAccountType"],
            }
            for disk in profile["dataDisks"]
        ],
    }
    return {**storage, "_sizes": {}}, facts


def _of_disks(call: Call, given: Json, location: str) -> tuple[Json, Facts]:
    profile: Json = copy(given["storageProfile"])
    os_disk = profile.get("osDisk")
    if not isinstance(os_disk, dict):
        raise bad_request("Required parameter 'osDisk' is missing (null).", target="osDisk")
    if os_disk.get("osState") == "Specialized":
        raise bad_request("A managed image must be generalized.", target="osDisk.osState")
    shown: list[Json] = []
    sizes: dict[int, int] = {}
    facts = Facts(system=os_disk.get("osType", "Linux"), generation=given.get("hyperVGeneration", "V1"))
    for disk in (os_disk, *profile.get("dataDisks", [])):
        source = _source(call, disk, location)
        entry = {key: disk[key] for key in ("osType", "osState", "lun") if key in disk}
        entry.update({key: disk[key] for key in ("snapshot", "managedDisk", "blobUri", "diskSizeGB") if key in disk})
        entry["caching"] = disk.get("caching", "None")
        entry["storageAccountType"] = disk.get("storageAccountType", "Standard_LRS")
        shown.append(entry)
        if source is None:
            continue
        gib = source.properties.get("diskSizeGB", 30)
        if disk is os_disk:
            held: Facts | None = source.hidden.get("facts")
            facts = replace(held, generation=facts.generation, size_gib=gib) if held else replace(facts, size_gib=gib)
        else:
            sizes[disk["lun"]] = gib
    return {"osDisk": shown[0], "dataDisks": shown[1:], "_sizes": sizes}, facts


def _source(call: Call, disk: Json, location: str) -> Resource | None:
    found = [disk[key]["id"] for key in ("snapshot", "managedDisk") if key in disk]
    if len(found) + ("blobUri" in disk) != 1:
        raise bad_request("Exactly one of 'snapshot', 'managedDisk' and 'blobUri' is needed for each disk.")
    if not found:
        return None
    source = call.cloud.state.find(found[0])
    if source is None:
        raise ArmError(404, "NotFound", f"Disk or snapshot {found[0]} is not found.")
    if source.location != location:
        raise bad_request(f"{source.id} is in location {source.location}, not in {location}.", target="location")
    return source


def _update(call: Call, image: Resource) -> Answer:
    given = without_nulls(call.document)
    if call.method == "PUT" and "sourceVirtualMachine" in given.get("properties", {}):
        raise conflict(
            "Changing property 'sourceVirtualMachine' is not allowed.",
            code="PropertyChangeNotAllowed",
            target="sourceVirtualMachine",
        )
    image.body = merge(image.body, {"tags": given["tags"]} if "tags" in given else {})
    return accept(call, image, MANNER, call.cloud.seconds("images.patch"), lambda: None, new=False)


def patch(call: Call) -> Answer:
    return _update(call, call.cloud.state.get(call.path))


def delete(call: Call) -> Answer:
    return remove(call, MANNER, call.cloud.seconds("images.delete"))


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "PATCH": patch, "GET": reader(), "DELETE": delete},
    list_group=lister(TYPE),
    list_subscription=lister(TYPE),
)
