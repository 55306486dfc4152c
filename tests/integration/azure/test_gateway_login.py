"""Ways to sign in, with azure-identity as it is: over https, against the simulator's sign-in and its custom cloud."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from builder.azure.clouds import Cloud, current
from builder.azure.connection import connect, make
from builder.azure.credentials import Login
from builder.azure.errors import AzureError
from builder.azure.ids import group_id
from builder.errors import BuildError
from tests.azure import Clock, Simulator
from tests.azure.answers import Json
from tests.integration.azure.asking import LOCATION
from tests.integration.azure.checking import ROOT, TOOLS, require
from tests.integration.azure.connection import connected
from tests.integration.azure.test_cli import login

CLIENT = "12345678-1234-4234-8234-123456789012"
SCOPE = "https://management.azure.com/.default"
OTHER = "22222222-2222-4333-8444-555555555555"


def surroundings(azure: Simulator, **more: str) -> dict[str, str]:
    """The environment of somebody who works with the simulated cloud."""
    return {
        "AZURE_CLOUD": azure.secure_endpoint,
        "AZURE_CA_BUNDLE": str(azure.certificate),
        "AZURE_TENANT_ID": azure.tenant,
        "AZURE_CLIENT_ID": CLIENT,
        "PATH": "",
        **more,
    }


def with_secret(azure: Simulator) -> dict[str, str]:
    return surroundings(azure, AZURE_CLIENT_SECRET="not-so-secret")


def sign_in(environment: dict[str, str]) -> Login:
    return Login(current(environment), environment)


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@contextmanager
def issuer(answers: list[Json]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server on loopback that gives one answer after another: its address, and (path, Authorization) of each call."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", self.headers.get("X-IDENTITY-HEADER", ""))))
            body = json.dumps(answers[min(len(asked), len(answers)) - 1]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_client_secret_over_https_to_a_custom_cloud(azure: Simulator) -> None:
    gateway = connect(environment=with_secret(azure))
    made = gateway.put(group_id(gateway.subscription, "g"), {"location": LOCATION}).wait()

    assert made["properties"]["provisioningState"] == "Succeeded"
    assert (gateway.subscription, gateway.cloud.name) == (azure.subscription, "Simulated")
    assert azure.cloud.token_requests[-1]["client_secret"] == "not-so-secret"
    assert connect(azure.subscription, environment=with_secret(azure)) is gateway
    assert connect(OTHER, environment=with_secret(azure)).calls is gateway.calls


def test_a_subscription_must_be_chosen_among_several(azure: Simulator) -> None:
    azure.cloud.subscriptions[OTHER] = "Other"
    with pytest.raises(BuildError, match="sees 2 subscriptions") as caught:
        connect(environment=with_secret(azure))

    assert caught.value.detail == f"{azure.subscription} (Simulated)\n{OTHER} (Other)"
    chosen = with_secret(azure) | {"AZURE_SUBSCRIPTION_ID": OTHER}
    assert connect(environment=chosen).subscription == OTHER


def test_nobody_without_a_subscription(azure: Simulator) -> None:
    azure.cloud.subscriptions.clear()
    with pytest.raises(BuildError, match="sees no subscriptions"):
        connect(environment=with_secret(azure))


def test_a_certificate(azure: Simulator) -> None:
    found = sign_in(surroundings(azure, AZURE_CLIENT_CERTIFICATE_PATH=str(azure.certificate)))

    assert claims(found.get_token(SCOPE).token)["appid"] == CLIENT
    assert found.way == "client certificate"
    assert azure.cloud.token_requests[-1]["client_assertion"].count(".") == 2


def test_an_assertion_is_read_anew_for_every_token(azure: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    found = sign_in(surroundings(azure, AZURE_FEDERATED_TOKEN_FILE=str(file)))
    found.get_token(SCOPE)
    file.write_text("second\n")
    found.get_token(SCOPE)
    found.get_token("https://storage.azure.com/.default")

    assert [form["client_assertion"] for form in azure.cloud.token_requests] == ["first", "second"]


def test_github_actions(azure: Simulator) -> None:
    with issuer([{"value": "one"}, {"value": "two"}]) as (address, asked):
        found = sign_in(
            surroundings(azure, ACTIONS_ID_TOKEN_REQUEST_URL=f"{address}/token?api-version=2.0",
                         ACTIONS_ID_TOKEN_REQUEST_TOKEN="bearer-of-the-job")
        )  # fmt: skip
        found.get_token(SCOPE)
        found.get_token("https://storage.azure.com/.default")

    assert (
        asked == [("/token?api-version=2.0&audience=api%3A%2F%2FAzureADTokenExchange", "Bearer bearer-of-the-job")] * 2
    )
    assert [form["client_assertion"] for form in azure.cloud.token_requests] == ["one", "two"]
    assert found.way == "GitHub Actions"


def test_azure_pipelines(azure: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with issuer([{"oidcToken": "federated"}]) as (address, asked):
        # azure-identity takes this one from the process's own environment
        monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", f"{address}/oidc")
        found = sign_in(
            surroundings(azure, AZURESUBSCRIPTION_TENANT_ID=azure.tenant, AZURESUBSCRIPTION_CLIENT_ID=CLIENT,
                         AZURESUBSCRIPTION_SERVICE_CONNECTION_ID="connection-1", SYSTEM_ACCESSTOKEN="of-the-job",
                         SYSTEM_OIDCREQUESTURI=f"{address}/oidc")
        )  # fmt: skip
        found.get_token(SCOPE)

    assert "serviceConnectionId=connection-1" in asked[0][0]
    assert asked[0][1] == "Bearer of-the-job"
    assert azure.cloud.token_requests[-1]["client_assertion"] == "federated"


def test_the_identity_of_a_service(azure: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"access_token": "of-the-service", "expires_on": "4000000000", "resource": SCOPE, "token_type": "Bearer"}
    with issuer([answer]) as (address, asked):
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header-1")
        found = sign_in({"IDENTITY_ENDPOINT": f"{address}/msi/token", "AZURE_CLOUD": "AzureCloud"})

        assert found.get_token(SCOPE).token == "of-the-service"
    assert found.way == "identity of this service"
    assert asked[0][1] == "header-1"


def test_azure_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require((TOOLS / "azure-cli/installed").exists(), f"azure-cli is not in {TOOLS}; tests/azure/install puts it there")
    with Simulator(clock=Clock(speed=60)) as azure:
        system = Path("/etc/ssl/certs/ca-certificates.crt")
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes((system.read_bytes() if system.exists() else b"") + azure.certificate.read_bytes())
        for name, value in {
            "PATH": f"{TOOLS / 'azure-cli/bin'}:{os.environ['PATH']}", "REQUESTS_CA_BUNDLE": str(bundle),
            "AZURE_CONFIG_DIR": str(tmp_path / "config"), "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_CORE_INSTANCE_DISCOVERY": "false", "AZURE_CORE_CHECK_FOR_UPDATES": "no",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        lines = "".join(json.dumps(line.split()) + "\n" for line in login(azure))
        driver = ROOT / "tests/integration/azure/cli_driver.py"
        done = subprocess.run([TOOLS / "azure-cli/bin/python", driver], input=lines, capture_output=True, text=True,
                              check=True)  # fmt: skip
        assert done.stdout.count('"code": 0') == 3, done.stdout + done.stderr
        gateway = connect(environment={
            "AZURE_CLOUD": azure.secure_endpoint, "AZURE_CA_BUNDLE": str(azure.certificate),
            "PATH": os.environ["PATH"],
        })  # fmt: skip

        assert gateway.put(group_id(gateway.subscription, "g"), {"location": LOCATION}).wait()["name"] == "g"


def test_a_refused_sign_in_says_by_which_way_and_why(azure: Simulator) -> None:
    azure.cloud.refuse_tokens = "AADSTS7000215: Invalid client secret provided."
    with pytest.raises(AzureError, match=r"signing in by client secret failed: .*AADSTS7000215") as caught:
        connect(environment=with_secret(azure))

    assert caught.value.code == "azure-login"
    assert "not-so-secret" not in f"{caught.value.message}{caught.value.detail}"


def test_an_assertion_that_just_ended_is_replaced(azure: Simulator, tmp_path: Path) -> None:
    """The first is refused; the second try reads the file again."""
    file = tmp_path / "token"
    file.write_text("stale")
    asked = azure.cloud.token_requests

    class Replacing(list[Json]):
        def append(self, form: Json) -> None:
            super().append(form)
            azure.cloud.refuse_tokens = None if form.get("client_assertion") == "fresh" else (
                "AADSTS700024: Client assertion is not within its valid time range."
            )  # fmt: skip
            file.write_text("fresh")

    azure.cloud.token_requests = Replacing(asked)
    found = sign_in(surroundings(azure, AZURE_FEDERATED_TOKEN_FILE=str(file)))

    assert claims(found.get_token(SCOPE).token)["appid"] == CLIENT
    assert [form["client_assertion"] for form in azure.cloud.token_requests] == ["stale", "fresh"]


def test_a_certificate_that_nobody_trusts_is_told_at_once(azure: Simulator) -> None:
    cloud = current(with_secret(azure))
    with pytest.raises(BuildError, match="doesn't answer as a Resource Manager") as caught:
        current({"AZURE_CLOUD": azure.secure_endpoint})

    assert "AZURE_CA_BUNDLE" in (caught.value.hint or "")
    assert cloud.custom


def test_plain_http_is_for_loopback(azure: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"access_token": "of-the-service", "expires_on": "4000000000", "resource": SCOPE, "token_type": "Bearer"}
    with issuer([answer]) as (address, _asked):
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header-1")
        gateway = connect(environment={"AZURE_CLOUD": azure.endpoint, "IDENTITY_ENDPOINT": f"{address}/msi/token"})

    assert gateway.find(group_id(gateway.subscription, "g")) is None
    with pytest.raises(BuildError, match="no https address"):
        current({"AZURE_CLOUD": azure.endpoint.replace("127.0.0.1", "arm.example")})


def test_a_proxy_of_the_environment_is_used(azure: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud("Far", "http://arm.invalid", azure.secure_endpoint, SCOPE, "core.windows.net", custom=True)
    monkeypatch.setenv("HTTP_PROXY", azure.endpoint)
    monkeypatch.setenv("NO_PROXY", "localhost")
    gateway = make(azure.subscription, cloud, azure.credential)

    assert gateway.find(group_id(azure.subscription, "g")) is None


def test_no_password_file_takes_the_tokens_place(
    azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    assert connected(azure).find(group_id(azure.subscription, "g")) is None


def test_a_way_that_is_meant_and_fails_gives_no_place_to_another(azure: Simulator, tmp_path: Path) -> None:
    """Nobody's own sign-in is used because a certificate is missing."""
    found = sign_in(
        surroundings(azure, AZURE_CLIENT_CERTIFICATE_PATH=str(tmp_path / "none.pem"), PATH=os.environ["PATH"])
    )
    with pytest.raises(AzureError, match="signing in by client certificate failed") as caught:
        found.get_token(SCOPE)

    assert "AZURE_CLIENT_CERTIFICATE_PATH" in (caught.value.hint or "")


def test_nothing_of_the_sdk_is_imported_before_the_first_call() -> None:
    script = (
        "import sys, builder.azure.connection as c\n"
        "c.connect('s', environment={'AZURE_CLIENT_SECRET': 'x'})\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('azure', 'msal', 'requests')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == "[]"
