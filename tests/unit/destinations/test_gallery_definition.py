"""Image definitions: what is sent, what differs, what can be changed. As data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.destinations.gallery_definition import (
    definition_body,
    immutable_differences,
    merged,
    same_moment,
    updatable_differences,
)
from builder.errors import Place
from builder.model.observed import Traits
from builder.model.spec import Choice, DisksSpec, GeneralizeSpec, ImageSpec, OsSpec, Places, PublishSpec

VALUES = {"resourceGroup": "images", "gallery": "corp", "definition": "web"}


def image(**changes: Any) -> ImageSpec:
    found = ImageSpec(
        name="web", os=OsSpec("linux"), source=Choice("marketplace", {}), machine=Choice("azure", {}),
        disks=DisksSpec(), prepare=(), generalize=GeneralizeSpec(), capture="vmImage", test=(), publish=PublishSpec(),
        root=Path("/"), file="web.yaml", places=Places({(): Place("web.yaml")}),
    )  # fmt: skip
    return replace(found, **changes)


def choice(**properties: Any) -> Choice:
    return Choice("gallery", {**VALUES, "properties": properties}, ("publish", "to", 0, "gallery"))


BODIES = (
    (image(), {}, {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64"}),
    (image(generalize=None), {}, {"osState": "Specialized"}),
    (image(os=OsSpec("windows", architecture="arm64")), {}, {"osType": "Windows", "architecture": "Arm64"}),
    (image(os=OsSpec("linux", generation=1)), {}, {"hyperVGeneration": "V1"}),
    (image(), {"sku": "12"}, {"identifier": {"publisher": "corp", "offer": "web", "sku": "12"}}),
    (image(), {"endOfLife": "2030-01-31"}, {"endOfLifeDate": "2030-01-31T00:00:00Z"}),
    (image(), {"memory": {"min": 4, "max": 8}}, {"recommended": {"memory": {"min": 4, "max": 8}}}),
    (image(), {"disallowedDiskTypes": ["Premium_LRS"]}, {"disallowed": {"diskTypes": ["Premium_LRS"]}}),
    (image(description="ours"), {}, {"description": "ours"}),
    (image(description="ours"), {"description": "theirs"}, {"description": "theirs"}),
)


@pytest.mark.parametrize(("spec", "properties", "expected"), BODIES)
def test_what_is_sent(spec: ImageSpec, properties: dict[str, Any], expected: dict[str, Any]) -> None:
    body = definition_body(choice(**properties), spec, Traits())
    assert {key: body[key] for key in expected} == expected


FEATURES = (
    (Traits(), {}, {"SecurityType": "Standard", "DiskControllerTypes": "SCSI",
                    "IsAcceleratedNetworkSupported": "False"}),
    (Traits(security="ConfidentialVM"), {}, {"SecurityType": "ConfidentialVMSupported"}),
    (Traits(security="TrustedLaunch"), {"securityType": "TrustedLaunch"}, {"SecurityType": "TrustedLaunch"}),
    (Traits(controllers=("NVMe", "SCSI")), {}, {"DiskControllerTypes": "SCSI, NVMe"}),
    (Traits(), {"diskControllers": ["NVMe", "SCSI"]}, {"DiskControllerTypes": "SCSI, NVMe"}),
    (Traits(accelerated_networking=True), {}, {"IsAcceleratedNetworkSupported": "True"}),
    (Traits(), {"hibernation": True}, {"IsHibernateSupported": "True"}),
)  # fmt: skip


@pytest.mark.parametrize(("traits", "properties", "expected"), FEATURES)
def test_features_come_from_the_spec_or_else_the_machine(
    traits: Traits, properties: dict[str, Any], expected: dict[str, str]
) -> None:
    features = {
        item["name"]: item["value"] for item in definition_body(choice(**properties), image(), traits)["features"]
    }
    assert {name: features[name] for name in expected} == expected


def test_the_definition_that_was_made_differs_in_nothing() -> None:
    wanted = choice(vcpus={"min": 2}, endOfLife="2030-01-31", securityType="TrustedLaunch", eula="e", hibernation=False)
    body = definition_body(wanted, image(description="d"), Traits(security="TrustedLaunch"))

    assert list(immutable_differences(body, wanted, image(description="d"))) == []
    assert list(updatable_differences(body, wanted, image(description="d"), ours=True)) == []


def test_letter_case_and_spaces_of_azure_are_no_difference() -> None:
    body = definition_body(choice(), image(), Traits())
    body["features"] = [{"name": "securitytype", "value": "trustedlaunch"}, {"name": "x", "value": "y"},
                        {"name": "DiskControllerTypes", "value": "SCSI,NVMe"}]  # fmt: skip
    wanted = choice(securityType="TrustedLaunch", diskControllers=["SCSI", "NVMe"])

    assert list(immutable_differences(body, wanted, image())) == []


def test_a_changed_definition_keeps_what_nobody_asked_to_change() -> None:
    body = definition_body(choice(description="old", releaseNotesUri="https://x"), image(), Traits())
    wanted = definition_body(choice(description="new"), image(), Traits())
    found = merged({**body, "provisioningState": "Succeeded"}, wanted, ["description", "releaseNoteUri"])

    assert found == {**{key: value for key, value in body.items() if key != "releaseNoteUri"}, "description": "new"}


def test_a_recommendation_that_the_spec_leaves_open_stays() -> None:
    body = definition_body(choice(vcpus={"min": 2}, memory={"min": 4, "max": 8}), image(), Traits())
    same = choice(vcpus={"min": 2})
    assert list(updatable_differences(body, same, image(), ours=True)) == []
    other = choice(vcpus={"min": 4})
    (found,) = updatable_differences(body, other, image(), ours=True)
    assert (found.before, found.after) == ("vCPUs min 2, memory min 4, max 8", "vCPUs min 4, memory min 4, max 8")
    sent = merged(body, definition_body(other, image(), Traits()), [found.name])
    assert sent["recommended"] == {"vCPUs": {"min": 4}, "memory": {"min": 4, "max": 8}}


@given(st.datetimes().filter(lambda moment: moment.year >= 1970))
def test_a_moment_is_the_same_however_it_is_written(moment: Any) -> None:
    moment = moment.replace(microsecond=0)
    assert same_moment(f"{moment:%Y-%m-%dT%H:%M:%S}Z", f"{moment:%Y-%m-%dT%H:%M:%S}.0000000+00:00")
    assert not same_moment(f"{moment:%Y-%m-%dT%H:%M:%S}Z", None)
