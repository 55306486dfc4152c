"""What clients ask before they reach ARM: endpoints, OpenID configuration, tokens. Tokens aren't verified."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

from tests.azure.answers import Answer, Call, Json
from tests.azure.router import Route

AUDIENCE = "https://management.azure.com/"
LIFETIME = 86399


def endpoints(call: Call) -> Answer:
    base = call.base_url
    one = {
        "name": "Simulated",
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [AUDIENCE, "https://management.core.windows.net/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "graph": base,
        "graphAudience": base,
        "microsoftGraphResourceId": base,
        "resourceManager": base,
        "gallery": base,
        "media": base,
        "activeDirectoryDataLake": base,
        "batch": base,
        "sqlManagement": base,
        "vmImageAliasDoc": f"{base}/aliases.json",
        "suffixes": {
            "storage": "core.windows.net",
            "keyVaultDns": "vault.azure.net",
            "sqlServerHostname": "database.windows.net",
        },
    }
    return Answer(200, one)


def configuration(call: Call) -> Answer:
    tenant, base = call.parameters["tenant"], call.base_url
    return Answer(
        200,
        {
            "issuer": f"{base}/{tenant}/v2.0",
            "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/devicecode",
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "simulated",
        },
    )


def instances(call: Call) -> Answer:
    tenant = "{tenant}"
    return Answer(
        200,
        {
            "tenant_discovery_endpoint": f"{call.base_url}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [],
        },
    )


def token(call: Call) -> Answer:
    """A token for whoever asks. What the caller proved itself with is kept for tests (`cloud.token_requests`)."""
    form = dict(parse_qsl(call.body)) if isinstance(call.body, str) else dict(call.body or {})
    call.cloud.token_requests.append(form)
    refused = call.cloud.refuse_tokens
    if refused is not None:
        return Answer(401, {"error": "invalid_client", "error_description": refused})
    moment = int(call.cloud.token_time())
    claims: Json = {
        "aud": _audience(form),
        "iss": f"https://sts.windows.net/{call.parameters['tenant']}/",
        "tid": call.parameters["tenant"],
        "appid": form.get("client_id", ""),
        "oid": "99999999-8888-4777-8666-555555555555",
        "sub": form.get("client_id", ""),
        "iat": moment,
        "nbf": moment - 60,
        "exp": moment + LIFETIME,
        "number": len(call.cloud.token_requests),
    }
    body: Json = {"token_type": "Bearer", "access_token": _unsigned(claims)}
    if "v2.0" in call.path:
        body.update({"expires_in": LIFETIME, "ext_expires_in": LIFETIME})
    else:
        body.update({"expires_in": str(LIFETIME), "expires_on": str(moment + LIFETIME), "resource": AUDIENCE})
    return Answer(200, body)


def _audience(form: Json) -> str:
    """Resource Manager, unless a token for somebody else is asked for."""
    wanted = str(form.get("scope", "")).partition("/.default")[0] or str(form.get("resource", ""))
    return wanted if wanted.startswith("https://vault.") else AUDIENCE


def aliases(_call: Call) -> Answer:
    alias = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}
    value = {"Linux": {"Debian12": {**alias, "architecture": "x64"}}, "Windows": {}}
    return Answer(200, {"outputs": {"aliases": {"type": "object", "value": value}}})


def _unsigned(claims: Json) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'typ': 'JWT', 'alg': 'none'})}.{part(claims)}.{part('simulated')}"


ROUTES = (
    Route("GET", "/metadata/endpoints", "", endpoints, open=True),
    Route("GET", "/aliases.json", "", aliases, open=True),
    Route("GET", "/common/discovery/instance", "", instances, open=True),
    Route("GET", "/{tenant}/v2.0/.well-known/openid-configuration", "", configuration, open=True),
    Route("GET", "/{tenant}/.well-known/openid-configuration", "", configuration, open=True),
    Route("POST", "/{tenant}/oauth2/v2.0/token", "", token, open=True),
    Route("POST", "/{tenant}/oauth2/token", "", token, open=True),
)
