"""Galleries, with planner and executor as they are: made from nothing, kept, changed in place, retired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.azure.ids import compute
from builder.model.plan import Action
from tests.azure import Simulator
from tests.integration.azure.connection import reaching
from tests.integration.azure.publishing import GALLERY, LOCATION, Project


@pytest.fixture
def project(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(tmp_path / "project", azure)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(found.azure))
    return found


def test_an_empty_subscription_gets_group_gallery_definition_and_version(project: Project) -> None:
    changes = [(change.action, change.kind, change.name) for change in project.decided().changes]
    outcome = project.apply()

    assert changes == [
        ("create", "resource group", "images"),
        ("create", "gallery", "corp"),
        ("create", "image definition", "corp/web"),
        ("create", "version", "corp/web/1.0.0"),
    ]
    assert outcome.locations == (str(project.definition.child("versions", "1.0.0")),)
    assert project.decided().action == Action.NONE


def test_a_definition_says_everything(project: Project) -> None:
    project.with_traits(security="TrustedLaunch", controllers=("SCSI", "NVMe"), accelerated_networking=True)
    project.apply()
    properties = project.azure.get(project.definition)["properties"]

    assert {key: properties[key] for key in ("osType", "osState", "hyperVGeneration", "architecture")} == {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64",
    }  # fmt: skip
    assert properties["identifier"] == {"publisher": "corp", "offer": "web", "sku": "default"}
    assert properties["features"] == [
        {"name": "SecurityType", "value": "TrustedLaunchSupported"},
        {"name": "DiskControllerTypes", "value": "SCSI, NVMe"},
        {"name": "IsAcceleratedNetworkSupported", "value": "True"},
    ]
    assert properties["description"] == "a web server"


def test_a_plan_reads_three_times_and_writes_nothing(project: Project, azure: Simulator) -> None:
    project.apply()
    mark = len(azure.traffic.pairs)
    project.decided()

    assert azure.traffic.writes(mark) == []
    assert sum(azure.traffic.counts(mark).values()) == 3


def existing(project: Project, **changes: object) -> None:
    """A gallery and a definition that somebody made before."""
    group = project.definition.group_id
    project.azure.put(group, {"location": LOCATION}).wait()
    project.azure.put(project.definition.parent, {"location": LOCATION, "properties": {}}).wait()
    properties = {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64",
        "identifier": {"publisher": "p", "offer": "o", "sku": "s"},
        "features": [{"name": "SecurityType", "value": "Standard"}],
    }  # fmt: skip
    project.azure.put(project.definition, {"location": LOCATION, "properties": {**properties, **changes}}).wait()


DIFFERING = (
    ({"osType": "Windows"}, "", "has osType Windows, and the spec wants Linux", 3),
    ({"osState": "Specialized"}, "", "has osState Specialized, and the spec wants Generalized", 1),
    ({"hyperVGeneration": "V1"}, "", "has hyperVGeneration V1, and the spec wants V2", 3),
    ({"architecture": "Arm64"}, "", "has architecture Arm64, and the spec wants x64", 3),
    ({}, "publisher: us", "has identifier.publisher p, and the spec wants us", 10),
    ({}, "securityType: TrustedLaunchSupported", "has SecurityType Standard, and the spec wants TrustedLaunchSupp", 10),
    ({}, "diskControllers: [SCSI, NVMe]", "has DiskControllerTypes SCSI, and the spec wants SCSI, NVMe", 10),
    ({}, "acceleratedNetworking: true", "has IsAcceleratedNetworkSupported False, and the spec wants True", 10),
    ({}, "eula: ours", "has eula None, and the spec wants ours", 10),
)


@pytest.mark.parametrize(("changes", "properties", "message", "line"), DIFFERING)
def test_an_immutable_property_that_differs_blocks_with_both_values(
    project: Project, changes: dict[str, object], properties: str, message: str, line: int
) -> None:
    existing(project, **changes)
    project.write(GALLERY.replace("regions:", f"properties: {{{properties}}}, regions:") if properties else GALLERY)
    reasons = project.decided().reasons

    assert [reason.code for reason in reasons] == ["definition-differs"]
    assert message in reasons[0].message
    assert reasons[0].place is not None
    assert reasons[0].place.line == line


def test_a_definition_that_agrees_is_adopted_as_it_is(project: Project) -> None:
    existing(project, description="theirs")
    assert [change.kind for change in project.decided().changes] == ["version"]
    project.apply()

    properties = project.azure.get(project.definition)["properties"]
    assert (properties["description"], properties["identifier"]["publisher"]) == ("theirs", "p")
    assert project.decided().action == Action.NONE


PLAN = {"name": "server", "product": "offer", "publisher": "contoso"}
UNSUITED = (
    ({"security": "TrustedLaunch"}, GALLERY, "definition-security", "SecurityType Standard"),
    ({"plan": PLAN}, GALLERY, "definition-plan", "has purchase plan none"),
    ({"where": "francecentral"}, GALLERY, "gallery-location", "built in francecentral"),
    ({}, GALLERY.replace("westeurope, ", ""), "gallery-regions", "leave out westeurope"),
    ({}, GALLERY.replace("regions:", "location: francecentral, regions:"), "gallery-location", "is in westeurope"),
    ({}, GALLERY.replace("regions:", "endOfLife: '2025-01-01', regions:"), "end-of-life", "is over"),
)


@pytest.mark.parametrize(("traits", "spec", "code", "message"), UNSUITED)
def test_what_azure_would_refuse_blocks_before_anything_is_built(
    project: Project, azure: Simulator, traits: dict[str, Any], spec: str, code: str, message: str
) -> None:
    existing(project)
    project.write(spec)
    project.with_traits(**traits)
    mark = len(azure.traffic.pairs)
    reasons = project.decided().reasons

    assert [reason.code for reason in reasons] == [code]
    assert message in reasons[0].message
    assert azure.traffic.writes(mark) == []


def test_an_identifier_that_another_definition_has_blocks(project: Project) -> None:
    existing(project)
    other = GALLERY.replace("definition: web", "definition: other")
    project.write(other.replace("regions:", "properties: {publisher: P, offer: o, sku: s}, regions:"))
    (reason,) = project.decided().reasons

    assert reason.code == "definition-identifier"
    assert "image definition web of that gallery is P/o/s already" in reason.message
    project.write(other)
    assert project.decided().action == Action.BUILD


NORTH = (
    "gallery: {resourceGroup: images, gallery: north, definition: web, location: northeurope, regions: [northeurope]}"
)


def test_a_gallery_in_another_region_copies_from_a_replica_there(project: Project) -> None:
    project.write(f"{GALLERY}\n    - {NORTH}")
    (reason,) = project.decided().reasons
    assert (reason.code, "built in westeurope" in reason.message) == ("gallery-location", True)

    project.write(GALLERY.replace(", northeurope", ""))
    project.apply()
    project.write(f"{GALLERY.replace(', northeurope', '')}\n    - {NORTH}")
    (reason,) = project.decided().reasons
    assert "is in northeurope, and the version that it would copy only in westeurope" in reason.message
    assert "list northeurope in the `regions`" in str(reason.help)

    project.write()
    project.apply()
    project.write(f"{GALLERY}\n    - {NORTH}")
    assert project.decided().destinations == ("gallery north/web",)
    project.apply()
    body = project.azure.get(compute(project.azure.subscription, "images", "galleries", "north", "images", "web",
                                     "versions", "1.0.0"))  # fmt: skip
    assert body["location"] == "northeurope"
    assert body["properties"]["storageProfile"]["source"]["id"] == str(project.definition.child("versions", "1.0.0"))
    assert len(project.still.captured) == 1
    assert project.decided().action == Action.NONE


RINGS = """\
specs: ['*.image.yaml']
environments:
  dev: {{defaults: {{publish: {{to: [{dev}]}}}}}}
  prod: {{defaults: {{publish: {{to: [{dev}, {prod}]}}}}}}
"""


def test_an_environment_adds_its_ring_to_those_before_it(project: Project) -> None:
    rings = RINGS.format(dev=f"{{{GALLERY}}}", prod=f"{{{GALLERY.replace('corp', 'prod')}}}")
    (project.root / "build.yaml").write_text(rings)
    spec = project.root / "web.image.yaml"
    spec.write_text(spec.read_text().partition("  to:")[0])
    project.environment = "dev"
    assert project.apply().version == "1.0.0"

    project.environment = "prod"
    image = project.decided()
    assert (image.action, image.version, image.destinations) == (Action.PUBLISH, "1.0.0", ("gallery prod/web",))
    project.apply()
    assert len(project.still.captured) == 1, "what was tested in dev is what prod has"
    for project.environment in ("dev", "prod"):
        assert project.decided().action == Action.NONE


OTHER = "22222222-2222-4333-8444-555555555555"


def test_a_ring_in_another_subscription_gets_a_copy(project: Project) -> None:
    """The version is made there, of the one here. Who uses what is to go is asked in each."""
    project.simulator.cloud.subscriptions[OTHER] = "Production"
    prod = GALLERY.replace("corp", "prod").replace("{", f"{{subscription: {OTHER}, ", 1)
    rings = RINGS.format(dev=f"{{{GALLERY}}}", prod=f"{{{prod}}}")
    (project.root / "build.yaml").write_text(rings)
    spec = project.root / "web.image.yaml"
    spec.write_text(spec.read_text().partition("  to:")[0] + "  retain: {versions: 1}\n")
    project.environment = "dev"
    project.apply()

    project.environment = "prod"
    project.apply()
    definition = compute(OTHER, "images", "galleries", "prod", "images", "web")
    body = project.azure.get(definition.child("versions", "1.0.0"))
    assert body["properties"]["storageProfile"]["source"]["id"] == str(project.definition.child("versions", "1.0.0"))
    assert len(project.still.captured) == 1
    assert project.decided().action == Action.NONE

    project.still.content = "second"
    asked = len(project.simulator.traffic.pairs)
    project.apply()
    for subscription, gallery in ((project.azure.subscription, "corp"), (OTHER, "prod")):
        definition = compute(subscription, "images", "galleries", gallery, "images", "web")
        found = project.azure.list(definition, "Microsoft.Compute/galleries/images/versions")
        assert [version["name"] for version in found] == ["1.0.1"]
        listing = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines?"
        assert any(listing in pair.url for pair in project.simulator.traffic.pairs[asked:])


def test_a_purchase_plan_goes_from_the_source_to_the_definition(project: Project) -> None:
    project.with_traits(plan=PLAN | {"promotionCode": "x"})
    (publish,) = [item.step for item in project.decided().steps if item.step.kind == "publish.gallery"]

    assert publish.inputs["properties"]["purchasePlan"] == PLAN


def test_tags_fit_in_azures_limits(project: Project) -> None:
    ours = ", ".join(f"own{number}: x" for number in range(35))
    theirs = ", ".join(f"more{number}: x" for number in range(10))
    project.write(publish=f"version: auto\n  tags: {{{theirs}}}", more=f"tags: {{{ours}}}")

    assert [reason.code for reason in project.decided().reasons] == ["too-many-tags"]
    project.write(publish=f"version: auto\n  tags: {{long: {'y' * 256}}}")
    project.apply()
    assert project.version("1.0.0")["tags"]["long"] == "y" * 256
