"""What storage's refusals mean: which may go well on a second try, and what a person can do about the others.

Source: "Common REST API error codes" and "Blob service error codes" of Azure's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.errors import BuildError, Locked

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

# Codes of our errors: the service doesn't know an operation (an emulator); it can't read what it should copy
UNSUPPORTED = "blob-unsupported"
UNREADABLE_SOURCE = "copy-source"
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
# A range that arrived spoilt
_SPOILT_CODE = "Md5Mismatch"
# It is the source's signature that isn't accepted, not ours
_SOURCE_CODE = "CannotVerifyCopySource"
_LEASE_CODES = frozenset(
    {"LeaseIdMissing", "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithLeaseOperation", "LeaseLost",
     "LeaseAlreadyPresent", "LeaseNotPresentWithBlobOperation", "LeaseIsBrokenAndCannotBeRenewed"}
)  # fmt: skip
_TAKEN_CODES = ("BlobAlreadyExists", "LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired")
# What Azure's codes mean for a person: (our code, what is wrong, what to do)
_MEANINGS = {
    "ContainerNotFound": ("container-missing", "its container doesn't exist", "create it, or check the name"),
    "BlobNotFound": ("blob-missing", "it doesn't exist", "was it removed? begin again"),
    "AuthorizationPermissionMismatch": (
        "blob-forbidden", "this account may not do that", "give it the role Storage Blob Data Contributor",
    ),
    "AuthorizationFailure": (
        "blob-forbidden", "the storage account refuses this network or account",
        "allow this address in the storage account's firewall",
    ),
    "AuthenticationFailed": (
        "blob-forbidden", "its key, token or signature isn't accepted", "did it end? is this clock right?",
    ),
    "KeyBasedAuthenticationNotPermitted": (
        "blob-forbidden", "the storage account allows no keys", "sign in with an account of Entra ID",
    ),
    "InvalidBlobType": (
        "blob-exists", "older versions of it, which the account keeps, are of another type", "choose another name",
    ),
    "ContainerBeingDeleted": (
        "container-being-deleted", "its container is being deleted", "begin again in a minute",
    ),
    "AccountIsDisabled": ("blob-forbidden", "the storage account is disabled", "is the subscription in order?"),
    "AccountLimitExceeded": ("quota", "the storage account is full", "use another one"),
}  # fmt: skip


def blob_error(name: str, error: AzureError, *, attempts: int, secret: str) -> BuildError:
    """What a person is told of a refusal that stays one: Locked, or a BuildError with the code of what is wrong.

    `name` says which blob it is; `secret` is the signature in its address, which no message may show.
    """
    code = _code(error)
    detail = str(error.message or error)
    if secret:
        detail = detail.replace(secret, "(secret)")
    if code in _LEASE_CODES:
        return Locked(
            f"{name} was taken by another upload",
            code="locked",
            hint="wait for it to end, then begin again",
            detail=detail,
        )
    if _status(error) == 501 or code == "UnsupportedHeader":
        return BuildError(f"{name} can't do that: the service doesn't know it", code=UNSUPPORTED)
    if code == _SOURCE_CODE:
        return BuildError(
            f"{name} can't be copied to: the service can't read the source", code=UNREADABLE_SOURCE, detail=detail
        )
    kind, why, hint = _MEANINGS.get(code, ("blob-failed", code or "the service can't be reached", "begin again"))
    times = f" ({attempts} attempts)" if attempts > 1 else ""
    return BuildError(f"{name}: {why}{times}", code=kind, hint=hint, detail=detail)


def is_missing(error: AzureError) -> bool:
    """Whether the blob doesn't exist, in a container that does."""
    return _status(error) == 404 and _code(error) != "ContainerNotFound"


def is_taken(error: AzureError) -> bool:
    """Whether there is such a blob or lease already."""
    return _status(error) == 409 and _code(error) in _TAKEN_CODES


def is_unsigned(error: AzureError) -> bool:
    """Whether the signature or token of the call isn't accepted (or no longer)."""
    return _status(error) in (401, 403) and _code(error) != _SOURCE_CODE


def is_transient(error: AzureError) -> bool:
    """Whether the same call may go well: the service was busy, the connection failed, or data was lost on the way."""
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    if isinstance(error, HttpResponseError):
        # Without a status: the answer broke off, and did so again each time that the SDK asked
        return _status(error) is None or _status(error) in _TRANSIENT or _code(error) == _SPOILT_CODE
    return isinstance(error, ServiceRequestError | ServiceResponseError)


def asked_pause(error: AzureError) -> float | None:
    """The seconds that the service asks to wait."""
    asked = _header(error, "Retry-After")
    return float(asked) if asked.isdigit() else None


def _status(error: AzureError) -> int | None:
    return getattr(error, "status_code", None)


def _code(error: AzureError) -> str:
    """The service's word for what went wrong; answers to HEAD have it in a header alone."""
    found: Any = getattr(error, "error_code", None)
    return str(getattr(found, "value", found) or _header(error, "x-ms-error-code"))


def _header(error: AzureError, name: str) -> str:
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    return headers.get(name, "")
