"""Azure's clouds: where Resource Manager is, who signs people in, and for whom a token is made out.

The public values are those of Azure's own metadata. A custom cloud is only ever taken from the environment, never from
a spec: a stranger's spec must not send tokens elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.errors import Unreachable

METADATA = "/metadata/endpoints?api-version=2022-09-01"


@dataclass(frozen=True)
class Cloud:
    """`authority` signs in; `audience` is who tokens are for; `ca_file` has the certificates to trust, if not usual.

    `storage_suffix` ends the host names of storage accounts: "core.windows.net"; `vault_suffix` those of key vaults.
    """

    name: str
    resource_manager: str
    authority: str
    audience: str
    storage_suffix: str
    ca_file: Path | None = None
    custom: bool = False
    vault_suffix: str = "vault.azure.net"

    @property
    def scope(self) -> str:
        """What a token is asked for."""
        return f"{self.audience.rstrip('/')}/.default"

    @property
    def vault_scope(self) -> str:
        """What a token for key vaults is asked for."""
        return f"https://{self.vault_suffix}/.default"

    @property
    def plain(self) -> bool:
        """Whether it is spoken to without encryption: on loopback only."""
        return self.resource_manager.startswith("http://")


CLOUDS: dict[str, Cloud] = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            "AzureCloud",
            "https://management.azure.com",
            "https://login.microsoftonline.com",
            "https://management.azure.com",
            "core.windows.net",
        ),
        Cloud(
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "https://management.core.usgovcloudapi.net",
            "core.usgovcloudapi.net",
            vault_suffix="vault.usgovcloudapi.net",
        ),
        Cloud(
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "https://management.chinacloudapi.cn",
            "core.chinacloudapi.cn",
            vault_suffix="vault.azure.cn",
        ),
    )
}


def is_loopback(host: str) -> bool:
    """Whether a host name is this host's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_endpoint(address: str, what: str) -> str:
    """The address without a slash at its end. Raises Unreachable unless it is https, or http on loopback."""
    parts = urlsplit(address)
    allowed = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not allowed or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise Unreachable(
            f"{what} is {address!r}, which is no https address",
            code="azure-cloud",
            hint=f"use one of {', '.join(CLOUDS)}, or https://<host of a Resource Manager>",
        )
    return address.rstrip("/")


def from_metadata(address: str, document: object, ca_file: Path | None) -> Cloud:
    """A custom cloud from what its `/metadata/endpoints` says (a document, or a list with one).

    Raises Unreachable when it doesn't say who signs in.
    """
    if isinstance(document, list) and document:
        document = document[0]
    found: dict[str, Any] = document if isinstance(document, dict) else {}
    try:
        login = found["authentication"]
        authority, audience = str(login["loginEndpoint"]), str(login["audiences"][0])
    except (KeyError, IndexError, TypeError) as error:
        raise Unreachable(
            f"{address}/metadata/endpoints doesn't say who signs in", code="azure-cloud", hint="look at AZURE_CLOUD"
        ) from error
    suffixes = found.get("suffixes")
    ends: dict[str, Any] = suffixes if isinstance(suffixes, dict) else {}
    return Cloud(
        str(found.get("name") or urlsplit(address).hostname),
        address,
        check_endpoint(authority, "the custom cloud's login endpoint"),
        audience,
        str(ends.get("storage") or CLOUDS["AzureCloud"].storage_suffix),
        ca_file,
        custom=True,
        vault_suffix=str(ends.get("keyVaultDns") or CLOUDS["AzureCloud"].vault_suffix).lstrip("."),
    )


def current(environment: Mapping[str, str]) -> Cloud:
    """The cloud of AZURE_CLOUD: a name, or the address of a custom Resource Manager, which is asked about itself.

    AZURE_CA_BUNDLE names a file with the certificates to trust, for a custom cloud or a proxy that reads along. Raises
    BuildError for what is neither, or can't be asked.
    """
    ca_file = _ca_file(environment)
    wanted = environment.get("AZURE_CLOUD", "").strip() or "AzureCloud"
    for name, cloud in CLOUDS.items():
        if name.lower() == wanted.lower():
            return replace(cloud, ca_file=ca_file)
    return _discovered(check_endpoint(wanted, "AZURE_CLOUD"), ca_file)


def _ca_file(environment: Mapping[str, str]) -> Path | None:
    name = environment.get("AZURE_CA_BUNDLE", "")
    if name and not Path(name).is_file():
        raise Unreachable(f"AZURE_CA_BUNDLE names {name}, which is no file", code="azure-cloud")
    return Path(name) if name else None


@lru_cache
def _discovered(address: str, ca_file: Path | None) -> Cloud:
    import ssl
    import urllib.request

    trusted = ssl.create_default_context(cafile=str(ca_file)) if ca_file is not None else ssl.create_default_context()
    try:
        with urllib.request.urlopen(f"{address}{METADATA}", timeout=30, context=trusted) as answer:
            document = json.load(answer)
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"AZURE_CLOUD is {address}, which doesn't answer as a Resource Manager: {getattr(error, 'reason', error)}",
            code="azure-cloud",
            hint="a certificate of one's own goes into the file that AZURE_CA_BUNDLE names",
        ) from error
    return from_metadata(address, document, ca_file)
