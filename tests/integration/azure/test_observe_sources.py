"""Every source at plan time: what is found out about it, and how one that can't be used is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobClient, ContainerClient

from builder.azure.ids import ResourceId
from builder.machines.azure.observe import observe
from builder.machines.azure.reading import Cache, Reader
from builder.model.observed import MachineFacts
from builder.model.spec import GIB
from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.azure.catalogue import MarketplaceImage
from tests.integration.azure.world import World, image_of

LINUX = "os: {family: linux}"


def facts_of(
    world: World, folder: Path, source: str, *, system: str = LINUX, machine: str = "{}", more: str = ""
) -> MachineFacts:
    text = f"name: web\n{system}\nsource: {{{source}}}\nmachine: {{azure: {machine}}}\n{more}\n"
    return observe(image_of(folder, text), Reader(world.connection, Cache()))


def codes(facts: MachineFacts) -> list[str]:
    return [blocker.code for blocker in facts.blockers]


@pytest.fixture
def world(azure: Simulator) -> World:
    return World.of(azure)


WEST = "{location: westeurope}"


def test_latest_of_the_marketplace_becomes_the_highest_version(world: World, tmp_path: Path) -> None:
    # As text, this one would be the highest
    world.azure.catalogue.add(MarketplaceImage("Debian", "debian-12", "12-gen2", "0.9.1"))
    source = "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}"
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert facts.blockers == ()
    assert facts.source == {
        "kind": "marketplace",
        "name": "Debian:debian-12:12-gen2:0.20251210.2230",
        "family": "linux",
        "generation": 2,
        "architecture": "x64",
        "generalized": True,
        "disks": [{"lun": None, "size": 30 * GIB, "origin": "image"}],
        "reference": {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "0.20251210.2230"},
    }
    assert facts.traits.where == "westeurope"
    assert facts.traits.controllers == ("SCSI", "NVMe")
    assert facts.traits.accelerated_networking


def test_an_exact_version_of_the_marketplace_stays(world: World, tmp_path: Path) -> None:
    source = "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2, version: 0.20251124.2214}"
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert facts.source["reference"]["version"] == "0.20251124.2214"


@pytest.mark.parametrize(
    "wrong",
    [
        "publisher: Nobody, offer: debian-12, sku: 12-gen2",
        "publisher: Debian, offer: x, sku: y",
        "publisher: Debian, offer: debian-12, sku: 12-gen2, version: 1.2.3",
    ],
)
def test_what_the_marketplace_does_not_have(world: World, tmp_path: Path, wrong: str) -> None:
    facts = facts_of(world, tmp_path, f"marketplace: {{{wrong}}}", machine=WEST)
    assert codes(facts) == ["source-missing"]
    assert facts.source == {}


def test_a_plan_is_read_and_its_terms_are_asked_for(world: World, tmp_path: Path) -> None:
    source = "marketplace: {publisher: resf, offer: rockylinux-x86_64, sku: 9-base}"
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert codes(facts) == ["terms"]
    assert "az vm image terms accept --urn resf:rockylinux-x86_64:9-base:9.6.20250531" in str(facts.blockers[0].hint)
    world.azure.catalogue.accepted_terms.add(("resf", "rockylinux-x86_64", "9-base"))
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert facts.blockers == ()
    assert facts.source["plan"] == {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}
    assert facts.traits.plan == facts.source["plan"]


def test_a_plan_that_the_image_has_not(world: World, tmp_path: Path) -> None:
    plan = "plan: {name: a, product: b, publisher: c}"
    source = f"marketplace: {{publisher: Debian, offer: debian-12, sku: 12-gen2, {plan}}}"
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert codes(facts) == ["plan"]
    assert facts.blockers[0].place.line == 3


def test_data_disks_of_an_appliance_and_a_lun_that_is_taken(world: World, tmp_path: Path) -> None:
    world.azure.catalogue.accepted_terms.add(("cloud-vendor", "appliance", "data"))
    source = "marketplace: {publisher: cloud-vendor, offer: appliance, sku: data}"
    facts = facts_of(world, tmp_path, source, machine=WEST, more="disks: {data: [{lun: 1, size: 8GiB}]}")
    assert [(disk["lun"], disk["size"]) for disk in facts.source["disks"]] == [
        (None, 30 * GIB), (0, 64 * GIB), (1, 128 * GIB),
    ]  # fmt: skip
    assert codes(facts) == ["lun-taken"]
    facts = facts_of(world, tmp_path, source, machine=WEST, more="capture: {kind: osImage}")
    assert codes(facts) == ["os-image-data-disks"]


def test_windows_for_people_needs_its_licence(world: World, tmp_path: Path) -> None:
    source = "marketplace: {publisher: MicrosoftWindowsDesktop, offer: windows-11, sku: win11-24h2-ent}"
    windows = "os: {family: windows}"
    assert codes(facts_of(world, tmp_path, source, system=windows, machine=WEST)) == ["licence-client"]
    licensed = "{location: westeurope, licenseType: Windows_Client}"
    assert codes(facts_of(world, tmp_path, source, system=windows, machine=licensed)) == []
    server = "marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2022-datacenter-g2}"
    assert codes(facts_of(world, tmp_path, server, system=windows, machine=licensed)) == ["licence-system"]


@pytest.fixture
def galleries(world: World) -> World:
    """A private gallery with a generalized and a specialized definition."""
    world.vm("origin", luns=(2,))
    world.gallery()
    world.version(world.definition("copy", state="Specialized"), "1.0.0", "origin")
    world.generalize("origin")
    features = {"SecurityType": "TrustedLaunchSupported", "DiskControllerTypes": "SCSI, NVMe"}
    base = world.definition("base", features=features)
    for version, regions, excluded in (
        ("1.9.0", ["westeurope"], False),
        ("1.10.0", ["westeurope", "northeurope"], False),
        ("1.11.0", ["westeurope"], True),
    ):
        world.version(base, version, "origin", regions=regions, excluded=excluded)
    return world


def test_latest_of_a_gallery_is_pinned(galleries: World, tmp_path: Path) -> None:
    source = "gallery: {resourceGroup: corp, gallery: corp, definition: base}"
    facts = facts_of(galleries, tmp_path, source)
    assert facts.blockers == ()
    assert facts.source["reference"]["id"].endswith("/galleries/corp/images/base/versions/1.10.0")
    assert facts.source["pin"]["published"]
    assert [(disk["lun"], disk["size"]) for disk in facts.source["disks"]] == [(None, 30 * GIB), (2, 8 * GIB)]
    assert facts.traits.where == "westeurope"
    assert facts.traits.controllers == ("SCSI", "NVMe")


def test_a_version_that_is_not_in_the_region(galleries: World, tmp_path: Path) -> None:
    source = "gallery: {resourceGroup: corp, gallery: corp, definition: base, version: 1.9.0}"
    facts = facts_of(galleries, tmp_path, source, machine="{location: northeurope}")
    assert codes(facts) == ["source-region"]
    latest = "gallery: {resourceGroup: corp, gallery: corp, definition: base}"
    facts = facts_of(galleries, tmp_path, latest, machine="{location: northeurope}")
    assert facts.source["reference"]["id"].endswith("/1.10.0")
    assert codes(facts_of(galleries, tmp_path, latest, machine="{location: eastus}")) == ["source-region"]


def test_a_specialized_version(galleries: World, tmp_path: Path) -> None:
    source = "gallery: {resourceGroup: corp, gallery: corp, definition: copy, version: 1.0.0}"
    facts = facts_of(galleries, tmp_path, source)
    assert facts.blockers == ()
    assert facts.source["generalized"] is False


MISSING = (
    "gallery: {resourceGroup: corp, gallery: corp, definition: nothing}",
    "gallery: {resourceGroup: corp, gallery: corp, definition: base, version: 9.9.9}",
    "gallery: {resourceGroup: nowhere, gallery: corp, definition: base}",
    "managedImage: {resourceGroup: corp, name: nothing}",
    "vm: {resourceGroup: corp, name: nothing}",
    "disk: {resourceGroup: corp, name: nothing}",
    "snapshot: {resourceGroup: corp, name: nothing}",
    "communityGallery: {gallery: nothing-1, definition: base}",
    "sharedGallery: {gallery: nothing-1, definition: base}",
)


def test_what_is_not_there(galleries: World, tmp_path: Path) -> None:
    found = {source: codes(facts_of(galleries, tmp_path, source, machine=WEST)) for source in MISSING}
    assert found == {source: ["source-missing"] for source in MISSING}


def test_a_community_gallery(world: World, tmp_path: Path) -> None:
    info = {"publisherUri": "https://example.org", "publisherContact": "a@example.org", "eula": "none",
            "publicNamePrefix": "walk"}  # fmt: skip
    world.gallery("open", sharingProfile={"permissions": "Community", "communityGalleryInfo": info})
    id = world.compute("galleries", "open")
    world.connection.post(id, "share", {"operationType": "EnableCommunity"}).wait()
    public = world.connection.get(id)["properties"]["sharingProfile"]["communityGalleryInfo"]["publicNames"][0]
    world.vm("origin")
    world.generalize("origin")
    definition = world.definition("base", gallery="open", features={"SecurityType": "TrustedLaunchSupported"})
    world.version(definition, "1.0.0", "origin")
    world.version(definition, "1.0.1", "origin")
    source = f"communityGallery: {{gallery: {public}, definition: base, location: westeurope}}"
    facts = facts_of(world, tmp_path, source)
    assert facts.blockers == ()
    assert facts.source["reference"] == {
        "communityGalleryImageId": f"/CommunityGalleries/{public}/Images/base/Versions/1.0.1"
    }
    assert facts.source["disks"] == [{"lun": None, "size": 30 * GIB, "origin": "image"}]


def test_a_gallery_that_is_shared_with_this_subscription(world: World, tmp_path: Path) -> None:
    world.gallery("shared", sharingProfile={"permissions": "Groups"})
    id = world.compute("galleries", "shared")
    groups = [{"type": "Subscriptions", "ids": [world.azure.subscription]}]
    world.connection.post(id, "share", {"operationType": "Add", "groups": groups}).wait()
    unique = world.connection.get(id)["properties"]["identifier"]["uniqueName"]
    world.vm("origin")
    world.version(world.definition("base", gallery="shared", state="Specialized"), "2.0.0", "origin")
    source = f"sharedGallery: {{gallery: {unique}, definition: base, version: 2.0.0}}"
    facts = facts_of(world, tmp_path, source, machine=WEST)
    assert facts.blockers == ()
    assert facts.source["reference"] == {
        "sharedGalleryImageId": f"/SharedGalleries/{unique}/Images/base/Versions/2.0.0"
    }
    assert facts.source["generalized"] is False


def test_a_managed_image(world: World, tmp_path: Path) -> None:
    world.vm("origin", luns=(0, 5))
    world.generalize("origin")
    id = world.managed_image("base", "origin")
    source = "managedImage: {resourceGroup: corp, name: base}"
    facts = facts_of(world, tmp_path, source)
    assert facts.blockers == ()
    assert facts.source["reference"] == {"id": id}
    assert [(disk["lun"], disk["size"]) for disk in facts.source["disks"]] == [
        (None, 30 * GIB),
        (0, 8 * GIB),
        (5, 8 * GIB),
    ]
    trusted = "{security: {type: TrustedLaunch}}"
    assert codes(facts_of(world, tmp_path, source, machine=trusted)) == ["managed-source-security", "source-security"]


def test_a_vm_with_its_disks(world: World, tmp_path: Path) -> None:
    world.vm("old", luns=(0, 3))
    source = "vm: {resourceGroup: corp, name: old}"
    facts = facts_of(world, tmp_path, source)
    assert facts.blockers == ()
    assert facts.source["location"] == "westeurope"
    assert facts.source["pin"]["vmId"]
    assert "reference" not in facts.source
    disks = facts.source["disks"]
    assert [(disk["lun"], disk["size"], disk["origin"]) for disk in disks] == [
        (None, 30 * GIB, "disk"), (0, 8 * GIB, "disk"), (3, 8 * GIB, "disk"),
    ]  # fmt: skip
    assert [disk["resource"].rpartition("/")[2] for disk in disks] == ["old-os", "old-0", "old-3"]
    assert len({disk["unique"] for disk in disks}) == 3
    # Another VM of the same name is another source
    world.connection.delete(world.compute("virtualMachines", "old")).wait()
    for disk in ("old-os", "old-0", "old-3"):
        world.connection.delete(world.compute("disks", disk)).wait()
    world.vm("old", luns=(0, 3))
    again = facts_of(world, tmp_path, source).source
    assert again["pin"] != facts.source["pin"]
    assert again["disks"] != disks


def test_a_vm_elsewhere_and_a_vm_that_is_generalized(world: World, tmp_path: Path) -> None:
    world.vm("old")
    source = "vm: {resourceGroup: corp, name: old}"
    facts = facts_of(world, tmp_path, source, machine="{location: northeurope}")
    assert codes(facts) == ["source-region"]
    assert facts.blockers[0].hint == "write `location: westeurope` in `machine.azure`"
    world.generalize("old")
    assert codes(facts_of(world, tmp_path, source)) == ["source-state"]
    generalized = "vm: {resourceGroup: corp, name: old, osState: generalized}"
    assert codes(facts_of(world, tmp_path, generalized)) == []
    trusted = "{security: {type: TrustedLaunch}}"
    assert codes(facts_of(world, tmp_path, generalized, machine=trusted)) == ["generalized-disks"]


def test_a_trusted_launch_vm_stays_one(world: World, tmp_path: Path) -> None:
    settings = {"secureBootEnabled": True, "vTpmEnabled": True}
    world.vm("old", securityProfile={"securityType": "TrustedLaunch", "uefiSettings": settings})
    source = "vm: {resourceGroup: corp, name: old}"
    assert codes(facts_of(world, tmp_path, source)) == ["source-security"]
    assert codes(facts_of(world, tmp_path, source, machine="{security: {type: TrustedLaunch}}")) == []


def test_a_vm_with_a_plan(world: World, tmp_path: Path) -> None:
    plan = {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}
    world.azure.catalogue.accepted_terms.add(("resf", "rockylinux-x86_64", "9-base"))
    image = {"publisher": "resf", "offer": "rockylinux-x86_64", "sku": "9-base", "version": "latest"}
    world.vm("old", image=image, plan=plan)
    facts = facts_of(world, tmp_path, "vm: {resourceGroup: corp, name: old}")
    assert facts.blockers == ()
    assert facts.source["plan"] == plan
    world.azure.catalogue.accepted_terms.clear()
    facts = facts_of(world, tmp_path, "vm: {resourceGroup: corp, name: old}")
    assert codes(facts) == ["terms"]
    assert "--publisher resf --offer rockylinux-x86_64 --plan 9-base" in str(facts.blockers[0].hint)


def test_disks_and_snapshots(world: World, tmp_path: Path) -> None:
    world.vm("old", luns=(1,))
    world.snapshot("os", "old-os")
    world.snapshot("data", "old-1")
    data = "data: [{lun: 4, resourceGroup: corp, name: data}]"
    facts = facts_of(world, tmp_path, f"snapshot: {{resourceGroup: corp, name: os, {data}}}")
    assert facts.blockers == ()
    assert [(disk["lun"], disk["origin"]) for disk in facts.source["disks"]] == [(None, "snapshot"), (4, "snapshot")]
    assert facts.source["generalized"] is False
    facts = facts_of(world, tmp_path, "disk: {resourceGroup: corp, name: old-os}")
    assert facts.blockers == ()
    assert facts.traits.controllers == ("SCSI", "NVMe")


def test_disks_that_are_not_ready_or_elsewhere(world: World, tmp_path: Path) -> None:
    creation = {"createOption": "Upload", "uploadSizeBytes": 32 * GIB + 512}
    world.put(world.compute("disks", "up"), {"location": "westeurope", "properties": {"creationData": creation}})
    source = "disk: {resourceGroup: corp, name: up}"
    generation = "os: {family: linux, generation: 1}"
    assert codes(facts_of(world, tmp_path, source, system=generation)) == ["source-unfinished"]
    world.disk("here", osType="Linux", hyperVGeneration="V2")
    world.disk("there", location="northeurope")
    source = "disk: {resourceGroup: corp, name: here, data: [{lun: 0, resourceGroup: corp, name: there}]}"
    facts = facts_of(world, tmp_path, source)
    assert codes(facts) == ["source-region"]
    assert "disks/there is in northeurope" in facts.blockers[0].message


def test_a_base_of_this_project_is_the_planners(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "project/images"
    folder.mkdir(parents=True)
    base = "name: base\nos: {family: linux, distribution: debian, release: '12'}\nsource: {bootstrap: {}}\n"
    (folder / "base.yaml").write_text(base)
    facts = facts_of(world, tmp_path, "image: base", machine=WEST)
    assert (facts.source, facts.blockers) == ({}, ())
    assert facts.traits.where == "westeurope"


def test_a_blob_of_a_storage_account(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = azure_with_blobs.cloud.blobs
    assert blobs is not None
    world = World.of(azure_with_blobs)
    account = ResourceId(world.azure.subscription, "corp", "Microsoft.Storage", ("storageAccounts",), (ACCOUNT,))
    body = {"location": "westeurope", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    world.put(account, body)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    key = AzureNamedKeyCredential(ACCOUNT, KEY)
    container = f"{blobs.endpoint}/observed-blobs"
    ContainerClient.from_container_url(container, credential=key).create_container()
    url = f"{container}/base.vhd"
    client = BlobClient.from_blob_url(url, credential=key)
    client.create_page_blob((64 << 20) + 512)
    text = "name: web\nos: {family: linux}\nsource: {blob: {url: 'https://a/b'}}\nmachine: {azure: {}}\n"
    written = image_of(tmp_path, text)

    def look(**values: str) -> MachineFacts:
        choice = replace(written.source, values={**written.source.values, **values})
        return observe(replace(written, source=choice), Reader(world.connection, Cache()))

    first = look(url=url, account=str(account))
    assert first.blockers == ()
    (disk,) = first.source["disks"]
    assert (disk["size"], disk["origin"], disk["resource"], disk["account"]) == (64 << 20, "blob", url, str(account))
    client.upload_page(bytes(512), 0, 512)
    assert look(url=url, account=str(account)).source["disks"][0]["unique"] != disk["unique"]
    assert codes(look(url=url.replace("base", "other"), account=str(account))) == ["source-missing"]
    # No token, no key goes to a host of the spec's choice
    assert codes(look(url="https://elsewhere.example.org/a/b.vhd", account=str(account))) == ["blob-address"]
