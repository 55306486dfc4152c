"""Tests of a version that stands at several destinations: a VM is made of what VMs are made of, and all say the end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from builder.azure.ids import group_id
from builder.errors import BuildError
from builder.model.observed import VersionState
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.azure.blobs import ACCOUNT, KEY
from tests.integration.azure.building import GALLERY, Build

CHECKS = "test:\n  - provision: {}\n  - run: test -f /etc/made\n"
STANDARD = "{location: westeurope, security: {type: Standard}}"


@pytest.fixture
def build(azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    return Build(tmp_path, azure_with_blobs, monkeypatch)


def write(build: Build, *destinations: str, make: bool) -> None:
    blobs = build.simulator.blobs
    assert blobs is not None
    container = f"c{hashlib.sha256(str(build.root).encode()).hexdigest()[:20]}"
    spellings = {
        "gallery": GALLERY,
        "managedImage": "{resourceGroup: images}",
        "snapshot": "{resourceGroup: images}",
        "blob": f"{{account: {ACCOUNT}, container: {container}, endpoint: '{blobs.endpoint}'}}",
    }
    to = ", ".join(f"{{{name}: {spellings[name]}}}" for name in destinations)
    prepare = "prepare:\n  - run: touch /etc/made\n" if make else ""
    build.write(prepare + CHECKS, machine=STANDARD, publish=f"{{to: [{to}]}}")


@pytest.mark.parametrize("destinations", [("blob",), ("snapshot",), ("blob", "snapshot")])
def test_what_no_vm_is_made_of_can_not_be_tested(build: Build, destinations: tuple[str, ...]) -> None:
    write(build, *destinations, make=True)
    image = build.decided()

    assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "untestable")


def states(build: Build) -> dict[str, str]:
    """What each resource in the destinations' group says of its tests."""
    group = group_id(build.azure.subscription, "images")
    found = [
        *build.azure.list(group, "Microsoft.Compute/images"),
        *build.azure.list(group, "Microsoft.Compute/snapshots"),
    ]
    found.append(build.version)
    return {body["type"].rpartition("/")[2]: body["tags"]["build-state"] for body in found}


def test_a_vm_is_made_of_the_gallery_s_version_wherever_that_stands_in_the_list(build: Build) -> None:
    write(build, "blob", "snapshot", "gallery", "managedImage", make=True)

    assert build.apply().version == "1.0.0"
    assert states(build) == {"images": "promoted", "snapshots": "promoted", "versions": "promoted"}
    assert build.decided().action == Action.NONE


def test_a_failed_test_is_told_by_all_and_what_can_not_tell_it_hides_nothing(build: Build) -> None:
    write(build, "gallery", "blob", "snapshot", "managedImage", make=False)
    build.simulator.faults.add(Fault("PATCH Microsoft.Compute/images", "refuse", code="ScopeLocked", times=9))
    with pytest.raises(BuildError, match="run test -f /etc/made") as caught:
        build.apply()

    assert caught.value.code == "test-failed"
    assert states(build) == {"images": "held", "snapshots": "failed", "versions": "failed"}
    assert ["could not be marked as failed" in message for message in build.warnings] == [True]
    (blob,) = [found for found in build.destinations() if found.kind == "blob"]
    (version,) = blob.observe(build.image).versions
    assert version.manifest is not None
    assert [test["passed"] for test in version.manifest.tests] == [True, True, False]
    assert version.state == VersionState.HELD


SURROUNDINGS = (
    ("Microsoft.Network/networkInterfaces", "fail", 2, 1, "SubnetIsFull", "no addresses"),
    ("Microsoft.Compute/virtualMachines", "refuse", 2, 9, "QuotaExceeded", "exceeding approved Cores quota"),
    ("Microsoft.Compute/virtualMachines", "refuse", 2, 9, "Conflict", "refused for good"),
    ("Microsoft.Compute/virtualMachines", "refuse", 2, 9, "RequestDisallowedByPolicy", "no VMs here"),
    ("Microsoft.Compute/virtualMachines", "fail", 2, 9, "OverconstrainedAllocationRequest", "no room"),
    ("Microsoft.Compute/virtualMachines", "hang", 2, 1, "", "never ends"),
)


@pytest.mark.parametrize(("kind", "fault", "nth", "times", "code", "message"), SURROUNDINGS)
def test_what_keeps_a_vm_from_being_made_is_no_failed_test(
    build: Build, kind: str, fault: Any, nth: int, times: int, code: str, message: str
) -> None:
    write(build, "gallery", make=True)
    build.simulator.faults.add(Fault(f"PUT {kind}", fault, nth=nth, times=times, code=code, message=message))
    with pytest.raises(BuildError, match=code or "Azure needs more than") as caught:
        build.apply()

    assert caught.value.code == ("azure-error" if code else "azure-timeout")
    assert "the version stands, held back until its tests have run: the same apply" in (caught.value.hint or "")
    assert states(build) == {"versions": "held"}
    (version,) = build.destinations()[0].observe(build.image).versions
    assert version.manifest is not None
    assert version.manifest.tests == ()
    build.simulator.faults.clear()
    build.simulator.clock.advance(7200)
    made = len(build.simulator.traffic.pairs)
    assert build.decided().action == Action.PUBLISH
    assert build.apply().version == "1.0.0"
    assert states(build) == {"versions": "promoted"}
    vms = [pair.url.partition("?")[0].rpartition("/")[2] for pair in build.simulator.traffic.pairs[made:]
           if pair.operation == "PUT Microsoft.Compute/virtualMachines"]  # fmt: skip
    assert vms == ["build-test"]


@pytest.mark.parametrize("code", ["OSProvisioningTimedOut", "OSProvisioningClientError", "InvalidVhd"])
def test_a_version_that_azure_can_not_start_has_failed_its_tests(build: Build, code: str) -> None:
    write(build, "gallery", make=True)
    build.simulator.faults.add(Fault("PUT Microsoft.Compute/virtualMachines", "fail", nth=2, times=9, code=code))
    with pytest.raises(BuildError, match=code) as caught:
        build.apply()

    assert caught.value.code == "test-failed"
    assert states(build) == {"versions": "failed"}


def test_a_vm_that_stays_after_its_tests_is_in_no_version_s_way(build: Build) -> None:
    write(build, "gallery", make=True)
    build.simulator.faults.add(
        Fault("DELETE Microsoft.Compute/virtualMachines", "refuse", code="Conflict", message="for good", times=99)
    )
    assert build.apply().version == "1.0.0"
    assert states(build) == {"versions": "promoted"}
    (warning,) = [message for message in build.warnings if "/virtualMachines/build-test could not" in message]
    assert "for good" in warning
    assert "`build gc` removes" in warning
