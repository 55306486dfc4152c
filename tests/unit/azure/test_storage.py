import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential

from builder.azure.clouds import CLOUDS
from builder.azure.storage import account_of, credential_for
from builder.errors import BuildError

CLOUD = CLOUDS["AzureCloud"]
KEY = {"AZURE_STORAGE_ACCOUNT": "images", "AZURE_STORAGE_KEY": "a2V5"}
EMULATOR = {"AZURE_STORAGE_ACCOUNT": "devstoreaccount1", "AZURE_STORAGE_KEY": "a2V5"}


class Login:
    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("token", 0)


LOGIN = Login()


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://images.blob.core.windows.net/disks/a.vhd", {}, "login"),
        ("https://images.blob.core.windows.net/disks/a.vhd", KEY, "key"),
        ("https://other.blob.core.windows.net/disks/a.vhd", KEY, "login"),
        ("https://images.blob.core.windows.net/disks/a.vhd?sv=1&sig=x", KEY, "none"),
        ("https://elsewhere.example/disks/a.vhd?sv=1&sig=x", KEY, "none"),
        ("http://127.0.0.1:10000/devstoreaccount1/disks/a.vhd", EMULATOR, "key"),
        ("http://localhost:10000/devstoreaccount1/disks/a.vhd?sig=x", {}, "none"),
    ],
)
def test_what_signs_the_requests(url: str, environment: dict[str, str], expected: str) -> None:
    found = credential_for(url, cloud=CLOUD, login=LOGIN, environment=environment)

    assert (
        "none" if found is None else "key" if isinstance(found, AzureNamedKeyCredential) else "login"
    ) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("https://images.evil.example/disks/a.vhd", KEY),
        ("https://images.blob.core.windows.net.evil.example/disks/a.vhd", KEY),
        ("https://imagesblob.core.windows.net/disks/a.vhd", {}),
        ("http://images.blob.core.windows.net/disks/a.vhd", KEY),
        ("http://images.blob.core.windows.net/disks/a.vhd?sig=x", {}),
        ("http://127.0.0.1:10000/devstoreaccount1/disks/a.vhd", KEY),
        ("ftp://images.blob.core.windows.net/disks/a.vhd", {}),
    ],
)
def test_no_key_and_no_token_goes_elsewhere(url: str, environment: dict[str, str]) -> None:
    with pytest.raises(BuildError) as caught:
        credential_for(url, cloud=CLOUD, login=LOGIN, environment=environment)

    assert caught.value.code == "blob-address"


def test_accounts_of_addresses() -> None:
    assert account_of("https://images.blob.core.windows.net/disks/a.vhd") == "images"
    assert account_of("http://127.0.0.1:10000/devstoreaccount1/disks/a.vhd") == "devstoreaccount1"
