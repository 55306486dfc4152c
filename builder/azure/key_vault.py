"""Secrets of Azure Key Vault, read by the signed-in identity at the moment that they are used, and kept nowhere.

An address comes from a spec: a token goes to vaults of the cloud that it is made out for and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder.azure.clouds import Cloud
from builder.azure.errors import AzureError, azure_error
from builder.azure.sdk import CORE, load
from builder.errors import BuildError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

# The oldest that is still taken (REST reference of Key Vault, "Get Secret")
API_VERSION = "7.4"
TIMEOUT_SECONDS = 30
TRIES = 4
_HINTS = {
    401: "is the vault in the tenant that you are signed in to?",
    403: "give the signed-in identity the role Key Vault Secrets User on the vault (or get, in its access policies), "
    "and let the vault's firewall pass this host",
    404: "look at the secret's name and version, and whether it was deleted",
}


def check_address(address: str, cloud: Cloud) -> None:
    """Raise BuildError ("vault-address") unless the address is that of a vault in this cloud."""
    parts = urlsplit(address)
    suffix = f".{cloud.vault_suffix}"
    name = (parts.hostname or "").removesuffix(suffix)
    plain = parts.scheme == "https" and parts.netloc == parts.hostname and not parts.query and not parts.fragment
    if not plain or not (parts.hostname or "").endswith(suffix) or not name or "." in name:
        raise BuildError(
            f"{parts.netloc or address} is no vault of {cloud.name}: no token is sent there",
            code="vault-address",
            hint=f"write https://<vault>{suffix}/secrets/<name>",
        )


def read_secret(address: str, *, cloud: Cloud, login: TokenCredential) -> str:
    """The value of the secret at `address`: https://<vault>.<suffix>/secrets/<name>, with or without /<version>.

    Raises BuildError ("vault-address"), AzureError when the vault refuses or nobody is signed in, and AzureError
    ("vault-unreachable") when it doesn't answer.
    """
    load(CORE)
    from azure.core.exceptions import AzureError as SdkError
    from azure.core.rest import HttpRequest

    check_address(address, cloud)
    shown = address.removeprefix("https://")
    with _client(cloud, login) as client:
        try:
            answer = client.send_request(HttpRequest("GET", address.rstrip("/"), params={"api-version": API_VERSION}))
        except SdkError as error:
            raise AzureError(
                f"the vault at {urlsplit(address).hostname} can't be asked: {error}",
                code="vault-unreachable",
                hint="look at the vault's name, and at the way to the network",
            ) from error
        body = _json(answer)
    if answer.status_code != 200:
        refused = azure_error(f"read the secret {shown}", answer.status_code, body)
        refused.hint = _HINTS.get(answer.status_code, refused.hint)
        raise refused
    if not isinstance(body, dict) or not isinstance(body.get("value"), str):
        raise AzureError(f"the vault's answer for {shown} holds no secret", code="azure-answer")
    return str(body["value"])


def _json(answer: Any) -> object:  # noqa: ANN401 (the SDK's own type)
    try:
        found: object = answer.json()
    except ValueError:
        found = answer.text()
    return found


def _client(cloud: Cloud, login: TokenCredential) -> Any:  # noqa: ANN401 (the SDK is loaded lazily)
    """A client that follows no redirection and logs nothing."""
    from azure.core import PipelineClient
    from azure.core.pipeline import policies
    from azure.core.pipeline.transport import RequestsTransport

    verify = str(cloud.ca_file) if cloud.ca_file is not None else True
    chain = [
        policies.HeadersPolicy({"Accept": "application/json"}),
        policies.RetryPolicy(retry_total=TRIES, retry_backoff_factor=0.5),
        policies.BearerTokenCredentialPolicy(login, cloud.vault_scope),
    ]
    transport = RequestsTransport(
        connection_verify=verify, connection_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS
    )
    return PipelineClient(base_url="", policies=chain, transport=transport)
