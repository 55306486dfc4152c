"""Who may write to a storage account: a signature in the address, the account's key, or the signed-in identity.

Addresses may come from a spec, keys and identities never do: a token goes to the storage of the cloud that it is made
out for and nowhere else, a key to its own account there, or to an emulator on this host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit, urlunsplit

from builder.azure.blobs import PageBlob, Retry
from builder.azure.clouds import Cloud, is_loopback
from builder.azure.sdk import STORAGE, load
from builder.errors import BuildError

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
    from azure.storage.blob import ContainerClient

# azure-cli's names
ACCOUNT = "AZURE_STORAGE_ACCOUNT"
KEY = "AZURE_STORAGE_KEY"


def page_blob(
    url: str,
    *,
    cloud: Cloud,
    login: TokenCredential,
    environment: Mapping[str, str],
    renew: Callable[[], str] | None = None,
    retry: Retry | None = None,
    stop: threading.Event | None = None,
) -> PageBlob:
    """The page blob at `url`, with what gives access to it. Its container is made if it isn't there.

    Raises BuildError ("blob-address" for an address that no credential may be sent to; those of the blob).
    """
    credential = credential_for(url, cloud=cloud, login=login, environment=environment)
    if credential is not None:
        _make_container(url, credential, cloud)
    return PageBlob(url, credential=credential, renew=renew, retry=retry, stop=stop, ca=cloud.ca_file)


def credential_for(
    url: str, *, cloud: Cloud, login: TokenCredential, environment: Mapping[str, str]
) -> TokenCredential | AzureNamedKeyCredential | None:
    """What to sign requests to `url` with; None when its own signature does. Raises BuildError ("blob-address")."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise _refused(parts.hostname, "is not spoken to over https", "begin the address with https://")
    if "sig" in parse_qs(parts.query):
        return None
    ours = host.endswith(f".blob.{cloud.storage_suffix}")
    if (ours or is_loopback(host)) and environment.get(ACCOUNT) == account_of(url) and environment.get(KEY):
        load(STORAGE)
        from azure.core.credentials import AzureNamedKeyCredential

        return AzureNamedKeyCredential(environment[ACCOUNT], environment[KEY])
    if ours and parts.scheme == "https":
        return login
    raise _refused(
        host,
        f"is no storage of {cloud.name}: no token is sent there",
        f"use https://<account>.blob.{cloud.storage_suffix}, or {ACCOUNT} and {KEY}, or an address with a signature",
    )


def account_of(url: str) -> str:
    """The account's name: the host's first part; the path's on loopback, where emulators are."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.path.split("/")[1] if is_loopback(host) and "/" in parts.path else host.split(".")[0]


def _make_container(url: str, credential: TokenCredential | AzureNamedKeyCredential, cloud: Cloud) -> None:
    load(STORAGE)
    from azure.core.exceptions import AzureError
    from azure.storage.blob import ContainerClient

    parts = urlsplit(url)
    depth = 2 if is_loopback(parts.hostname or "") else 1
    path = "/".join(parts.path.split("/")[: depth + 1])
    address = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    verify = str(cloud.ca_file) if cloud.ca_file is not None else True
    try:
        with ContainerClient.from_container_url(address, credential=credential, connection_verify=verify) as client:
            ensure_container(client)
    except AzureError as error:
        raise BuildError(
            f"the container {path.lstrip('/')} can't be looked at or made",
            code="blob-forbidden",
            hint="give the signed-in identity the role Storage Blob Data Contributor, or make the container",
            detail=str(error.message),
        ) from error


def ensure_container(client: ContainerClient) -> None:
    """Make the container where it is missing.

    Raises the SDK's AzureError, and BuildError ("container-being-deleted") while its name is still taken by one that
    was deleted.
    """
    from azure.core.exceptions import ResourceExistsError

    if client.exists():
        return
    try:
        client.create_container()
    except ResourceExistsError as error:
        if getattr(error, "error_code", None) == "ContainerBeingDeleted":
            raise BuildError(
                f"the container {client.container_name} is being deleted, and its name is taken until that is done",
                code="container-being-deleted",
                hint="apply again in a minute, or name another container",
            ) from error
        # Else another run made it in between


def _refused(host: str | None, why: str, hint: str) -> BuildError:
    return BuildError(f"the host {host} {why}", code="blob-address", hint=hint)
