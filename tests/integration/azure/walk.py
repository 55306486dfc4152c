"""A walk through all that a builder asks of Azure, by the SDK's own clients. Run as a program, because each version of
the SDK needs a process of its own: `walk.py sync|async TRAFFIC.jsonl AZURITE`.
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.azure import Simulator
from tests.azure.blobs import Blobs, vhd_footer
from tests.azure.clients import async_sdk_options

LOCATION = "westeurope"
GROUP = "g"
MIB = 1 << 20


def value(found: Any, name: str) -> Any:
    """A property that older versions of the SDK show flattened, and newer ones under `properties`."""
    nested = getattr(found, "properties", None)
    return getattr(nested, name) if nested is not None and hasattr(nested, name) else getattr(found, name)


def machine(interface: str, image: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "location": LOCATION,
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {
                "imageReference": image,
                "osDisk": {"createOption": "FromImage", "managedDisk": {"storageAccountType": "Premium_LRS"}},
                "dataDisks": [{"lun": 3, "createOption": "Empty", "diskSizeGB": 8}],
            },
            "osProfile": {
                "computerName": "vm1",
                "adminUsername": "someone",
                "adminPassword": "S3cret-of-ours",
                "linuxConfiguration": {"disablePasswordAuthentication": False},
            },
            "networkProfile": {"networkInterfaces": [{"id": interface}]},
            **more,
        },
    }


DEBIAN = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}


def network(azure: Simulator, names: list[str]) -> dict[str, str]:
    """A group with a network and an interface for each name. Returns the interfaces' ids."""
    from azure.mgmt.network import NetworkManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient

    groups = ResourceManagementClient(azure.credential, azure.subscription, **azure.sdk_options())
    assert not groups.resource_groups.check_existence(GROUP)
    groups.resource_groups.create_or_update(GROUP, {"location": LOCATION, "tags": {"run": "walk"}})
    assert groups.resource_groups.check_existence(GROUP)
    assert [group.name for group in groups.resource_groups.list()] == [GROUP]
    client = NetworkManagementClient(azure.credential, azure.subscription, **azure.sdk_options())
    rule = {
        "name": "deny-all",
        "properties": {
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            "sourceAddressPrefix": "*",
            "destinationAddressPrefix": "*",
            "access": "Deny",
            "priority": 100,
            "direction": "Inbound",
        },
    }
    security = client.network_security_groups.begin_create_or_update(
        GROUP, "nsg", {"location": LOCATION, "properties": {"securityRules": [rule]}}
    ).result()
    subnet = {"name": "s", "properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": security.id}}}
    client.virtual_networks.begin_create_or_update(
        GROUP,
        "vnet",
        {
            "location": LOCATION,
            "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]},
        },
    ).result()
    found = client.subnets.get(GROUP, "vnet", "s")
    ids = {}
    for name in names:
        configuration = {"name": "i", "properties": {"subnet": {"id": found.id}}}
        made = client.network_interfaces.begin_create_or_update(
            GROUP, name, {"location": LOCATION, "properties": {"ipConfigurations": [configuration]}}
        ).result()
        ids[name] = made.id
    listed = client.network_interfaces.list(GROUP)
    configurations = [value(interface, "ip_configurations")[0] for interface in listed]
    assert len({value(configuration, "private_ip_address") for configuration in configurations}) == len(names)
    return ids


def in_the_machine(compute: Any, azure: Simulator) -> None:
    """Run commands of both kinds."""
    once = compute.virtual_machines.begin_run_command(
        GROUP,
        "vm1",
        {"commandId": "RunShellScript", "script": ["echo to $1", "echo from-v1 > /opt/v1"],
         "parameters": [{"name": "who", "value": "you"}]},
    ).result()  # fmt: skip
    assert "[stdout]\nto you\n" in once.value[0].message, once.value[0].message
    command = {
        "location": LOCATION,
        "properties": {
            "source": {"script": "cat /opt/v1; echo $GREETING; echo $TOKEN | tr a-z A-Z; exit 3"},
            "parameters": [{"name": "GREETING", "value": "hello"}],
            "protectedParameters": [{"name": "TOKEN", "value": "hidden"}],
            "timeoutInSeconds": 60,
        },
    }
    made = compute.virtual_machine_run_commands.begin_create_or_update(GROUP, "vm1", "step1", command).result()
    assert value(made, "provisioning_state") == "Succeeded"
    found = compute.virtual_machine_run_commands.get_by_virtual_machine(GROUP, "vm1", "step1", expand="instanceView")
    view = value(found, "instance_view")
    assert (view.exit_code, view.execution_state) == (3, "Failed"), view
    assert view.output == "from-v1\nhello\nHIDDEN\n", view.output
    assert value(found, "protected_parameters") is None
    assert len(list(compute.virtual_machine_run_commands.list_by_virtual_machine(GROUP, "vm1"))) == 1
    compute.virtual_machine_run_commands.begin_delete(GROUP, "vm1", "step1").result()
    assert azure.resource("virtualMachines/vm1").hidden["facts"].tree.text("/opt/v1") == "from-v1\n"


def disks(compute: Any, blobs: Blobs | None) -> None:
    """A disk made for upload, a copy of a machine's disk by an incremental snapshot."""
    size = 20 * MIB + 512
    creation = {"createOption": "Upload", "uploadSizeBytes": size}
    upload = {
        "location": LOCATION,
        "sku": {"name": "Standard_LRS"},
        "properties": {"creationData": creation, "osType": "Linux"},
    }
    made = compute.disks.begin_create_or_update(GROUP, "up1", upload).result()
    assert value(made, "disk_state") == "ReadyToUpload"
    if blobs is not None:
        grant = compute.disks.begin_grant_access(GROUP, "up1", {"access": "Write", "durationInSeconds": 600}).result()
        url = grant.access_sas
        send_page(url, size - 512, vhd_footer(size - 512))
        compute.disks.begin_revoke_access(GROUP, "up1").result()
        refused = None
        try:
            send_page(url, 0, bytes(512))
        except OSError as error:
            refused = error
        assert refused is not None, "a revoked SAS still writes"
        done = compute.disks.get(GROUP, "up1")
        assert (value(done, "disk_state"), value(done, "disk_size_bytes")) == ("Unattached", 20 * MIB)
    disk_id = value(compute.virtual_machines.get(GROUP, "vm1"), "storage_profile").os_disk.managed_disk.id
    snapshot = {
        "location": LOCATION,
        "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": disk_id}, "incremental": True},
    }
    taken = compute.snapshots.begin_create_or_update(GROUP, "snap", snapshot).result()
    assert value(taken, "incremental") is True
    copied = {
        "location": LOCATION,
        "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": taken.id}},
    }
    copy = compute.disks.begin_create_or_update(GROUP, "copy", copied).result()
    assert value(copy, "hyper_v_generation") == "V2"
    compute.disks.begin_update(GROUP, "copy", {"tags": {"a": "b"}, "properties": {"diskSizeGB": 64}}).result()
    assert len(list(compute.disks.list_by_resource_group(GROUP))) == 4


def send_page(url: str, offset: int, data: bytes) -> None:
    headers = {
        "x-ms-page-write": "update",
        "x-ms-range": f"bytes={offset}-{offset + len(data) - 1}",
        "x-ms-version": "2021-08-06",
        "Content-Type": "application/octet-stream",
    }
    request = urllib.request.Request(f"{url}&comp=page", data=data, headers=headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass


def publish(compute: Any, azure: Simulator) -> None:
    """Generalize, an image, a gallery with a version, its replication and its community."""
    compute.virtual_machines.begin_deallocate(GROUP, "vm1").result()
    compute.virtual_machines.generalize(GROUP, "vm1")
    vm = compute.virtual_machines.get(GROUP, "vm1", expand="instanceView")
    codes = [status.code for status in value(vm, "instance_view").statuses]
    assert "OSState/generalized" in codes and "PowerState/deallocated" in codes, codes
    image = {"location": LOCATION, "properties": {"sourceVirtualMachine": {"id": vm.id}, "hyperVGeneration": "V2"}}
    made = compute.images.begin_create_or_update(GROUP, "image", image).result()
    assert len(value(made, "storage_profile").data_disks) == 1
    info = {
        "publisherUri": "https://example.org",
        "publisherContact": "a@example.org",
        "eula": "none",
        "publicNamePrefix": "walk",
    }
    gallery = {
        "location": LOCATION,
        "properties": {"sharingProfile": {"permissions": "Community", "communityGalleryInfo": info}},
    }
    compute.galleries.begin_create_or_update(GROUP, "gal", gallery).result()
    definition = {
        "location": LOCATION,
        "properties": {
            "osType": "Linux",
            "osState": "Generalized",
            "hyperVGeneration": "V2",
            "architecture": "x64",
            "identifier": {"publisher": "p", "offer": "o", "sku": "s"},
            "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}],
        },
    }
    compute.gallery_images.begin_create_or_update(GROUP, "gal", "def1", definition).result()
    regions = [{"name": LOCATION, "regionalReplicaCount": 2}, {"name": "North Europe"}]
    version = {
        "location": LOCATION,
        "properties": {
            "publishingProfile": {"targetRegions": regions, "replicaCount": 1, "endOfLifeDate": "2030-01-01T00:00:00Z"},
            "storageProfile": {"source": {"id": made.id}},
        },
    }
    poller = compute.gallery_image_versions.begin_create_or_update(
        GROUP, "gal", "def1", "1.0.0", version, polling=False
    )
    seen = []
    while True:
        state = compute.gallery_image_versions.get(GROUP, "gal", "def1", "1.0.0", expand="ReplicationStatus")
        status = value(state, "replication_status")
        seen.append((str(status.aggregated_state), tuple(region.progress for region in status.summary)))
        if value(state, "provisioning_state") != "Creating":
            break
        azure.clock.sleep(60)
    del poller
    assert [progress for _state, progress in seen] == sorted(progress for _state, progress in seen), seen
    assert value(state, "provisioning_state") == "Succeeded" and seen[-1][1] == (100, 100), seen
    assert [region.name for region in value(state, "publishing_profile").target_regions] == [
        "West Europe",
        "North Europe",
    ]
    published(compute, azure)


def published(compute: Any, azure: Simulator) -> None:
    """What strangers see of a community gallery, and a machine made from it."""
    compute.gallery_sharing_profile.begin_update(GROUP, "gal", {"operationType": "EnableCommunity"}).result()
    sharing = value(compute.galleries.get(GROUP, "gal"), "sharing_profile")
    public = sharing.community_gallery_info.public_names[0]
    assert compute.community_galleries.get(LOCATION, public).name == public
    version = compute.community_gallery_image_versions.get(LOCATION, public, "def1", "1.0.0")
    assert value(version, "exclude_from_latest") is False
    compute.community_gallery_images.get(LOCATION, public, "def1")
    wanted = {"communityGalleryImageId": f"/CommunityGalleries/{public}/Images/def1/Versions/latest"}
    body = machine(azure.resource("networkInterfaces/nic2").id, wanted)
    del body["properties"]["storageProfile"]["dataDisks"]
    body["properties"]["securityProfile"] = {
        "securityType": "TrustedLaunch",
        "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
    }
    made = compute.virtual_machines.begin_create_or_update(GROUP, "vm2", body).result()
    assert value(made, "storage_profile").image_reference.exact_version == "1.0.0"
    assert azure.resource("virtualMachines/vm2").hidden["facts"].tree.text("/opt/v1") == "from-v1\n"


def offers(compute: Any) -> None:
    """Marketplace, sizes and quotas."""
    where = (LOCATION, "Debian", "debian-12", "12-gen2")
    newest = compute.virtual_machine_images.list(*where, top=1, orderby="name desc")[0].name
    found = compute.virtual_machine_images.get(*where, newest)
    assert value(found, "hyper_v_generation") == "V2"
    assert "Debian" in [publisher.name for publisher in compute.virtual_machine_images.list_publishers(LOCATION)]
    rocky = compute.virtual_machine_images.get(LOCATION, "resf", "rockylinux-x86_64", "9-base", "9.6.20250531")
    assert value(rocky, "plan").product == "rockylinux-x86_64"
    sizes = {sku.name for sku in compute.resource_skus.list(filter=f"location eq '{LOCATION}'")}
    assert "Standard_D2s_v5" in sizes
    usage = {use.name.value: use.current_value for use in compute.usage.list(LOCATION)}
    assert usage["standardDSv5Family"] == 2, usage


def refusals(compute: Any) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    for call, code in (
        (lambda: compute.virtual_machines.get(GROUP, "nope"), "ResourceNotFound"),
        (lambda: compute.virtual_machines.begin_start(GROUP, "vm1"), "OperationNotAllowed"),
        (lambda: compute.galleries.begin_delete(GROUP, "gal"), "CannotDeleteResource"),
        (lambda: compute.virtual_machines.begin_create_or_update(GROUP, "x", machine("/none", DEBIAN)), "NotFound"),
    ):
        try:
            call()
        except (HttpResponseError, ResourceNotFoundError) as error:
            assert error.error is not None and error.error.code == code, error
        else:
            raise AssertionError(f"{code} was expected")


def clean(compute: Any, azure: Simulator) -> None:
    compute.gallery_image_versions.begin_delete(GROUP, "gal", "def1", "1.0.0").result()
    compute.gallery_images.begin_delete(GROUP, "gal", "def1").result()
    compute.galleries.begin_delete(GROUP, "gal").result()
    compute.virtual_machines.begin_delete(GROUP, "vm2").result()
    compute.snapshots.begin_delete(GROUP, "snap").result()
    compute.images.begin_delete(GROUP, "image").result()
    from azure.mgmt.resource.resources import ResourceManagementClient

    groups = ResourceManagementClient(azure.credential, azure.subscription, **azure.sdk_options())
    groups.resource_groups.begin_delete(GROUP).result()
    assert list(azure.state) == []


def walk(azure: Simulator) -> None:
    from azure.mgmt.compute import ComputeManagementClient

    interfaces = network(azure, ["nic1", "nic2"])
    compute = ComputeManagementClient(azure.credential, azure.subscription, **azure.sdk_options())
    began = azure.clock.elapsed
    made = compute.virtual_machines.begin_create_or_update(GROUP, "vm1", machine(interfaces["nic1"], DEBIAN)).result()
    assert value(made, "provisioning_state") == "Succeeded"
    # Azure's own Retry-After decides: 50 s after the first poll, for an operation of 45
    assert azure.clock.elapsed - began == 50.0
    assert value(made, "os_profile").admin_password is None
    in_the_machine(compute, azure)
    compute.virtual_machines.begin_restart(GROUP, "vm1").result()
    compute.virtual_machines.begin_power_off(GROUP, "vm1").result()
    compute.virtual_machines.begin_start(GROUP, "vm1").result()
    compute.virtual_machines.begin_update(GROUP, "vm1", {"tags": {"state": "walked"}}).result()
    disks(compute, azure.blobs)
    publish(compute, azure)
    offers(compute)
    refusals(compute)
    clean(compute, azure)


async def walk_aio(azure: Simulator) -> None:
    """Eight disks side by side, a machine and a gallery, by the asyncio client."""
    from azure.mgmt.compute.aio import ComputeManagementClient

    interfaces = network(azure, ["nic1"])
    async with ComputeManagementClient(
        azure.async_credential, azure.subscription, **async_sdk_options(azure)
    ) as compute:
        empty = {"location": LOCATION, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}

        async def disk(name: str) -> None:
            poller = await compute.disks.begin_create_or_update(GROUP, name, empty)
            made = await poller.result()
            assert value(made, "provisioning_state") == "Succeeded"

        await asyncio.gather(*(disk(f"d{number}") for number in range(8)))
        poller = await compute.virtual_machines.begin_create_or_update(
            GROUP, "vm1", machine(interfaces["nic1"], DEBIAN)
        )
        made = await poller.result()
        assert value(made, "vm_id")
        poller = await compute.virtual_machines.begin_deallocate(GROUP, "vm1")
        await poller.result()
        await compute.virtual_machines.generalize(GROUP, "vm1")
        poller = await compute.galleries.begin_create_or_update(GROUP, "gal", {"location": LOCATION})
        assert (await poller.result()).name == "gal"
        assert len([disk async for disk in compute.disks.list()]) == 10
        poller = await compute.virtual_machines.begin_delete(GROUP, "vm1")
        await poller.result()


def main() -> None:
    kind, traffic = sys.argv[1], Path(sys.argv[2])
    with Simulator(blobs=Blobs(sys.argv[3])) as azure:
        try:
            walk(azure) if kind == "sync" else asyncio.run(walk_aio(azure))
        finally:
            azure.traffic.save(traffic)
    print(f"{len(azure.traffic.pairs)} calls, {azure.clock.elapsed:.0f} s on the clock")


if __name__ == "__main__":
    main()
