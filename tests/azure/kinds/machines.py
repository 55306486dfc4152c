"""Virtual machines: made from an image or an attached disk, changed, looked at, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.azure import first_start
from tests.azure.answers import Answer, Call, Json, bad_request, conflict, copy, without_nulls
from tests.azure.facts import Facts
from tests.azure.kinds import disks
from tests.azure.kinds.image_references import Resolved, resolve
from tests.azure.kinds.machine_rules import RULES, Wanted
from tests.azure.kinds.machine_view import view
from tests.azure.operations import COMPUTE, COMPUTE_CREATE, COMPUTE_SLOW, stamp
from tests.azure.resources import Manner, accept, check_free, lister, merge, new_body, new_uuid, reader, remove
from tests.azure.router import resource_routes
from tests.azure.state import Resource, same

TYPE = "Microsoft.Compute/virtualMachines"
CREATE = Manner(COMPUTE_CREATE, retry_after=10)
UPDATE = Manner(COMPUTE)
DELETE = Manner(COMPUTE_SLOW, delete_retry_after=10)
TOP_LEVEL = ("plan", "zones", "identity", "extendedLocation")
# Written, never shown
SECRETS = ("adminPassword", "customData")


def put(call: Call) -> Answer:
    old = call.cloud.state.find(call.path)
    if old is not None:
        return _update(call, old, call.document)
    given = without_nulls(call.document)
    body = new_body(call, TYPE, call.path, keys=TOP_LEVEL)
    location = body["location"]
    storage = given.get("properties", {}).get("storageProfile", {})
    attached = _attached_os_disk(call, storage)
    image = None if attached else resolve(call, storage.get("imageReference", {}), location)
    facts = _facts(image, attached)
    size_name = given.get("properties", {}).get("hardwareProfile", {}).get("vmSize", "")
    wanted = Wanted(call, given, location, call.cloud.catalogue.sizes.get(size_name.lower()), image, facts)
    for rule in RULES:
        rule(wanted)
    machine = Resource(call.path, TYPE, body)
    machine.hidden.update(power="creating", agent=False, generalized=False, facts=facts, commands={}, boot_log=[])
    machine.hidden["custom_data"] = given["properties"].get("osProfile", {}).get("customData")
    body["properties"] = _properties(call, wanted, machine, attached)
    _identify(body)
    for reference in body["properties"]["networkProfile"]["networkInterfaces"]:
        call.cloud.state.get(reference["id"]).hidden["machine"] = machine.id
    body["etag"] = '"1"'

    # Needs this module's TYPE itself
    from tests.azure.kinds.machine_power import boot

    def finish() -> None:
        _make_disks(call, machine, wanted, attached)
        machine.hidden.update(power="running")
        machine.hidden["boot_log"].append(f"Linux version 6.1 ({machine.name})\nlogin: \n")
        # What is provisioned tells Azure so by its agent; of a specialized VM nobody waits to hear
        boot(call, machine, "firstAgent" if "osProfile" in given["properties"] else "agent")

    def failed(_error: object) -> None:
        # A VM that failed to start keeps its disks: that is what has to be cleaned up after it
        _make_disks(call, machine, wanted, attached)
        machine.hidden.update(power="stopped")
        machine.hidden["boot_log"].append(f"Linux version 6.1 ({machine.name})\n")

    return accept(call, machine, CREATE, call.cloud.seconds("virtualMachines.put"), finish, new=True, failed=failed)


def _attached_os_disk(call: Call, storage: Json) -> Resource | None:
    disk = storage.get("osDisk", {})
    if str(disk.get("createOption", "")).lower() != "attach":
        return None
    found = call.cloud.state.get(disk.get("managedDisk", {}).get("id", ""))
    disks.check_attachable(found, call.path)
    if "osType" not in disk:
        raise bad_request("Required parameter 'osDisk.osType' is missing (null).", target="osDisk.osType")
    return found


def _facts(image: Resolved | None, attached: Resource | None) -> Facts:
    if image is not None:
        # What an image holds generalized, its first start makes a machine of its own
        return replace(image.facts.copied(), generalized=False)
    assert attached is not None
    facts: Facts | None = attached.hidden.get("facts")
    if facts is not None:
        return facts
    # An uploaded or imported disk: what it holds, nobody but its owner knows
    properties = attached.properties
    capabilities = properties.get("supportedCapabilities", {})
    return Facts(
        system=properties.get("osType", "Linux"),
        generation=properties.get("hyperVGeneration", "V1"),
        architecture=capabilities.get("architecture", "x64"),
        os_name="debian",
        os_version="12",
        size_gib=properties.get("diskSizeGB", 30),
    )


def _properties(call: Call, wanted: Wanted, machine: Resource, attached: Resource | None) -> Json:
    given = wanted.properties
    facts = wanted.facts
    storage = given.get("storageProfile", {})
    os_disk = storage.get("osDisk", {})
    shown_disk: Json = {
        "osType": facts.system,
        "name": os_disk.get("name") or f"{machine.name}_disk1_{new_uuid().replace('-', '')}",
        "createOption": "Attach" if attached else "FromImage",
        "caching": os_disk.get("caching", "ReadWrite" if attached is None else "None"),
        "managedDisk": {
            "storageAccountType": "Standard_LRS",
            **os_disk.get("managedDisk", {}),
        },
        "deleteOption": os_disk.get("deleteOption", "Detach"),
        "diskSizeGB": os_disk.get("diskSizeGB") or facts.size_gib,
    }
    if attached is not None:
        shown_disk["name"] = attached.name
        shown_disk["managedDisk"]["storageAccountType"] = attached.body["sku"]["name"]
        shown_disk["diskSizeGB"] = attached.properties["diskSizeGB"]
    profile: Json = {"osDisk": shown_disk, "dataDisks": _data_disks(wanted)}
    if wanted.image is not None:
        profile["imageReference"] = wanted.image.shown
    if "diskControllerType" in storage:
        profile["diskControllerType"] = storage["diskControllerType"]
    shown: Json = {
        "vmId": new_uuid(),
        "hardwareProfile": copy(given.get("hardwareProfile", {})),
        "storageProfile": profile,
    }
    if "osProfile" in given:
        shown["osProfile"] = _os_profile(given["osProfile"], facts)
    shown["networkProfile"] = {"networkInterfaces": copy(given["networkProfile"]["networkInterfaces"])}
    for key in ("securityProfile", "diagnosticsProfile", "licenseType", "priority", "evictionPolicy", "billingProfile",
                "additionalCapabilities", "userData", "availabilitySet", "extensionsTimeBudget"):  # fmt: skip
        if key in given and key != "userData":
            shown[key] = copy(given[key])
    machine.hidden["user_data"] = given.get("userData")
    shown["timeCreated"] = stamp(call.cloud.clock.now())
    return shown


def _os_profile(given: Json, facts: Facts) -> Json:
    shown: Json = {key: copy(value) for key, value in given.items() if key not in SECRETS}
    patch = {
        "patchMode": "ImageDefault" if facts.system == "Linux" else "AutomaticByOS",
        "assessmentMode": "ImageDefault",
    }
    if facts.system == "Linux":
        linux = shown.setdefault("linuxConfiguration", {})
        linux.setdefault("disablePasswordAuthentication", False)
        linux.setdefault("provisionVMAgent", True)
        linux.setdefault("patchSettings", patch)
        for key in linux.get("ssh", {}).get("publicKeys", []):
            key.setdefault("path", f"/home/{given.get('adminUsername', '')}/.ssh/authorized_keys")
    else:
        windows = shown.setdefault("windowsConfiguration", {})
        windows.setdefault("provisionVMAgent", True)
        windows.setdefault("enableAutomaticUpdates", True)
        windows.setdefault("patchSettings", patch)
        windows.setdefault("enableVMAgentPlatformUpdates", False)
    shown.setdefault("secrets", [])
    shown.setdefault("allowExtensionOperations", True)
    shown.setdefault("requireGuestProvisionSignal", True)
    return shown


def _data_disks(wanted: Wanted) -> list[Json]:
    """Those asked for, and those that the image brings, by LUN."""
    asked = {disk["lun"]: disk for disk in wanted.properties.get("storageProfile", {}).get("dataDisks", [])}
    brought = dict(wanted.image.data_disks) if wanted.image is not None else {}
    shown = []
    for lun in sorted({*asked, *brought}):
        disk = asked.get(lun, {})
        default = "FromImage" if lun in brought else "Empty"
        option = {"attach": "Attach", "empty": "Empty", "fromimage": "FromImage", "copy": "Copy"}
        entry: Json = {
            "lun": lun,
            "createOption": option.get(str(disk.get("createOption", default)).lower(), default),
            "caching": disk.get("caching", "None"),
            "managedDisk": {"storageAccountType": "Standard_LRS", **disk.get("managedDisk", {})},
            "deleteOption": disk.get("deleteOption", "Detach"),
            "toBeDetached": False,
        }
        if "name" in disk:
            entry["name"] = disk["name"]
        size = disk.get("diskSizeGB") or brought.get(lun)
        if entry["createOption"] == "Attach":
            found = wanted.call.cloud.state.get(entry["managedDisk"].get("id", ""))
            disks.check_attachable(found, wanted.call.path)
            entry["name"], size = found.name, found.properties["diskSizeGB"]
            entry["managedDisk"]["storageAccountType"] = found.body["sku"]["name"]
        elif size is None:
            raise bad_request(
                "Required parameter 'dataDisk.diskSizeGB' is missing (null).", target="dataDisk.diskSizeGB"
            )
        entry["diskSizeGB"] = size
        shown.append(entry)
    return shown


def _make_disks(call: Call, machine: Resource, wanted: Wanted, attached: Resource | None) -> None:
    facts: Facts = machine.hidden["facts"]
    if facts.tree is None:
        facts = facts.with_tree(call.cloud.guests.fresh(facts.system, facts.os_name, facts.os_version))
    storage = machine.properties["storageProfile"]
    os_disk = storage["osDisk"]
    if attached is None:
        creation: Json = {"createOption": "FromImage", "imageReference": _disk_image(call, storage, machine.location)}
        os_path = f"{machine.id.rpartition('/virtualMachines/')[0]}/disks/{os_disk['name']}"
        extra = {"securityProfile": {"securityType": "TrustedLaunch"}} if _trusted(machine) else {}
        disk = disks.make(
            call.cloud, os_path, location=machine.location, sku=os_disk["managedDisk"]["storageAccountType"],
            creation=creation, facts=facts, size_gib=os_disk["diskSizeGB"], extra=extra, tags=machine.body.get("tags"),
        )  # fmt: skip
    else:
        disk = attached
    machine.hidden["facts"] = disk.hidden["facts"] = facts
    os_disk["managedDisk"]["id"] = disk.id
    _attach(disk, machine)
    _start(machine, wanted)
    _make_data_disks(call, machine)


def _start(machine: Resource, wanted: Wanted) -> None:
    """What a Linux guest makes of itself at its first start; with no osProfile it stays who it was."""
    facts: Facts = machine.hidden["facts"]
    if facts.system != "Linux" or facts.tree is None:
        return
    profile = wanted.properties.get("osProfile")
    if profile is not None:
        first_start.provision(facts.tree, profile.get("computerName") or machine.name, profile.get("adminUsername", ""))
    first_start.start(facts.tree)


def _make_data_disks(call: Call, machine: Resource) -> None:
    for place, entry in enumerate(machine.properties["storageProfile"]["dataDisks"], 2):
        if "id" in entry["managedDisk"]:
            _attach(call.cloud.state.get(entry["managedDisk"]["id"]), machine)
            continue
        entry.setdefault("name", f"{machine.name}_disk{place}_{new_uuid().replace('-', '')}")
        path = f"{machine.id.rpartition('/virtualMachines/')[0]}/disks/{entry['name']}"
        disk = disks.make(
            call.cloud, path, location=machine.location, sku=entry["managedDisk"]["storageAccountType"],
            creation={"createOption": "Empty"}, facts=None, size_gib=entry["diskSizeGB"], tags=machine.body.get("tags"),
        )  # fmt: skip
        entry["managedDisk"]["id"] = disk.id
        _attach(disk, machine)


def _disk_image(call: Call, storage: Json, location: str) -> Json:
    reference = storage.get("imageReference", {})
    if "publisher" not in reference:
        return {
            "id": reference.get("id") or reference.get("communityGalleryImageId") or reference["sharedGalleryImageId"]
        }
    words = (
        ("Publishers", "publisher"),
        ("ArtifactTypes/VMImage/Offers", "offer"),
        ("Skus", "sku"),
        ("Versions", "exactVersion"),
    )
    path = "/".join(f"{word}/{reference[key]}" for word, key in words)
    return {"id": f"/Subscriptions/{call.subscription}/Providers/Microsoft.Compute/Locations/{location}/{path}"}


def _trusted(machine: Resource) -> bool:
    return str(machine.properties.get("securityProfile", {}).get("securityType")) == "TrustedLaunch"


def _attach(disk: Resource, machine: Resource) -> None:
    disk.body["managedBy"] = machine.id
    disk.properties["diskState"] = "Reserved" if machine.hidden["power"] == "deallocated" else "Attached"


def _detach(call: Call, disk_id: str) -> None:
    disk = call.cloud.state.find(disk_id)
    if disk is not None:
        disk.body.pop("managedBy", None)
        disk.properties["diskState"] = "Unattached"


def _identify(body: Json) -> None:
    """Gives the identities that were asked for their ids."""
    identity = body.get("identity")
    if identity is None:
        return
    if "SystemAssigned" in identity.get("type", ""):
        identity.update({"principalId": new_uuid(), "tenantId": new_uuid()})
    for name in identity.get("userAssignedIdentities", {}):
        identity["userAssignedIdentities"][name] = {"principalId": new_uuid(), "clientId": new_uuid()}


def _update(call: Call, machine: Resource, changes: Json) -> Answer:
    """Tags, identity, size and data disks can change; what a VM was made of can't."""
    check_free(machine)
    if machine.hidden["generalized"] and "properties" in changes:
        raise conflict(f"Operation 'update' is not allowed on VM '{machine.name}' since the VM is generalized.")
    given = without_nulls(changes)
    wanted = given.get("properties", {})
    image = wanted.get("storageProfile", {}).get("imageReference")
    old_image = machine.properties["storageProfile"].get("imageReference", {})
    if image is not None and any(
        image.get(key, old_image.get(key)) != old_image.get(key) for key in ("id", "sku", "offer")
    ):
        raise conflict(
            "Changing property 'imageReference' is not allowed.",
            code="PropertyChangeNotAllowed",
            target="imageReference",
        )
    machine.body = merge(machine.body, {key: given[key] for key in ("tags", "identity") if key in given})
    _identify(machine.body)
    if "vmSize" in wanted.get("hardwareProfile", {}):
        machine.properties["hardwareProfile"]["vmSize"] = wanted["hardwareProfile"]["vmSize"]
    after: Callable[[], None] = lambda: None  # noqa: E731
    if "dataDisks" in wanted.get("storageProfile", {}):
        facts: Facts = machine.hidden["facts"]
        stand_in = Wanted(call, {"properties": wanted}, machine.location, None, None, facts)
        before = machine.properties["storageProfile"]["dataDisks"]
        new = _data_disks(stand_in)
        known = {entry["lun"]: entry for entry in before}
        for entry in new:
            entry["managedDisk"] = {**known.get(entry["lun"], {}).get("managedDisk", {}), **entry["managedDisk"]}
        machine.properties["storageProfile"]["dataDisks"] = new

        def after() -> None:
            kept = [entry["managedDisk"].get("id") for entry in new]
            for entry in before:
                if not any(same(entry["managedDisk"].get("id"), disk_id) for disk_id in kept):
                    _detach(call, entry["managedDisk"]["id"])
            _make_data_disks(call, machine)

    return accept(call, machine, UPDATE, call.cloud.seconds("virtualMachines.update"), after, new=False)


def patch(call: Call) -> Answer:
    machine = call.cloud.state.get(call.path)
    answer = _update(call, machine, call.document)
    # Recorded: a PATCH has no operation to poll; clients watch provisioningState
    answer.headers.clear()
    return answer


def delete(call: Call) -> Answer:
    def finish(machine: Resource) -> None:
        storage = machine.properties["storageProfile"]
        for entry in (storage["osDisk"], *storage["dataDisks"]):
            disk_id = entry["managedDisk"].get("id", "")
            if entry["deleteOption"] == "Delete":
                call.cloud.state.delete(disk_id)
            else:
                _detach(call, disk_id)
        for reference in machine.properties["networkProfile"]["networkInterfaces"]:
            interface = call.cloud.state.find(reference["id"])
            if interface is None:
                continue
            interface.hidden.pop("machine", None)
            if reference.get("properties", {}).get("deleteOption") == "Delete":
                call.cloud.state.delete(interface.id)

    return remove(call, DELETE, call.cloud.seconds("virtualMachines.delete"), finish=finish)


ROUTES = resource_routes(
    TYPE,
    {"PUT": put, "PATCH": patch, "GET": reader(view), "DELETE": delete},
    list_group=lister(TYPE, view),
    list_subscription=lister(TYPE, view),
)
