from __future__ import annotations

from pathlib import Path

import pytest

from builder.azure.clouds import CLOUDS, check_endpoint, current, from_metadata
from builder.errors import BuildError

PUBLIC = (
    ("", "https://management.azure.com", "https://management.azure.com/.default", "login.microsoftonline.com"),
    ("azurecloud", "https://management.azure.com", "https://management.azure.com/.default",
     "login.microsoftonline.com"),
    ("AzureUSGovernment", "https://management.usgovcloudapi.net",
     "https://management.core.usgovcloudapi.net/.default", "login.microsoftonline.us"),
    ("AzureChinaCloud", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default",
     "login.chinacloudapi.cn"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "manager", "scope", "login"), PUBLIC)
def test_public_clouds(name: str, manager: str, scope: str, login: str) -> None:
    found = current({"AZURE_CLOUD": name})

    assert (found.resource_manager, found.scope, found.authority) == (manager, scope, f"https://{login}")
    assert not found.custom and not found.plain


def test_a_file_of_certificates_goes_along(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("x")

    assert current({"AZURE_CA_BUNDLE": str(file)}).ca_file == file
    with pytest.raises(BuildError, match="which is no file"):
        current({"AZURE_CA_BUNDLE": str(tmp_path / "none")})


GOOD = (
    "https://arm.example",
    "https://arm.example:8443/",
    "http://127.0.0.1:8080",
    "http://localhost",
    "http://[::1]:1",
)
BAD = ("arm.example", "http://arm.example", "ftp://arm.example", "https://", "https://user@arm.example",
       "http://127.0.0.1.example.com", "https://arm.example?x=1", "AzurePublic", "http://10.0.0.1")  # fmt: skip


@pytest.mark.parametrize("address", GOOD)
def test_addresses_that_tokens_may_go_to(address: str) -> None:
    assert check_endpoint(address, "it") == address.rstrip("/")


@pytest.mark.parametrize("address", BAD)
def test_addresses_that_tokens_must_not_go_to(address: str) -> None:
    with pytest.raises(BuildError) as caught:
        current({"AZURE_CLOUD": address})
    assert "AzureUSGovernment" in (caught.value.hint or "")


DOCUMENT = {
    "name": "Stack",
    "authentication": {"loginEndpoint": "https://login.example/", "audiences": ["https://arm.example/abc"]},
    "suffixes": {"storage": "blob.example"},
}


@pytest.mark.parametrize("document", [DOCUMENT, [DOCUMENT]])
def test_a_custom_cloud_tells_about_itself(document: object) -> None:
    found = from_metadata("https://arm.example", document, None)

    assert found.authority == "https://login.example"
    assert found.scope == "https://arm.example/abc/.default"
    assert (found.name, found.storage_suffix, found.custom) == ("Stack", "blob.example", True)


@pytest.mark.parametrize("document", [None, [], {}, {"authentication": {}}, {"authentication": {"loginEndpoint": "x"}}])
def test_a_custom_cloud_that_tells_nothing(document: object) -> None:
    with pytest.raises(BuildError, match="who signs in"):
        from_metadata("https://arm.example", document, None)


def test_a_custom_cloud_cannot_have_people_sign_in_without_encryption() -> None:
    document = {"authentication": {"loginEndpoint": "http://login.example", "audiences": ["a"]}}
    with pytest.raises(BuildError, match="login endpoint"):
        from_metadata("https://arm.example", document, None)


def test_names_of_clouds_are_their_keys() -> None:
    assert all(name == cloud.name for name, cloud in CLOUDS.items())
