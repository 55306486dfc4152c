"""Who signs in: ways to get a token, tried in order, by azure-identity and its own environment variables.

A way whose variables are all set is meant: when it fails, that is the error, and nobody else's identity is used in its
place. Assertions of workload identities are read anew for every token, since a build outlives them. Nothing of this
comes from a spec.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from builder.azure.clouds import Cloud, is_loopback
from builder.azure.errors import AzureError, LoginFailed, masked
from builder.azure.sdk import IDENTITY, load

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

METADATA_SERVICE = "169.254.169.254"
# A token is renewed so many seconds before its end
MARGIN = 300
# An assertion that is not, or no longer, valid: a new one helps
_STALE_ASSERTION = ("AADSTS700024", "AADSTS700021")
_EXCHANGE = {
    "AzureUSGovernment": "api://AzureADTokenExchangeUSGov",
    "AzureChinaCloud": "api://AzureADTokenExchangeChina",
}
_ADVICE = "az login; or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or a certificate, or OIDC)"


class Unavailable(Exception):
    """A way to sign in that is not there; the next one is tried."""


@dataclass(frozen=True)
class Surroundings:
    """What a way to sign in is made from."""

    cloud: Cloud
    variables: Mapping[str, str]

    @property
    def tenant(self) -> str:
        """The tenant's id."""
        return self.variables["AZURE_TENANT_ID"]

    @property
    def client(self) -> str:
        """The id of the application that signs in."""
        return self.variables["AZURE_CLIENT_ID"]

    def options(self) -> dict[str, Any]:
        """What every credential of azure-identity takes: who signs in, and which certificates are trusted."""
        found: dict[str, Any] = {"authority": self.cloud.authority}
        if self.cloud.custom:
            # Asking the public cloud whether this authority is one of its own would be answered with no
            found["disable_instance_discovery"] = True
        if self.cloud.ca_file is not None:
            found["connection_verify"] = str(self.cloud.ca_file)
        return found


@dataclass(frozen=True)
class Way:
    """One way to sign in. `needs` are the variables that mean it; `identity` its name in AZURE_TOKEN_CREDENTIALS."""

    name: str
    identity: str
    needs: tuple[str, ...]
    make: Callable[[Surroundings], TokenCredential]

    @property
    def meant(self) -> bool:
        """Whether somebody asked for it by setting variables, rather than it being tried."""
        return bool(self.needs)


def _by_secret(around: Surroundings) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    secret = around.variables["AZURE_CLIENT_SECRET"]
    return ClientSecretCredential(around.tenant, around.client, secret, **around.options())


def _by_certificate(around: Surroundings) -> TokenCredential:
    from azure.identity import CertificateCredential

    path = around.variables["AZURE_CLIENT_CERTIFICATE_PATH"]
    password = around.variables.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
    return CertificateCredential(around.tenant, around.client, path, password=password, **around.options())


def _by_token_file(around: Surroundings) -> TokenCredential:
    from azure.identity import ClientAssertionCredential

    path = Path(around.variables["AZURE_FEDERATED_TOKEN_FILE"])
    return ClientAssertionCredential(
        around.tenant, around.client, lambda: path.read_text(encoding="utf-8").strip(), **around.options()
    )


def _by_github(around: Surroundings) -> TokenCredential:
    from azure.identity import ClientAssertionCredential

    audience = _EXCHANGE.get(around.cloud.name, "api://AzureADTokenExchange")
    address = f"{around.variables['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={quote(audience, safe='')}"
    bearer = around.variables["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    return ClientAssertionCredential(
        around.tenant, around.client, lambda: _identity_token(address, bearer), **around.options()
    )


def _identity_token(address: str, bearer: str) -> str:
    """A token of GitHub's own for this job. Raises AzureError."""
    import urllib.request

    parts = urlsplit(address)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise LoginFailed("ACTIONS_ID_TOKEN_REQUEST_URL is no https address")
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {bearer}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoginFailed(
            f"no identity token from {parts.hostname}: {error}",
            hint="the job needs `permissions: {id-token: write}`",
        ) from error


def _by_pipelines(around: Surroundings) -> TokenCredential:
    from azure.identity import AzurePipelinesCredential

    given = around.variables
    return AzurePipelinesCredential(
        tenant_id=given["AZURESUBSCRIPTION_TENANT_ID"],
        client_id=given["AZURESUBSCRIPTION_CLIENT_ID"],
        service_connection_id=given["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"],
        system_access_token=given["SYSTEM_ACCESSTOKEN"],
        **around.options(),
    )


def _by_service_identity(around: Surroundings) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=around.variables.get("AZURE_CLIENT_ID") or None)


def _by_cli(around: Surroundings) -> TokenCredential:
    if shutil.which("az", path=around.variables.get("PATH")) is None:
        raise Unavailable("az is not installed")
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=around.variables.get("AZURE_TENANT_ID", ""), process_timeout=60)


def _by_machine_identity(around: Surroundings) -> TokenCredential:
    """The identity of the VM that we run on. Elsewhere its service doesn't answer, which must not take long."""
    host = urlsplit(around.variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")).hostname or METADATA_SERVICE
    try:
        socket.create_connection((host, 80), timeout=1).close()
    except OSError as error:
        raise Unavailable(f"no metadata service answers at {host}: this is no Azure VM with an identity") from error
    return _by_service_identity(around)


_APPLICATION = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
WAYS: tuple[Way, ...] = (
    Way("client secret", "EnvironmentCredential", (*_APPLICATION, "AZURE_CLIENT_SECRET"), _by_secret),
    Way("client certificate", "EnvironmentCredential", (*_APPLICATION, "AZURE_CLIENT_CERTIFICATE_PATH"),
        _by_certificate),
    Way("workload identity", "WorkloadIdentityCredential", (*_APPLICATION, "AZURE_FEDERATED_TOKEN_FILE"),
        _by_token_file),
    Way("GitHub Actions", "WorkloadIdentityCredential",
        (*_APPLICATION, "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"), _by_github),
    Way("Azure Pipelines", "AzurePipelinesCredential",
        ("AZURESUBSCRIPTION_TENANT_ID", "AZURESUBSCRIPTION_CLIENT_ID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
         "SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI"), _by_pipelines),
    Way("identity of this service", "ManagedIdentityCredential", ("IDENTITY_ENDPOINT",), _by_service_identity),
    Way("Azure CLI", "AzureCliCredential", (), _by_cli),
    Way("identity of this VM", "ManagedIdentityCredential", (), _by_machine_identity),
)  # fmt: skip
# What AZURE_TOKEN_CREDENTIALS may say instead of one name
_GROUPS = {
    "prod": ("EnvironmentCredential", "WorkloadIdentityCredential", "AzurePipelinesCredential",
             "ManagedIdentityCredential"),
    "dev": ("AzureCliCredential",),
}  # fmt: skip


def allowed_ways(variables: Mapping[str, str]) -> tuple[Way, ...]:
    """The ways that AZURE_TOKEN_CREDENTIALS allows: all without it. Raises AzureError for a word it doesn't know."""
    word = variables.get("AZURE_TOKEN_CREDENTIALS", "").strip().lower()
    names = [name.lower() for name in _GROUPS.get(word, (word,))]
    found = tuple(way for way in WAYS if not word or way.identity.lower() in names)
    if not found:
        known = ", ".join([*_GROUPS, *dict.fromkeys(way.identity for way in WAYS)])
        raise LoginFailed(
            f"AZURE_TOKEN_CREDENTIALS is {word!r}, which is no way to sign in",
            hint=f"known are {known}",
        )
    return found


class Login:
    """The token credential of a process. Thread-safe: 200 threads that need a token at once sign in once.

    It keeps to the first way that worked: an identity must not change in the middle of a run.
    """

    def __init__(self, cloud: Cloud, variables: Mapping[str, str]) -> None:
        self._around = Surroundings(cloud, dict(variables))
        self._lock = threading.Lock()
        self._credential: TokenCredential | None = None
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self.way = ""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401
        """A token for `scopes`. Raises AzureError that names every way tried and why it failed."""
        with self._lock:
            kept = self._tokens.get(scopes)
            if kept is not None and not options.get("claims") and kept.expires_on - time.time() > MARGIN:
                return kept
            token = self._fresh(scopes, options)
            self._tokens[scopes] = token
            return token

    def close(self) -> None:
        """Nothing is open between calls."""

    def _fresh(self, scopes: tuple[str, ...], options: Mapping[str, Any]) -> AccessToken:
        if self._credential is not None:
            return _token(self._credential, self.way, scopes, options)
        tried: list[str] = []
        for way in allowed_ways(self._around.variables):
            missing = [name for name in way.needs if not self._around.variables.get(name)]
            if missing:
                tried.append(f"{way.name}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set")
                continue
            try:
                credential = _made(way, self._around)
                token = _token(credential, way.name, scopes, options)
            except Unavailable as reason:
                tried.append(f"{way.name}: {reason}")
                continue
            except AzureError as error:
                if way.meant:
                    raise
                tried.append(f"{way.name}: {error.message.partition(' failed: ')[2] or error.message}")
                continue
            self._credential, self.way = credential, way.name
            return token
        raise LoginFailed("nobody is signed in to Azure", hint=_ADVICE, detail="\n".join(tried))


_LOGINS: dict[tuple[Cloud, tuple[str, ...]], Login] = {}
_LOGINS_LOCK = threading.Lock()
# What decides who signs in, beside what ways need
_ALSO = ("AZURE_TOKEN_CREDENTIALS", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "PATH")


def sign_in(cloud: Cloud, environment: Mapping[str, str] | None = None) -> Login:
    """The one login of this process to a cloud, for Resource Manager and storage alike; nothing is asked yet.

    `environment` is the process's own by default.
    """
    given = os.environ if environment is None else environment
    names = dict.fromkeys([*(name for way in WAYS for name in way.needs), *_ALSO])
    key = (cloud, tuple(given.get(name, "") for name in names))
    with _LOGINS_LOCK:
        if key not in _LOGINS:
            _LOGINS[key] = Login(cloud, given)
        return _LOGINS[key]


def _made(way: Way, around: Surroundings) -> TokenCredential:
    load(IDENTITY)
    try:
        return way.make(around)
    except (OSError, ValueError, ImportError) as error:
        # azure-identity checks files and the form of ids when a credential is made
        raise LoginFailed(
            f"signing in by {way.name} failed: {error}", hint=f"look at {', '.join(way.needs)}"
        ) from error


def _token(credential: TokenCredential, way: str, scopes: tuple[str, ...], options: Mapping[str, Any]) -> AccessToken:
    """A token, with a second try for an assertion that ended on its way. Raises AzureError."""
    from azure.core.exceptions import AzureError as SdkError

    for last in (False, True):
        try:
            return credential.get_token(*scopes, **options)
        except (SdkError, OSError, ValueError) as error:
            text = str(error)
            if not last and any(code in text for code in _STALE_ASSERTION):
                continue
            lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
            raise LoginFailed(
                f"signing in by {way} failed: {masked(lines[0])}",
                hint=_advice(way),
                detail="\n".join(_short(lines[1:])) or None,
            ) from error
    raise AssertionError


def _advice(name: str) -> str:
    """What to look at: the variables of a way that somebody meant, else all ways."""
    needs = next((way.needs for way in WAYS if way.name == name), ())
    return f"look at {', '.join(needs)}, and at the way to the network" if needs else _ADVICE


def _short(lines: list[str]) -> Iterator[str]:
    yield from (masked(line)[:500] for line in lines[:6])
