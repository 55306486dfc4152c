"""Secrets of key vaults, as hosts of their own show them. Only tokens that are made out for vaults are taken."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from dataclasses import dataclass, field

from tests.azure.answers import Answer, ArmError, Call, Json
from tests.azure.router import Route

AUDIENCE = "https://vault.azure.net"
SUFFIX = ".vault.azure.net"
VERSIONS = ("7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6")


@dataclass
class Vaults:
    """Values by vault and name, newest last, each with its version. `closed` vaults let nobody read."""

    secrets: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    # Paths that were read, in order
    read: list[str] = field(default_factory=list)

    def put(self, vault: str, name: str, value: str) -> str:
        """A new version of a secret; returns which."""
        version = uuid.uuid4().hex
        self.secrets.setdefault((vault, name.lower()), []).append((version, value))
        return version


def get_secret(call: Call) -> Answer:
    host = call.headers.get("host", "").lower()
    vaults = call.cloud.vaults
    try:
        if not host.endswith(SUFFIX):
            raise ArmError(404, "NotFound", f"{host} is no vault.")
        _admit(call)
        if call.query.get("api-version") not in VERSIONS:
            raise ArmError(400, "BadParameter", "The specified version is not recognized. Consider using 7.4.")
        vault = host.removesuffix(SUFFIX)
        if vault in vaults.closed:
            raise ArmError(403, "Forbidden", "Caller is not authorized to perform action on resource.")
        name, wanted = call.parameters["name"], call.parameters.get("version")
        known = vaults.secrets.get((vault, name.lower()), [])
        found = [pair for pair in known if wanted in (None, pair[0])]
        if not found:
            message = f"A secret with (name/id) {name} was not found in this key vault."
            raise ArmError(404, "SecretNotFound", message)
    except ArmError as error:
        return error.answer()
    vaults.read.append(call.path)
    version, value = found[-1]
    attributes: Json = {"enabled": True, "created": 1700000000, "updated": 1700000000, "recoveryLevel": "Recoverable"}
    return Answer(200, {"value": value, "id": f"https://{host}/secrets/{name}/{version}", "attributes": attributes})


def _admit(call: Call) -> None:
    token = call.headers.get("authorization", "").removeprefix("Bearer ")
    audience = _audience(token)
    if audience == AUDIENCE:
        return
    message = f"AKV10022: Invalid audience. Expected {AUDIENCE}, found: {audience}." if token else "AKV10000: no token"
    error = ArmError(401, "Unauthorized", message)
    error.headers["WWW-Authenticate"] = f'Bearer authorization="{call.base_url}", resource="{AUDIENCE}"'
    raise error


def _audience(token: str) -> str:
    """Who a token is made out for; "" when it is none."""
    try:
        part = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("aud", ""))
    except (IndexError, ValueError, binascii.Error):
        return ""


ROUTES = (
    Route("GET", "/secrets/{name}", "", get_secret, open=True),
    Route("GET", "/secrets/{name}/{version}", "", get_secret, open=True),
)
