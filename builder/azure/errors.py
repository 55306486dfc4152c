"""What Azure refuses, as a table: whether to try again, to wait, to change something, or to take what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from builder.errors import BuildError, Unreachable


class Remedy(StrEnum):
    """What helps against an error."""

    RETRY = "retry"  # the same call again, after a while, a bounded number of times
    WAIT = "wait"  # something else goes on there; its end makes the call possible
    CHANGE = "change"  # nothing but a change of the spec, the subscription or its rights
    ADOPT = "adopt"  # what an earlier run left is there: take it over, or remove it and go on


@dataclass(frozen=True)
class ErrorClass:
    """A row. `code` and `message` are regular expressions for the whole code and for a part of the message."""

    code: str
    remedy: Remedy
    hint: str = ""
    message: str = ""
    status: int = 0

    def matches(self, status: int, code: str, message: str) -> bool:
        """Whether an error belongs to this row."""
        return (
            (not self.status or status == self.status)
            and re.fullmatch(self.code, code, re.IGNORECASE) is not None
            and (not self.message or re.search(self.message, message, re.IGNORECASE) is not None)
        )


_CORES = "free quota in this location, ask for more (portal: Quotas), or list sizes of other families in the spec"
_QUOTA = "free quota in this location, or ask for more (portal: Quotas)"
_CAPACITY = "list more sizes in machine.azure.size, or build in another location or zone"
_RIGHTS = "give the signed-in identity a role on that scope that has the action; a new role needs some minutes"
_PLAN = "the image has a purchase plan: its publisher, product and name have to go along with what is made from it"

# The first row that matches counts. Codes and their meaning: Azure Resource Manager's documentation of common errors
# and of request limits, the gallery's troubleshooting pages, and reports of other builders' users
ERROR_CLASSES: tuple[ErrorClass, ...] = (
    ErrorClass("RetryableErrorDueToAnotherOperation", Remedy.RETRY),
    ErrorClass("AnotherOperationInProgress|OperationPreempted|PreviousOperationNotFinished", Remedy.WAIT,
               "another operation on the same resource goes on; wait for its end"),
    ErrorClass("ConflictingConcurrentWriteNotAllowed|ConcurrentUpdateError", Remedy.WAIT,
               "something else writes to the same resource; wait for its end"),
    ErrorClass("ResourceGroupBeingDeleted|ResourceGroupDeletionBlocked|DeploymentActiveAndUneditable", Remedy.WAIT,
               "the resource group is being deleted or deployed to; wait for that to end"),
    ErrorClass("OperationNotAllowedOnVMImageAsVMsBeingProvisioned", Remedy.WAIT,
               "VMs are being made from this version; try again when they stand"),
    ErrorClass(".*", Remedy.WAIT, "an older version of that name is still being deleted; try again later",
               message="marked for deletion"),
    ErrorClass(".*", Remedy.RETRY, "the source is copied too often at once; try again later",
               message="too many requests on source"),
    ErrorClass("NicInUse|InUse\\w*CannotBeDeleted|AttachedDiskCannotBeDeleted|DiskInUse|NetworkSecurityGroupInUse\\w*",
               Remedy.WAIT, "what uses it has to go first: VM, then network interface, then network and disks"),
    ErrorClass("MissingSubscriptionRegistration|SubscriptionNotRegistered", Remedy.CHANGE,
               "register the resource provider in the subscription: az provider register --namespace <provider>"),
    ErrorClass("SkuNotAvailable|(Zonal)?AllocationFailed|Overconstrained(Zonal)?AllocationRequest|AllocationTimeout|"
               "SpotEvicted", Remedy.CHANGE, _CAPACITY),
    ErrorClass(".*", Remedy.CHANGE, _CAPACITY,
               message="SkuNotAvailable|requested (VM )?size .* is (currently )?not available"),
    ErrorClass("(Resource)?QuotaExceeded|OperationNotAllowed", Remedy.CHANGE, _CORES,
               message=r"\b(cores|vCPUs?)\b.*quota|quota.*\b(cores|vCPUs?)\b"),
    ErrorClass("ResourceQuotaExceeded|QuotaExceeded|PublicIPCountLimitReached", Remedy.CHANGE, _QUOTA),
    ErrorClass("OperationNotAllowed", Remedy.CHANGE, _QUOTA, message="quota|exceeding approved"),
    ErrorClass("OperationNotAllowed", Remedy.CHANGE,
               "managed images hold neither Trusted Launch nor Arm64 machines: publish to a gallery",
               message="creation of managed images? .*not supported"),
    ErrorClass("DeploymentQuotaExceeded", Remedy.CHANGE, "delete old deployments of the resource group (at most 800)"),
    ErrorClass("OSProvisioningTimedOut|OSProvisioningClientError|OSProvisioningInternalError", Remedy.CHANGE,
               "the source may not be generalized, or has no working agent; a specialized source says so in the spec"),
    ErrorClass("MarketplacePurchaseEligibilityFailed|ResourcePurchaseValidationFailed", Remedy.CHANGE,
               "accept the image's terms: az vm image terms accept --publisher <name> --offer <name> --plan <name>"),
    ErrorClass("VMMarketplaceInvalidInput|PurchasePlanNotProvided|PlanInfoNotProvided", Remedy.CHANGE, _PLAN),
    ErrorClass("PropertyChangeNotAllowed", Remedy.CHANGE, "Azure can't change that in place: make a new version"),
    ErrorClass("RequestDisallowedByPolicy|RequestDisallowedByAzure", Remedy.CHANGE,
               "a policy of the subscription forbids it; often missing tags, a location, or public network access"),
    ErrorClass("AuthorizationFailed|LinkedAuthorizationFailed|AuthorizationPermissionMismatch", Remedy.CHANGE, _RIGHTS),
    ErrorClass("ScopeLocked", Remedy.CHANGE, "a lock protects it: az lock list shows which"),
    ErrorClass("DeleteGalleryImageVersionBlockedBeforeEndOfLife", Remedy.CHANGE,
               "the version's safety profile keeps it until its end of life"),
    ErrorClass(".*", Remedy.CHANGE, "choose a size that has the image's disk controller, or the other way round",
               message="cannot boot with OS image or disk"),
    ErrorClass(".*", Remedy.CHANGE, "a vault of that name was deleted softly: purge it, or take another name",
               message="soft.?deleted"),
    ErrorClass(".*", Remedy.ADOPT,
               "the version failed earlier: it has to be deleted before it is published again",
               message="gallery image version .*failed state"),
    ErrorClass("SubscriptionNotFound|InvalidSubscriptionId", Remedy.CHANGE,
               "look at AZURE_SUBSCRIPTION_ID, and whether the signed-in identity may see that subscription"),
    ErrorClass("InvalidAuthenticationTokenTenant", Remedy.CHANGE,
               "the token is from another tenant than the subscription's: az login --tenant <tenant>"),
    ErrorClass("InvalidAuthenticationToken|AuthenticationFailed|ExpiredAuthenticationToken", Remedy.CHANGE,
               "sign in again, for example by az login"),
    ErrorClass(".*", Remedy.RETRY, "Azure is asked too often; try again later", status=429),
    ErrorClass("InternalServerError|InternalError|InternalOperationError|NetworkingInternalOperationError|"
               "InternalExecutionError|ServerTimeout|GatewayTimeout|ServerBusy|ServiceUnavailable|RequestTimeout",
               Remedy.RETRY, "a fault inside Azure; try again, and look at https://status.azure.com"),
    *(ErrorClass(".*", Remedy.RETRY, "a fault inside Azure; try again", status=status)
      for status in (408, 500, 502, 503, 504)),
)  # fmt: skip
UNKNOWN = ErrorClass(".*", Remedy.CHANGE)
# Frames without a meaning of their own: what is inside counts
_FRAMES = frozenset({
    "deploymentfailed", "invalidtemplatedeployment", "resourcedeploymentfailure", "multipleerrorsoccurred",
    "badrequest", "conflict",
})  # fmt: skip
_LONG_QUERY = re.compile(r"(https?://[^\s\"'?]+)\?[^\s\"',]{200,}")
_SIGNATURE = re.compile(r"\b(sig|s|c|h)=[^&\s\"',]{20,}", re.IGNORECASE)


def error_class(status: int, code: str, message: str) -> ErrorClass:
    """The row of an error: its HTTP status (200 for a failed operation), code and message."""
    return next((row for row in ERROR_CLASSES if row.matches(status, code, message)), UNKNOWN)


def masked(text: str) -> str:
    """Text without signed queries: who has such an address can poll the operation, or read the disk."""
    return _SIGNATURE.sub(r"\1=(masked)", _LONG_QUERY.sub(r"\1?(masked)", text))


@dataclass(frozen=True)
class Fault:
    """An error as Azure describes it. `inner` are its details, `policies` the names of policies that forbade it."""

    code: str
    message: str
    target: str = ""
    inner: tuple[Fault, ...] = ()
    policies: tuple[str, ...] = ()

    @property
    def meant(self) -> Fault:
        """The error that matters: the first inside frames such as DeploymentFailed."""
        if self.inner and self.code.lower() in _FRAMES:
            return self.inner[0].meant
        return self

    def lines(self, indent: str = "") -> Iterator[str]:
        """The whole as text, one line an error."""
        yield f"{indent}{self.code}: {self.message}"
        yield from (f"{indent}  policy: {name}" for name in self.policies)
        for fault in self.inner:
            yield from fault.lines(indent + "  ")


def fault_of(status: int, body: object) -> Fault:
    """What an answer's body says went wrong; any shape is taken, since a proxy's HTML comes here too."""
    if isinstance(body, Mapping):
        error = body.get("error", body)
        if isinstance(error, Mapping):
            return _fault(error, f"Http{status}")
        return Fault(str(error), str(body.get("error_description", "")))
    text = re.sub(r"<[^>]*>|\s+", " ", str(body or "")).strip()
    return Fault(f"Http{status}", text[:300] or "the answer has no body")


def _fault(error: Mapping[str, Any], code: str, depth: int = 0) -> Fault:
    details = error.get("details")
    inner = [_fault(item, code, depth + 1) for item in details if isinstance(item, Mapping)] \
        if isinstance(details, list) and depth < 5 else []  # fmt: skip
    message = str(error.get("message") or "")
    if not inner and message.lstrip().startswith("{") and depth < 5:
        # Deployments put the inner error's JSON into the message
        try:
            found = json.loads(message)
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("error", found), Mapping):
            inner = [_fault(found.get("error", found), code, depth + 1)]
    return Fault(
        str(error.get("code") or code), message, str(error.get("target") or ""), tuple(inner), tuple(_policies(error))
    )


def _policies(error: Mapping[str, Any]) -> Iterator[str]:
    infos = error.get("additionalInfo")
    for item in infos if isinstance(infos, list) else []:
        info = item.get("info") if isinstance(item, Mapping) and item.get("type") == "PolicyViolation" else None
        if isinstance(info, Mapping):
            definition = info.get("policyDefinitionDisplayName") or info.get("policyDefinitionName") or "?"
            assignment = info.get("policyAssignmentDisplayName") or info.get("policyAssignmentName") or "?"
            yield f"{definition} (assigned as {assignment})"


class AzureError(BuildError):
    """Azure refused a call, or an operation failed.

    `azure_code` is Azure's own word ("SkuNotAvailable"), of the innermost error that means something; `status` the
    HTTP status (200 when an accepted operation failed later); `remedy` what would help.
    """

    def __init__(
        self, message: str, *, azure_code: str = "", status: int = 0, remedy: Remedy = Remedy.CHANGE,
        code: str = "azure-error", hint: str | None = None, detail: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(masked(message), code=code, hint=hint, detail=masked(detail) if detail else None)
        self.azure_code = azure_code
        self.status = status
        self.remedy = remedy


class LoginFailed(AzureError, Unreachable):
    """Nobody could sign in. `detail` has every way that was tried, and why it failed."""

    def __init__(self, message: str, *, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, code="azure-login", hint=hint, detail=detail)


class NotFound(AzureError):
    """There is no such resource, or the signed-in identity may not see it."""


def azure_error(doing: str, status: int, body: object, *, failed: bool = False) -> AzureError:
    """The error for an answer. `doing` is what was asked ("make disks/d"); `failed`: after it was accepted."""
    whole = fault_of(status, body)
    meant = whole.meant
    row = error_class(status, meant.code, meant.message)
    text = f"Azure {'failed' if failed else 'refused'} to {doing}: {meant.code}: {meant.message}".rstrip(": ")
    policies = [name for fault in (whole, meant) for name in fault.policies]
    if policies:
        text += f" (policy: {', '.join(dict.fromkeys(policies))})"
    kind = NotFound if status == 404 and not failed else AzureError
    return kind(
        text,
        azure_code=meant.code,
        status=status,
        remedy=row.remedy,
        code="azure-not-found" if kind is NotFound else "azure-error",
        hint=row.hint or None,
        detail="\n".join(whole.lines()) if whole.inner or whole.policies else None,
    )
