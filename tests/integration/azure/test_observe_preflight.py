"""What stands against a build, said before anything is made: each rule, its place in the YAML, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.ids import ResourceId, compute
from builder.machines.azure.observe import observe, resolve_machine
from builder.machines.azure.reading import Cache, Reader
from builder.machines.azure.resolved import ResolvedSource, Spot
from builder.machines.azure.rules import page
from builder.model.observed import Blocker, MachineFacts
from tests.azure import Fault, Simulator
from tests.integration.azure.world import World, image_of

SOURCE = "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}"
ARM = "marketplace: {publisher: Canonical, offer: ubuntu-24_04-lts, sku: server-arm64}"
CONFIDENTIAL = "marketplace: {publisher: Canonical, offer: ubuntu-24_04-lts, sku: cvm}"
GENERATION_1 = "marketplace: {publisher: Debian, offer: debian-12, sku: '12'}"


@pytest.fixture
def world(azure: Simulator) -> World:
    return World.of(azure)


def spec(machine: str, *, source: str = SOURCE, system: str = "family: linux", more: str = "") -> str:
    return f"name: web\nos: {{{system}}}\nsource: {{{source}}}\nmachine:\n  azure: {{{machine}}}\n{more}\n"


def look(world: World, folder: Path, text: str) -> MachineFacts:
    return observe(image_of(folder, text), Reader(world.connection, Cache()))


def only(facts: MachineFacts) -> Blocker:
    (found,) = facts.blockers
    return found


WEST = "location: westeurope, "
NVME = "Standard_D2s_v6"
WINDOWS = {
    "system": "family: windows",
    "source": "marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2022-datacenter-g2}",
}
# The spec's machine, what else of the spec, and the rule that it breaks
BROKEN: tuple[tuple[str, dict[str, str], str, str], ...] = (
    ("size: Standard_X9_v9", {}, "size-offered", "is not offered in westeurope"),
    ("size: Standard_D2_v2, osDisk: {type: Standard_LRS}", {}, "size-generation", "boots generation 1 only"),
    ("size: Standard_DC2as_v5", {"system": "family: linux, generation: 1", "source": GENERATION_1}, "size-generation",
     "boots generation 2 only"),
    (f"size: {NVME}", {}, "size-controller", "attaches disks by NVMe only"),
    ("size: Standard_D2s_v5, diskController: NVMe", {}, "size-controller", "attaches disks by SCSI only"),
    ("size: Standard_D2s_v5, security: {type: ConfidentialVM}", {"source": CONFIDENTIAL}, "size-confidential",
     "has no processors for confidential VMs"),
    ("size: Standard_D1_v2, osDisk: {type: Standard_LRS}, acceleratedNetworking: true",
     {"system": "family: linux, generation: 1", "source": GENERATION_1}, "size-accelerated-networking",
     "has no accelerated networking"),
    ("size: Standard_D2_v2", {"system": "family: linux, generation: 1", "source": GENERATION_1}, "size-premium",
     "takes no Premium disks"),
    ("size: Standard_A1, osDisk: {type: Standard_LRS}, encryptionAtHost: true",
     {"system": "family: linux, generation: 1", "source": GENERATION_1}, "size-encryption-at-host",
     "can't encrypt at the host"),
    ("size: Standard_A1, osDisk: {type: Standard_LRS}, spot: {}",
     {"system": "family: linux, generation: 1", "source": GENERATION_1}, "size-spot", "is not sold as spot capacity"),
    ("size: Standard_D2s_v5", {"more": "disks: {data: [" + ", ".join(f"{{lun: {lun}, size: 8GiB}}" for lun in range(5))
                               + "]}"}, "size-data-disks", "takes 4 data disks, not 5"),
    ("security: {type: ConfidentialVM}", {}, "source-security", "allows VMs of type Standard, TrustedLaunch"),
    ("", {"source": GENERATION_1}, "source-generation", "has generation 1, the spec says 2"),
    ("", {"system": "family: windows"}, "source-family", "has family linux, the spec says windows"),
    ("", {"system": "family: linux, architecture: arm64"}, "source-architecture", "has architecture x64"),
    ("", {"more": "disks: {os: {size: 8GiB}}"}, "disk-shrinks", "has 30720 MiB, the spec asks for 8192 MiB"),
    ("resourceGroup: nowhere", {}, "group-missing", "there is no resource group nowhere"),
    ("licenseType: SLES_BYOS", {}, "licence-system", "is no licence for Debian"),
    ("", {"more": "prepare: [{run: {command: ls, secrets: {T: {keyVault: 'https://a.example.com/secrets/t'}}}}]"},
     "vault-address", "a.example.com is no vault of Simulated"),
    ("verify: deep", {"more": "generalize: false"}, "verify-specialized", "keeps its machine's identity"),
    ("verify: deep", WINDOWS, "verify-windows", "is asked of the machine itself"),
)  # fmt: skip


def test_files_that_are_too_large_for_windows(world: World, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    with (tmp_path / "project/large").open("wb") as file:
        file.truncate((16 << 20) + 1)
    more = "prepare:\n  - files: [{path: 'C:\\large', source: large}]"
    found = only(look(world, tmp_path, spec(WEST, **WINDOWS, more=more)))
    assert (found.code, found.place.line) == ("files-too-large", 7)
    assert "the files of this step have 17 MiB together" in found.message


def test_large_files_take_a_place_among_the_data_disks(world: World, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    with (tmp_path / "project/large").open("wb") as file:
        file.truncate((16 << 20) + 1)
    disks = "disks: {data: [" + ", ".join(f"{{lun: {lun}, size: 8GiB}}" for lun in range(4)) + "]}\n"
    more = disks + "prepare:\n  - files: [{path: /opt/large, source: large}]"
    found = only(look(world, tmp_path, spec(WEST + "size: Standard_D2s_v5", more=more)))
    assert (found.code, "takes 4 data disks, not 5" in found.message) == ("size-data-disks", True), found


def test_each_broken_rule_is_said(world: World, tmp_path: Path) -> None:
    for machine, parts, code, words in BROKEN:
        found = only(look(world, tmp_path, spec(WEST + machine, **parts)))
        assert (found.code, words in found.message) == (code, True), (machine, found)
        assert found.message.endswith(f"({page(code, 'marketplace')})"), found
        assert found.hint or code == "group-missing", found
        # Every one stands at a line of its own key, not at the document's start
        assert found.place.line > 1, found


def test_what_fits_is_not_blocked(world: World, tmp_path: Path) -> None:
    world.subnet()
    world.group("mine")
    for machine, parts in (
        ("", {}),
        ("resourceGroup: mine", {}),
        ("security: {type: TrustedLaunch}", {}),
        ("security: {type: ConfidentialVM}", {"source": CONFIDENTIAL}),
        ("", {"source": ARM, "system": "family: linux, architecture: arm64"}),
        (f"size: {NVME}, diskController: NVMe", {}),
        ("size: Standard_D2_v2, osDisk: {type: Standard_LRS}",
         {"system": "family: linux, generation: 1", "source": GENERATION_1}),
        ("zone: '2', spot: {}, encryptionAtHost: true, acceleratedNetworking: true", {}),
    ):  # fmt: skip
        assert look(world, tmp_path, spec(WEST + machine, **parts)).blockers == (), machine


def test_the_first_size_that_fits_is_taken(world: World, tmp_path: Path) -> None:
    world.azure.catalogue.restrict("westeurope", "Standard_D2s_v5")
    world.azure.catalogue.quotas["standarddasv5family"] = 1
    sizes = "size: [Standard_D2s_v5, Standard_D2as_v5, Standard_D2ads_v5, Standard_D4s_v5]"
    image = image_of(tmp_path, spec(WEST + sizes))
    facts = observe(image, Reader(world.connection, Cache()))
    assert facts.blockers == ()
    machine = resolve_machine(image, ResolvedSource.from_inputs(facts.source), world.connection)
    assert machine.sizes == ("Standard_D2ads_v5", "Standard_D4s_v5")
    found = only(look(world, tmp_path, spec(WEST + "size: [Standard_D2s_v5, Standard_D2as_v5]")))
    assert found.code == "vm-size"
    assert "Standard_D2s_v5 is not available to the subscription in westeurope" in found.message
    assert "Standard_D2as_v5 needs 2 vCPUs, and 1 of the 1 of standardDASv5Family are free" in found.message
    assert "Standard_B2s" in str(found.hint)


def test_quota_counts_what_runs(world: World, tmp_path: Path) -> None:
    world.azure.catalogue.quotas["standarddsv5family"] = 3
    assert look(world, tmp_path, spec(WEST)).blockers == ()
    world.vm("busy")
    assert only(look(world, tmp_path, spec(WEST))).code == "quota"
    # Spot capacity has a quota of its own
    assert look(world, tmp_path, spec(WEST + "spot: {}")).blockers == ()
    world.azure.catalogue.region_cores = 3
    assert only(look(world, tmp_path, spec(WEST + "size: Standard_D2ads_v5"))).code == "quota"


def test_zones(world: World, tmp_path: Path) -> None:
    world.azure.catalogue.zones["westeurope"] = ("1",)
    found = only(look(world, tmp_path, spec(WEST + "zone: '2'")))
    assert (found.code, "only in 1" in found.message) == ("size-zone", True)


def test_subnets(world: World, tmp_path: Path) -> None:
    subnet, far = world.subnet("near"), world.subnet("far", "northeurope")
    # Without a location, the subnet's is taken
    facts = look(world, tmp_path, spec(f"subnet: {far}"))
    assert (facts.blockers, facts.traits.where) == ((), "northeurope")
    assert only(look(world, tmp_path, spec(WEST + f"subnet: {far}"))).code == "subnet-region"
    assert look(world, tmp_path, spec(WEST + f"subnet: {subnet}")).blockers == ()
    for missing in (subnet.replace("/build", "/other"), subnet.replace("/near/", "/nothing/")):
        assert only(look(world, tmp_path, spec(WEST + f"subnet: {missing}"))).code == "subnet-missing"


def test_encryption_sets_and_identities(world: World, tmp_path: Path) -> None:
    sets = [compute(world.azure.subscription, "corp", "diskEncryptionSets", name) for name in ("near", "far")]
    for id, location in zip(sets, ("westeurope", "northeurope"), strict=True):
        world.put(id, {"location": location, "identity": {"type": "SystemAssigned"}, "properties": {}})
    identity = ResourceId(
        world.azure.subscription, "corp", "Microsoft.ManagedIdentity", ("userAssignedIdentities",), ("builder",)
    )
    world.put(identity, {"location": "westeurope"})
    good = f"diskEncryptionSet: {sets[0]}, identities: [{identity}]"
    assert look(world, tmp_path, spec(WEST + good)).blockers == ()
    assert only(look(world, tmp_path, spec(WEST + f"diskEncryptionSet: {sets[1]}"))).code == "encryption-set"
    assert only(look(world, tmp_path, spec(WEST + f"diskEncryptionSet: {sets[0]}x"))).code == "encryption-set"
    found = only(look(world, tmp_path, spec(WEST + f"identities: [{identity}, {identity}x]")))
    assert (found.code, "userAssignedIdentities/builderx" in found.message) == ("identity-missing", True)


def test_where_a_build_is(world: World, tmp_path: Path) -> None:
    assert only(look(world, tmp_path, spec(""))).code == "location"
    world.gallery()
    to = "publish: {to: [{gallery: {resourceGroup: corp, gallery: corp, definition: web}}]}"
    assert look(world, tmp_path, spec("", more=to)).traits.where == "westeurope"
    new = "publish: {to: [{gallery: {resourceGroup: corp, gallery: new, definition: web, regions: [northeurope]}}]}"
    assert look(world, tmp_path, spec("", more=new)).traits.where == "northeurope"
    world.group("there", "eastus")
    assert look(world, tmp_path, spec("resourceGroup: there")).traits.where == "eastus"


def test_what_azure_refuses_to_say_blocks_with_its_words(world: World, tmp_path: Path) -> None:
    world.azure.faults.add(
        Fault("LIST Microsoft.Compute/locations/usages", "refuse", status=403, code="AuthorizationFailed")
    )
    found = only(look(world, tmp_path, spec(WEST)))
    assert "AuthorizationFailed" in found.message
    assert found.hint


def test_few_calls_and_nothing_written(world: World, tmp_path: Path) -> None:
    world.subnet()
    mark, cache = len(world.azure.traffic.pairs), Cache()
    subnet = f"/subscriptions/{world.azure.subscription}/resourceGroups/corp/providers/Microsoft.Network"
    machine = f"resourceGroup: corp, subnet: {subnet}/virtualNetworks/net/subnets/build"
    image = image_of(tmp_path, spec(machine))
    assert observe(image, Reader(world.connection, cache)).blockers == ()
    # Network, group, the list of versions, the version, sizes, usages
    assert len(world.azure.traffic.pairs) - mark == 6
    other = image_of(tmp_path, spec(machine + ", security: {type: TrustedLaunch}"))
    assert observe(other, Reader(world.connection, cache)).blockers == ()
    assert len(world.azure.traffic.pairs) - mark == 6
    assert world.azure.traffic.writes(mark) == []


def test_the_machine_of_the_spec(world: World, tmp_path: Path) -> None:
    options = (
        "zone: '1', spot: {maxPrice: 0.5, retries: 1}, security: {type: TrustedLaunch, secureBoot: false},"
        " osDisk: {type: StandardSSD_LRS, caching: ReadOnly}, tags: {team: a}, onFailure: keep, verify: deep"
    )
    image = image_of(tmp_path, spec(WEST + options, more="tags: {cost: b}"))
    facts = observe(image, Reader(world.connection, Cache()))
    machine = resolve_machine(image, ResolvedSource.from_inputs(facts.source), world.connection)
    assert (machine.location, machine.zone, machine.sizes) == ("westeurope", "1", ("Standard_D2s_v5",))
    assert machine.spot == Spot(0.5, 1)
    assert (machine.security.secure_boot, machine.security.vtpm) == (False, True)
    assert (machine.os_disk_type, machine.os_disk_caching) == ("StandardSSD_LRS", "ReadOnly")
    assert (machine.verify, machine.on_failure) == ("deep", "keep")
    assert machine.tags == {"team": "a", "cost": "b"}
    # What the result doesn't depend on is no input
    assert machine.as_inputs() == {"security": {"type": "TrustedLaunch", "vtpm": True}, "controller": "SCSI"}
    world.azure.catalogue.restrict("westeurope", "Standard_D2s_v5")
    with pytest.raises(Exception, match="is not available to the subscription"):
        resolve_machine(image, None, world.connection)
