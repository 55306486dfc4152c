from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.clouds import CLOUDS
from builder.azure.credentials import WAYS, Login, Way, allowed_ways, sign_in
from builder.azure.errors import AzureError

SCOPE = "https://management.azure.com/.default"


def failure(**variables: str) -> AzureError:
    with pytest.raises(AzureError) as caught:
        Login(CLOUDS["AzureCloud"], variables).get_token(SCOPE)
    return caught.value


def test_every_way_that_is_not_there_is_named_with_its_reason(tmp_path: Path) -> None:
    found = failure(AZURE_TOKEN_CREDENTIALS="dev", PATH=str(tmp_path))

    assert found.message == "nobody is signed in to Azure"
    assert found.detail == "Azure CLI: az is not installed"
    assert "az login" in (found.hint or "")


def test_missing_variables_are_named() -> None:
    found = failure(AZURE_TOKEN_CREDENTIALS="WorkloadIdentityCredential", AZURE_TENANT_ID="t", AZURE_CLIENT_ID="c")

    assert found.detail is not None and found.detail.splitlines() == [
        "workload identity: AZURE_FEDERATED_TOKEN_FILE is not set",
        "GitHub Actions: ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN are not set",
    ]


WORDS = (
    ("", [way.name for way in WAYS]),
    ("dev", ["Azure CLI"]),
    ("AzureCliCredential", ["Azure CLI"]),
    ("managedidentitycredential", ["identity of this service", "identity of this VM"]),
    ("EnvironmentCredential", ["client secret", "client certificate"]),
)


@pytest.mark.parametrize(("word", "names"), WORDS)
def test_a_variable_limits_the_ways(word: str, names: list[str]) -> None:
    assert [way.name for way in allowed_ways({"AZURE_TOKEN_CREDENTIALS": word})] == names


def test_production_leaves_a_persons_own_sign_in_out() -> None:
    assert "Azure CLI" not in [way.name for way in allowed_ways({"AZURE_TOKEN_CREDENTIALS": "prod"})]


def test_a_way_that_nobody_knows_is_no_way() -> None:
    with pytest.raises(AzureError, match="no way to sign in") as caught:
        allowed_ways({"AZURE_TOKEN_CREDENTIALS": "magic"})
    assert "AzureCliCredential" in (caught.value.hint or "")


def test_what_somebody_set_up_comes_before_what_is_tried() -> None:
    meant = [way.meant for way in WAYS]

    assert meant == sorted(meant, reverse=True)


def test_a_process_signs_in_once_to_a_cloud(tmp_path: Path) -> None:
    cloud = CLOUDS["AzureCloud"]
    one = sign_in(cloud, {"PATH": str(tmp_path), "HOME": "a"})

    assert sign_in(cloud, {"PATH": str(tmp_path), "HOME": "b"}) is one
    assert sign_in(CLOUDS["AzureChinaCloud"], {"PATH": str(tmp_path)}) is not one
    assert sign_in(cloud, {"PATH": str(tmp_path), "AZURE_CLIENT_SECRET": "s"}) is not one


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_is_documented_with_its_variables(way: Way) -> None:
    page = (Path(__file__).parents[3] / "docs/azure-access.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {way.name} |"))

    assert [name for name in way.needs if f"`{name}" not in row] == []
