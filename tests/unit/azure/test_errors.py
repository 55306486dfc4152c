from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.azure.errors import ERROR_CLASSES, AzureError, NotFound, Remedy, azure_error, error_class, masked

R, W, C, A = Remedy.RETRY, Remedy.WAIT, Remedy.CHANGE, Remedy.ADOPT
CLASSES = (
    (429, "TooManyRequests", "", R, ""),
    (429, "OperationNotAllowed", "The request is being throttled", R, "too often"),
    (429, "RetryableErrorDueToAnotherOperation", "", R, ""),
    (409, "AnotherOperationInProgress", "", W, "wait for its end"),
    (409, "ResourceGroupBeingDeleted", "", W, "being deleted"),
    (409, "DeploymentActiveAndUneditable", "", W, "deployed to"),
    (409, "Conflict", "Operation 'Update Gallery Image Version' is not allowed: marked for deletion", W, "deleted"),
    (500, "InternalServerError", "", R, "inside Azure"),
    (200, "NetworkingInternalOperationError", "", R, "inside Azure"),
    (503, "Http503", "<html>", R, "inside Azure"),
    (200, "AllocationFailed", "", C, "machine.azure.size"),
    (200, "ZonalAllocationFailed", "", C, "machine.azure.size"),
    (200, "OverconstrainedAllocationRequest", "", C, "machine.azure.size"),
    (409, "SkuNotAvailable", "", C, "machine.azure.size"),
    (400, "InvalidTemplateDeployment", "failed: SkuNotAvailable", C, "machine.azure.size"),
    (409, "OperationNotAllowed", "results in exceeding approved Total Regional Cores quota.", C, "families"),
    (409, "QuotaExceeded", "exceeding approved standardDSv5Family vCPUs quota", C, "other families"),
    (409, "OperationNotAllowed", "Creation of managed images are not supported for virtual machine with"
     " TrustedLaunch", C, "gallery"),
    (409, "OperationNotAllowed", "The VM is running", C, ""),
    (200, "OSProvisioningTimedOut", "", C, "generalized"),
    (400, "MarketplacePurchaseEligibilityFailed", "", C, "az vm image terms accept"),
    (400, "VMMarketplaceInvalidInput", "", C, "purchase plan"),
    (409, "PropertyChangeNotAllowed", "", C, "new version"),
    (403, "RequestDisallowedByPolicy", "", C, "policy"),
    (403, "AuthorizationFailed", "", C, "role"),
    (403, "LinkedAuthorizationFailed", "", C, "role"),
    (400, "NicInUse", "", W, "VM, then network interface"),
    (409, "DeleteGalleryImageVersionBlockedBeforeEndOfLife", "", C, "end of life"),
    (400, "BadRequest", "The VM size 'x' cannot boot with OS image or disk. Please check that disk controller types", C,
     "disk controller"),
    (409, "Conflict", "Gallery image version 1.0.0 is in failed state", A, "deleted before"),
    (404, "SubscriptionNotFound", "", C, "AZURE_SUBSCRIPTION_ID"),
    (418, "SomethingNew", "", C, ""),
)  # fmt: skip


@pytest.mark.parametrize(("code", "message"), [
    ("QuotaExceeded", "The maximum number of snapshots is reached"), ("ResourceQuotaExceeded", "PremiumDiskCount"),
    ("OperationNotAllowed", "exceeding approved StandardSSDStorageSnapshots quota"), ("PublicIPCountLimitReached", ""),
])  # fmt: skip
def test_sizes_are_advised_against_a_lack_of_cores_alone(code: str, message: str) -> None:
    found = azure_error("make snapshots/s", 409, {"error": {"code": code, "message": message}})

    assert found.hint == "free quota in this location, or ask for more (portal: Quotas)"


@pytest.mark.parametrize(("status", "code", "message", "remedy", "hint"), CLASSES)
def test_classes(status: int, code: str, message: str, remedy: Remedy, hint: str) -> None:
    found = azure_error("make disks/d", status, {"error": {"code": code, "message": message}})

    assert found.remedy is remedy
    assert hint in (found.hint or "")
    assert bool(hint) <= bool(found.hint)
    assert found.azure_code == code
    assert found.status == status


def test_every_row_of_the_table_can_be_reached() -> None:
    for row in ERROR_CLASSES:
        if row.code == ".*" or row.message:
            continue
        assert error_class(row.status or 409, row.code.split("|")[0], "") is row


def test_an_error_inside_frames_is_the_one_that_counts() -> None:
    inner = {"code": "SkuNotAvailable", "message": "not here", "target": "vm"}
    frames = {
        "code": "InvalidTemplateDeployment",
        "message": "see details",
        "details": [{"code": "ResourceDeploymentFailure", "message": "no", "details": [inner]}],
    }
    found = azure_error("make virtualMachines/v", 400, {"error": frames})

    assert found.azure_code == "SkuNotAvailable"
    assert "SkuNotAvailable: not here" in found.message
    assert found.detail is not None and found.detail.splitlines() == [
        "InvalidTemplateDeployment: see details",
        "  ResourceDeploymentFailure: no",
        "    SkuNotAvailable: not here",
    ]


def test_an_error_hidden_in_a_message_is_found() -> None:
    hidden = json.dumps({"error": {"code": "AllocationFailed", "message": "no room"}})
    found = azure_error("make x/y", 200, {"error": {"code": "Conflict", "message": hidden}}, failed=True)

    assert (found.azure_code, found.remedy) == ("AllocationFailed", Remedy.CHANGE)
    assert found.message.startswith("Azure failed to make x/y: AllocationFailed")


def test_policies_are_named() -> None:
    info = {"policyDefinitionDisplayName": "Need a cost tag", "policyAssignmentName": "corp"}
    error = {"code": "RequestDisallowedByPolicy", "message": "no", "additionalInfo": [
        {"type": "PolicyViolation", "info": info}, {"type": "Other", "info": {}}]}  # fmt: skip
    found = azure_error("make disks/d", 403, {"error": error})

    assert "Need a cost tag (assigned as corp)" in found.message
    assert "policy: Need a cost tag" in (found.detail or "")


BODIES = (
    (None, "Http404"),
    ("<html><body>Bad gateway</body></html>", "Http404"),
    ({"error": "invalid_client", "error_description": "why"}, "invalid_client"),
    ({"code": "Flat", "message": "m"}, "Flat"),
    ({"error": {"message": "no code"}}, "Http404"),
    ({"error": {"code": None, "details": "nonsense", "additionalInfo": {}}}, "Http404"),
)


@pytest.mark.parametrize(("body", "code"), BODIES)
def test_any_shape_of_body_is_taken(body: object, code: str) -> None:
    found = azure_error("read disks/d", 404, body)

    assert isinstance(found, NotFound)
    assert found.azure_code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["error", "code", "message", "details", "additionalInfo", "info", "type", "target"]), inner
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.integers(min_value=400, max_value=599), JSON)
def test_no_body_breaks_the_reading_of_errors(status: int, body: object) -> None:
    assert isinstance(azure_error("read x/y", status, body), AzureError)


def test_signed_addresses_are_masked() -> None:
    poll = "https://management.azure.com/subscriptions/s/operations/o?p=1&t=2&c=" + "M" * 3000 + "&s=abc&h=d"
    disk = "https://md-1.blob.core.windows.net/x/abcd?sv=2018-03-28&sr=b&sig=" + "aB%2F" * 10
    text = masked(f"see {poll} and {disk}, both")

    assert text == (
        "see https://management.azure.com/subscriptions/s/operations/o?(masked) and "
        "https://md-1.blob.core.windows.net/x/abcd?sv=2018-03-28&sr=b&sig=(masked), both"
    )
    assert masked("c=1 and s=2 are short") == "c=1 and s=2 are short"
