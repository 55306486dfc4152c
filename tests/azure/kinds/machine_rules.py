"""What Azure refuses when a VM is made: one function a rule, tried in order. All answer at the PUT, before anything is.

Observed in recordings are the codes' form; the texts are those of Azure's documentation and of issue threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.azure.answers import ArmError, Call, Json, bad_request, conflict
from tests.azure.catalogue import Size
from tests.azure.facts import Facts
from tests.azure.kinds.image_references import Resolved
from tests.azure.state import Resource


@dataclass(frozen=True)
class Wanted:
    """A VM as asked for. `image` is None when its OS disk is attached; then `facts` are the disk's."""

    call: Call
    given: Json
    location: str
    size: Size | None
    image: Resolved | None
    facts: Facts

    @property
    def properties(self) -> Json:
        found: Json = self.given.get("properties", {})
        return found

    @property
    def security(self) -> Json:
        found: Json = self.properties.get("securityProfile", {})
        return found

    @property
    def specialized(self) -> bool:
        return self.image is None or self.image.specialized


def check_size(wanted: Wanted) -> None:
    name = wanted.properties.get("hardwareProfile", {}).get("vmSize", "")
    if wanted.size is None:
        raise bad_request(f"The value {name} provided for the VM size is not valid.", target="vmSize")
    catalogue = wanted.call.cloud.catalogue
    zones = wanted.given.get("zones", [])
    if (wanted.location, wanted.size.name.lower()) in catalogue.restrictions:
        raise conflict(
            f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {name}' is"
            f" currently not available in location '{wanted.location}'. Please try another size or deploy to a"
            " different location or different zone. See https://aka.ms/azureskunotavailable for details.",
            code="SkuNotAvailable",
        )
    if any(zone not in catalogue.zones.get(wanted.location, ()) for zone in zones):
        raise bad_request(
            f"The zone(s) '{', '.join(zones)}' for resource '{wanted.call.path}' is not supported.",
            code="LocationNotSupportAvailabilityZones",
        )


def check_quota(wanted: Wanted) -> None:
    assert wanted.size is not None
    cloud = wanted.call.cloud
    family, cores = wanted.size.family, wanted.size.cores
    used = used_cores(wanted.call, wanted.location)
    for name, limit, current in (
        (f"Total Regional Cores ({wanted.location})", cloud.catalogue.region_cores, sum(used.values())),
        (f"{family} Cores", cloud.catalogue.quota(family), used.get(family.lower(), 0)),
    ):
        if current + cores > limit:
            raise conflict(
                f"Operation could not be completed as it results in exceeding approved {name} quota. Additional"
                f" details - Deployment Model: Resource Manager, Location: {wanted.location}, Current Limit: {limit},"
                f" Current Usage: {current}, Additional Required: {cores}, (Minimum) New Limit Required:"
                f" {current + cores}.",
                code="OperationNotAllowed",
            )


def used_cores(call: Call, location: str) -> dict[str, int]:
    """Cores in use by family (in lower case): every VM there that is not deallocated."""
    used: dict[str, int] = {}
    for machine in call.cloud.state.of_type("Microsoft.Compute/virtualMachines"):
        size = call.cloud.catalogue.sizes.get(machine.properties["hardwareProfile"]["vmSize"].lower())
        if size is not None and machine.location == location and machine.hidden["power"] != "deallocated":
            used[size.family.lower()] = used.get(size.family.lower(), 0) + size.cores
    return used


def check_profile(wanted: Wanted) -> None:
    given = "osProfile" in wanted.properties
    if wanted.specialized and given:
        raise bad_request("Parameter 'osProfile' is not allowed.", target="osProfile")
    if not wanted.specialized and not given:
        raise bad_request("Required parameter 'osProfile' is missing (null).", target="osProfile")
    if not given:
        return
    profile = wanted.properties["osProfile"]
    linux = profile.get("linuxConfiguration", {})
    if not profile.get("adminPassword") and not linux.get("ssh", {}).get("publicKeys"):
        raise bad_request(
            "Authentication using either SSH or by user name and password must be enabled in Linux profile."
            if wanted.facts.system == "Linux"
            else "Required parameter 'adminPassword' is missing (null).",
            target="linuxConfiguration" if wanted.facts.system == "Linux" else "adminPassword",
        )
    if linux and wanted.facts.system == "Windows":
        raise bad_request("Parameter 'linuxConfiguration' is not allowed.", target="linuxConfiguration")
    if "windowsConfiguration" in profile and wanted.facts.system == "Linux":
        raise bad_request("Parameter 'windowsConfiguration' is not allowed.", target="windowsConfiguration")
    longest = 15 if wanted.facts.system == "Windows" else 64
    if len(str(profile.get("computerName", ""))) > longest:
        raise bad_request(
            f"{wanted.facts.system} computer name cannot be more than {longest} characters long, be entirely numeric,"
            " or contain special characters.",
            target="computerName",
        )


def check_plan(wanted: Wanted) -> None:
    needed, given = wanted.facts.plan, wanted.given.get("plan")
    if needed is None:
        if given is not None:
            raise bad_request(
                "Plan information should not be supplied for this image: it was not made from a Marketplace image"
                " with a plan.",
                code="VMMarketplaceInvalidInput",
            )
        return
    if given is None:
        raise bad_request(
            "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image"
            f" requires Plan information in the request. VM: '{wanted.call.path}'.",
            code="VMMarketplaceInvalidInput",
        )
    keys = ("name", "product", "publisher")
    if any(str(given.get(key, "")).lower() != str(needed[key]).lower() for key in keys):
        raise bad_request(
            f"The plan information of the request ({given}) does not match that of the image ({needed}).",
            code="VMMarketplaceInvalidInput",
        )
    plan = (str(needed["publisher"]).lower(), str(needed["product"]).lower(), str(needed["name"]).lower())
    if plan not in wanted.call.cloud.catalogue.accepted_terms:
        raise bad_request(
            "Marketplace purchase eligibilty check returned errors. See inner errors for details. You have not accepted"
            f" the legal terms on this subscription: '{wanted.call.subscription}' for this plan. Before the"
            " subscription can be used, you need to accept the legal terms of the image.",
            code="MarketplacePurchaseEligibilityFailed",
        )


def check_generation(wanted: Wanted) -> None:
    assert wanted.size is not None
    number = wanted.facts.generation.removeprefix("V")
    if wanted.facts.generation not in wanted.size.generations.split(","):
        raise bad_request(
            f"The selected VM size '{wanted.size.name}' cannot boot Hypervisor Generation '{number}'. If this was a"
            " Create operation please check that the Hypervisor Generation of the Image matches the Hypervisor"
            " Generation of the selected VM Size.",
            code="BadRequest",
        )
    if wanted.facts.architecture != wanted.size.architecture:
        raise bad_request(
            f"Cannot create a VM of size '{wanted.size.name}' because this VM size only supports a CPU Architecture of"
            f" '{wanted.size.architecture}', but an image or disk with CPU Architecture '{wanted.facts.architecture}'"
            " was given.",
            code="BadRequest",
        )


def check_controller(wanted: Wanted) -> None:
    assert wanted.size is not None
    asked = wanted.properties.get("storageProfile", {}).get("diskControllerType")
    offered = [name.strip() for name in wanted.size.controllers.split(",")]
    able = [name.strip() for name in wanted.facts.controllers.split(",")]
    if (
        (asked is not None and asked not in offered)
        or not set(offered) & set(able)
        or (asked is not None and asked not in able)
    ):
        raise bad_request(
            f"The VM size '{wanted.size.name}' cannot boot with OS image or disk. Please check that disk controller"
            " types supported by the OS image or disk is one of the supported disk controller types for the VM size"
            f" '{wanted.size.name}'. Please query sku api at https://aka.ms/azure-compute-skus to determine supported"
            " disk controller types for the VM size.",
            code="InvalidParameter",
        )


def check_security(wanted: Wanted) -> None:
    assert wanted.size is not None
    kind = wanted.security.get("securityType", "")
    image = wanted.facts.security.lower()
    if kind == "TrustedLaunch":
        if wanted.facts.generation != "V2" or ("trustedlaunch" not in image and wanted.image is not None):
            raise bad_request(
                "The provided image is not supported for Trusted Launch."
                " Use of TrustedLaunch setting is not supported for the provided image.",
                code="BadRequest",
            )
        if not wanted.size.trusted_launch:
            raise bad_request(
                f"The VM size '{wanted.size.name}' is not supported for Trusted Launch.", code="BadRequest"
            )
    if kind == "ConfidentialVM":
        if "confidential" not in image and wanted.image is not None:
            raise bad_request("The provided image is not supported for Confidential VM.", code="BadRequest")
        if not wanted.size.confidential:
            raise bad_request(
                f"The VM size '{wanted.size.name}' is not supported for creation of VMs with 'ConfidentialVM'"
                " security type.",
                code="BadRequest",
            )
    if kind in ("", "Standard") and image in ("trustedlaunch", "confidentialvm"):
        raise bad_request(
            f"The provided gallery image only supports creation of VMs and VM Scale Sets with '{wanted.facts.security}'"
            " security type.",
            code="BadRequest",
        )
    if wanted.security.get("encryptionAtHost") and not wanted.size.encryption_at_host:
        raise bad_request(
            f"The VM size '{wanted.size.name}' does not support encryption at host.", target="encryptionAtHost"
        )
    if wanted.security.get("uefiSettings") and kind not in ("TrustedLaunch", "ConfidentialVM"):
        raise bad_request(
            "Use of 'uefiSettings' requires setting 'securityType' as 'TrustedLaunch' or 'ConfidentialVM'.",
            code="BadRequest",
        )


def check_os_disk(wanted: Wanted) -> None:
    disk = wanted.properties.get("storageProfile", {}).get("osDisk", {})
    size = disk.get("diskSizeGB")
    if size is not None and wanted.image is not None and size < wanted.facts.size_gib:
        raise bad_request(
            f"The specified disk size {size} GB is smaller than the size of the corresponding disk in the VM image:"
            f" {wanted.facts.size_gib} GB. This is not allowed. Please choose equal or greater size or do not specify"
            " an explicit size.",
            code="ResizeDiskError",
            target="osDisk.diskSizeGB",
        )
    sku = disk.get("managedDisk", {}).get("storageAccountType", "")
    if sku.startswith("Premium") and wanted.size is not None and not wanted.size.premium:
        raise bad_request(
            f"Requested operation cannot be performed because the VM size {wanted.size.name} does not support the"
            f" storage account type {sku} of disk '{disk.get('name', '')}'.",
            target="storageAccountType",
        )


def check_encryption_sets(wanted: Wanted) -> None:
    storage = wanted.properties.get("storageProfile", {})
    for disk in (storage.get("osDisk", {}), *storage.get("dataDisks", [])):
        wanted_id = disk.get("managedDisk", {}).get("diskEncryptionSet", {}).get("id")
        if wanted_id is None:
            continue
        found = wanted.call.cloud.state.find(wanted_id)
        if found is None or found.location != wanted.location:
            raise ArmError(404, "NotFound", f"The disk encryption set {wanted_id} was not found in {wanted.location}.")


def check_data_disks(wanted: Wanted) -> None:
    disks = wanted.properties.get("storageProfile", {}).get("dataDisks", [])
    luns = [disk.get("lun") for disk in disks]
    if len(set(luns)) != len(luns):
        raise bad_request("A disk with the same LUN is already given.", target="dataDisk.lun")
    if wanted.size is not None and len(disks) > wanted.size.data_disks:
        raise conflict(
            f"The maximum number of data disks allowed to be attached to a VM of this size is {wanted.size.data_disks}."
        )


def check_network(wanted: Wanted) -> None:
    interfaces = wanted.properties.get("networkProfile", {}).get("networkInterfaces", [])
    if not interfaces:
        raise bad_request(
            "Virtual Machine must have at least one network interface.", target="networkProfile.networkInterfaces"
        )
    for reference in interfaces:
        interface = wanted.call.cloud.state.find(reference.get("id"))
        if interface is None:
            raise ArmError(
                404,
                "NotFound",
                f"Resource {reference.get('id')} referenced by resource {wanted.call.path} was not found.",
            )
        _check_interface(wanted, interface)


def _check_interface(wanted: Wanted, interface: Resource) -> None:
    owner = interface.hidden.get("machine")
    if owner and owner.lower() != wanted.call.path.lower():
        raise bad_request(f"Network Interface {interface.id} is already in use by resource {owner}.", code="NicInUse")
    if interface.location != wanted.location:
        raise bad_request(
            f"Resource {interface.id} is in location {interface.location}, not in {wanted.location}.",
            code="InvalidResourceReference",
        )


RULES: tuple[Callable[[Wanted], None], ...] = (
    check_size,
    check_profile,
    check_plan,
    check_generation,
    check_controller,
    check_security,
    check_os_disk,
    check_encryption_sets,
    check_data_disks,
    check_network,
    check_quota,
)
