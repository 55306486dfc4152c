"""Secrets from Key Vault: read by the signed-in identity when a step needs them, and found nowhere afterwards."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from builder.apply.executor import Executor, Options
from builder.azure.connection import make
from builder.errors import BuildError
from tests.azure import Simulator
from tests.integration.azure.building import Build
from tests.integration.azure.connection import OnTheClock

VALUE = "s3cret from the vault"
ADDRESS = "https://corp.vault.azure.net/secrets/app-token"


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A project of somebody who signed in by a client secret, in a network where vaults are the simulator's."""
    build = Build(tmp_path, azure, monkeypatch)
    for name, value in (("TENANT_ID", azure.tenant), ("CLIENT_ID", azure.tenant), ("CLIENT_SECRET", "not-so-secret")):
        monkeypatch.setenv(f"AZURE_{name}", value)
    cloud = replace(build.azure.cloud, ca_file=azure.certificate)
    build.azure = make(azure.subscription, cloud, azure.credential, OnTheClock(azure.clock))
    port, found = urlsplit(azure.secure_endpoint).port, socket.getaddrinfo

    def lead_here(host: Any, *rest: Any, **more: Any) -> Any:
        vault = str(host).endswith(".vault.azure.net")
        return found("127.0.0.1", port, *rest[1:], **more) if vault else found(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lead_here)
    write(build)
    return build


def write(build: Build, address: str = ADDRESS) -> None:
    run = 'printf %s \\"$TOKEN\\" | sha256sum > /etc/sum; echo \\"it is $TOKEN\\"'
    build.write(f'prepare: [{{run: {{command: "{run}", secrets: {{TOKEN: {{keyVault: "{address}"}}}}}}}}]\n')


def test_a_secret_is_read_when_it_is_used(azure: Simulator, build: Build) -> None:
    azure.cloud.vaults.put("corp", "app-token", "an older value")
    azure.cloud.vaults.put("corp", "app-token", VALUE)
    plan = build.plan()
    assert azure.cloud.vaults.read == []
    build.carry_out(plan)

    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/sum").split()[0] == hashlib.sha256(VALUE.encode()).hexdigest()
    assert "it is (secret)" in build.log
    assert {form.get("scope") for form in azure.cloud.token_requests} >= {"https://vault.azure.net/.default"}
    for pair in azure.traffic.pairs:
        body = pair.request_body if isinstance(pair.request_body, dict) else {}
        assert VALUE not in json.dumps({**body.get("properties", {}), "protectedParameters": None})
    written = [path.read_bytes() for path in (build.root / ".build").rglob("*") if path.is_file()]
    assert not [text for text in written if VALUE.encode() in text]


def test_a_version_of_a_secret(azure: Simulator, build: Build) -> None:
    version = azure.cloud.vaults.put("corp", "app-token", VALUE)
    azure.cloud.vaults.put("corp", "app-token", "a newer value")
    write(build, f"{ADDRESS}/{version}")
    build.apply()
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/sum").split()[0] == hashlib.sha256(VALUE.encode()).hexdigest()


def closed(azure: Simulator) -> None:
    azure.cloud.vaults.put("corp", "app-token", VALUE)
    azure.cloud.vaults.closed.add("corp")


REFUSED = ((lambda azure: None, "SecretNotFound", "name and version"), (closed, "Forbidden", "Key Vault Secrets User"))


@pytest.mark.parametrize(("happens", "message", "hint"), REFUSED)
def test_what_a_vault_refuses_stops_the_apply_before_anything_is_made(
    azure: Simulator, build: Build, happens: Callable[[Simulator], None], message: str, hint: str
) -> None:
    happens(azure)
    loaded, tools = build._tools()
    plan = build.plan()
    with pytest.raises(BuildError, match=message) as caught:
        Executor(tools, loaded.documents, Options()).preflight(plan)
    assert hint in (caught.value.hint or "")
    assert caught.value.where is not None
    assert not [pair for pair in azure.traffic.pairs if pair.method == "PUT" and "build-web" in pair.url]


def test_a_host_that_is_no_vault_blocks_the_plan(azure: Simulator, build: Build) -> None:
    write(build, "https://corp.example.com/secrets/app-token")
    (reason,) = build.plan().blocked[0].reasons
    assert "no token is sent there" in reason.message
    assert azure.cloud.token_requests == []
