from __future__ import annotations

import pytest

from builder.azure.clouds import CLOUDS
from builder.azure.key_vault import check_address
from builder.errors import BuildError

GOOD = (
    ("AzureCloud", "https://corp.vault.azure.net/secrets/app-token"),
    ("AzureCloud", "https://corp.vault.azure.net/secrets/app-token/0123456789abcdef0123456789abcdef"),
    ("AzureUSGovernment", "https://corp.vault.usgovcloudapi.net/secrets/app"),
    ("AzureChinaCloud", "https://corp.vault.azure.cn/secrets/app"),
)
BAD = (
    ("AzureCloud", "https://corp.example.com/secrets/app"),
    ("AzureCloud", "https://corp.vault.azure.net.example.com/secrets/app"),
    ("AzureCloud", "https://vault.azure.net/secrets/app"),
    ("AzureCloud", "https://corpvault.azure.net/secrets/app"),
    ("AzureCloud", "https://a.corp.vault.azure.net/secrets/app"),
    ("AzureCloud", "https://corp.vault.azure.cn/secrets/app"),
    ("AzureChinaCloud", "https://corp.vault.azure.net/secrets/app"),
    ("AzureCloud", "http://corp.vault.azure.net/secrets/app"),
    ("AzureCloud", "https://corp.vault.azure.net:8443/secrets/app"),
    ("AzureCloud", "https://corp.vault.azure.net@example.com/secrets/app"),
    ("AzureCloud", "https://example.com\\@corp.vault.azure.net/secrets/app"),
    ("AzureCloud", "https://corp.vault.azure.net/secrets/app?x=1"),
)


@pytest.mark.parametrize(("cloud", "address"), GOOD)
def test_vaults_of_the_cloud(cloud: str, address: str) -> None:
    check_address(address, CLOUDS[cloud])


@pytest.mark.parametrize(("cloud", "address"), BAD)
def test_no_token_goes_elsewhere(cloud: str, address: str) -> None:
    with pytest.raises(BuildError, match="no token is sent there") as caught:
        check_address(address, CLOUDS[cloud])
    assert CLOUDS[cloud].vault_suffix in (caught.value.hint or "")
