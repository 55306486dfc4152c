"""Every source is built, on the simulator, into a version that holds what the source held and what the spec adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure import Simulator
from tests.azure.guests import Scripted
from tests.integration.azure.building import LINUX, SERVER, WINDOWS, Build
from tests.integration.azure.windows_answers import answer_all, marker
from tests.integration.azure.world import DEBIAN, GROUP, LOCATION, World
from tests.integration.azure.world import WINDOWS as WINDOWS_IMAGE
from tests.unit.guest.windows.test_inventory import TOLD

FACTS = 'ID="windows"\r\nVERSION_ID="10.0.20348"\r\nbuild: architecture AMD64\r\n'
ROCKY = {"publisher": "resf", "offer": "rockylinux-x86_64", "sku": "9-base", "version": "latest"}
PLAN = {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}
Make = Callable[[World], str]


def marketplace(world: World) -> str:
    return "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}"


def appliance(world: World) -> str:
    world.azure.catalogue.accepted_terms.add(("cloud-vendor", "appliance", "data"))
    return "marketplace: {publisher: cloud-vendor, offer: appliance, sku: data}"


def origin(world: World, *, generalized: bool, family: str = "linux", luns: tuple[int, ...] = (2,)) -> None:
    """A VM with a mark on its disk."""
    world.vm("origin", luns=luns, image=DEBIAN if family == "linux" else WINDOWS_IMAGE)
    tree = world.azure.resource("virtualMachines/origin").hidden["facts"].tree
    if family == "linux":
        (tree.path / "etc/origin").write_text("here\n")
    if generalized:
        world.generalize("origin")


def gallery(world: World) -> str:
    world.gallery("source")
    origin(world, generalized=True)
    world.version(world.definition("base", gallery="source"), "1.0.0", "origin")
    return "gallery: {resourceGroup: corp, gallery: source, definition: base}"


def specialized_gallery(world: World) -> str:
    world.gallery("source")
    origin(world, generalized=False)
    world.version(world.definition("base", gallery="source", state="Specialized"), "1.0.0", "origin")
    return "gallery: {resourceGroup: corp, gallery: source, definition: base}"


def community(world: World) -> str:
    info = {"publisherUri": "https://example.org", "publisherContact": "a@example.org", "eula": "none",
            "publicNamePrefix": "walk"}  # fmt: skip
    world.gallery("open", sharingProfile={"permissions": "Community", "communityGalleryInfo": info})
    id = world.compute("galleries", "open")
    world.connection.post(id, "share", {"operationType": "EnableCommunity"}).wait()
    public = world.connection.get(id)["properties"]["sharingProfile"]["communityGalleryInfo"]["publicNames"][0]
    origin(world, generalized=True)
    world.version(world.definition("base", gallery="open"), "1.0.0", "origin")
    return f"communityGallery: {{gallery: {public}, definition: base, location: westeurope}}"


def shared(world: World) -> str:
    world.gallery("shared", sharingProfile={"permissions": "Groups"})
    id = world.compute("galleries", "shared")
    groups = [{"type": "Subscriptions", "ids": [world.azure.subscription]}]
    world.connection.post(id, "share", {"operationType": "Add", "groups": groups}).wait()
    unique = world.connection.get(id)["properties"]["identifier"]["uniqueName"]
    origin(world, generalized=False)
    world.version(world.definition("base", gallery="shared", state="Specialized"), "1.0.0", "origin")
    return f"sharedGallery: {{gallery: {unique}, definition: base, version: 1.0.0}}"


def managed_image(world: World) -> str:
    origin(world, generalized=True)
    world.managed_image("base", "origin")
    return "managedImage: {resourceGroup: corp, name: base}"


def vm(world: World) -> str:
    origin(world, generalized=False)
    return "vm: {resourceGroup: corp, name: origin}"


def generalized_vm(world: World) -> str:
    origin(world, generalized=True)
    return "vm: {resourceGroup: corp, name: origin, osState: generalized}"


def disk(world: World) -> str:
    origin(world, generalized=False)
    return "disk: {resourceGroup: corp, name: origin-os}"


def snapshot(world: World) -> str:
    origin(world, generalized=False)
    world.snapshot("os", "origin-os")
    world.snapshot("data", "origin-2")
    return "snapshot: {resourceGroup: corp, name: os, data: [{lun: 2, resourceGroup: corp, name: data}]}"


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = Build(tmp_path, azure, monkeypatch)
    build.world.group(GROUP, LOCATION)
    return build


@pytest.mark.parametrize(
    ("make", "luns", "generalize"),
    [
        (marketplace, [], "{}"), (marketplace, [], "false"), (appliance, [0, 1], "{}"), (gallery, [2], "{}"),
        (gallery, [2], "false"), (specialized_gallery, [2], "{}"), (specialized_gallery, [2], "false"),
        (community, [2], "{}"), (shared, [2], "false"), (managed_image, [2], "{}"), (vm, [2], "{}"), (vm, [2], "false"),
        (generalized_vm, [2], "{}"), (disk, [], "{}"), (disk, [], "false"), (snapshot, [2], "false"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).replace(" ", ""),
)  # fmt: skip
def test_linux(azure: Simulator, build: Build, make: Make, luns: list[int], generalize: str) -> None:
    source = make(build.world)
    build.write(
        f"prepare:\n  - run: echo added > /etc/added\ngeneralize: {generalize}\ncapture: {{kind: vmImage}}\n",
        source=f"{{{source}}}", os=LINUX if make is not appliance else "{family: linux}",
    )  # fmt: skip
    assert build.apply().version == "1.0.0"
    version = azure.resource("images/web/versions/1.0.0")
    tree = version.hidden["facts"].tree
    assert tree.text("/etc/added") == "added\n"
    if make not in (marketplace, appliance):
        assert tree.text("/etc/origin") == "here\n"
    disks = version.body["properties"]["storageProfile"].get("dataDiskImages") or []
    assert [item["lun"] for item in disks] == luns
    definition = azure.resource("galleries/corp/images/web").body["properties"]
    assert definition["osState"] == ("Specialized" if generalize == "false" else "Generalized")
    assert ("purchasePlan" in definition) == (make is appliance)


@pytest.mark.parametrize(("make", "generalize"), [(SERVER, "false"), (managed_image, "{}"), (vm, "{}"), (vm, "false")])
def test_windows(azure: Simulator, build: Build, make: Make | str, generalize: str) -> None:
    answer_all(azure, TOLD)
    azure.guests.answer(Scripted(marker("what this machine is"), output=FACTS))
    if isinstance(make, str):
        source = make
    else:
        origin(build.world, generalized=make is managed_image, family="windows", luns=())
        if make is managed_image:
            build.world.managed_image("base", "origin")
        name = "managedImage: {resourceGroup: corp, name: base}"
        source = f"{{{name if make is managed_image else 'vm: {resourceGroup: corp, name: origin}'}}}"
    more = f"prepare:\n  - run: Write-Output hello\ngeneralize: {generalize}\n"
    build.write(more, os=WINDOWS, source=source)
    assert build.apply().version == "1.0.0"
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    sealed = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    assert (tree.image_state == sealed) == (generalize == "{}")


def test_a_plan_goes_from_the_source_to_the_definition(azure: Simulator, build: Build) -> None:
    azure.catalogue.accepted_terms.add(("resf", "rockylinux-x86_64", "9-base"))
    build.world.vm("origin", image=ROCKY, plan=PLAN)
    build.write("generalize: false\n", os="{family: linux}", source="{vm: {resourceGroup: corp, name: origin}}")
    assert build.apply().version == "1.0.0"
    assert azure.resource("galleries/corp/images/web").body["properties"]["purchasePlan"] == PLAN
