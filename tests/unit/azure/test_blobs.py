import pytest

from builder.azure.blobs import LARGEST_BLOB, PageBlob, Retry, check_size
from builder.errors import BuildError

URL = "https://account.blob.core.windows.net/disks/a.vhd"


@pytest.mark.parametrize("size", [512, 20 << 20, LARGEST_BLOB])
def test_sizes_that_a_page_blob_can_have(size: int) -> None:
    check_size(size)


@pytest.mark.parametrize("size", [0, -512, 511, 513, LARGEST_BLOB + 512])
def test_sizes_that_it_cannot_have(size: int) -> None:
    with pytest.raises(BuildError) as caught:
        check_size(size)

    assert caught.value.code == "blob-size"


@pytest.mark.parametrize(("offset", "length"), [(1, 512), (0, 0), (0, 100), (0, (4 << 20) + 512)])
def test_azures_limits_hold_for_every_write(offset: int, length: int) -> None:
    """Emulators take such writes: they must not leave this host."""
    with pytest.raises(ValueError, match="can't be written at once"):
        PageBlob(URL).write(offset, bytes(length), b"", lease=None)


def test_pauses_grow_to_a_bound() -> None:
    retry = Retry(first=1, longest=8)

    for attempt, middle in enumerate([1, 2, 4, 8, 8, 8], 1):
        assert 0.75 * middle <= retry.pause(attempt) <= 1.25 * middle


def test_an_address_is_shown_without_its_signature() -> None:
    blob = PageBlob(f"{URL}?sv=1&sig=secret")

    assert blob.url == URL
    assert "secret" not in blob.name
    assert blob.readable_url.endswith("sig=secret")


def test_a_signature_is_renewed_once_for_all_who_saw_the_old_one() -> None:
    asked: list[str] = []

    def renew() -> str:
        asked.append("again")
        return f"{URL}?sig={len(asked)}"

    blob = PageBlob(f"{URL}?sig=0", renew=renew)
    old = blob.readable_url

    assert blob.renewed(old)
    assert blob.renewed(old)
    assert (asked, blob.readable_url) == (["again"], f"{URL}?sig=1")
    assert not PageBlob(f"{URL}?sig=0").renewed(old)
