"""An upload by the SDK's own `upload_blob`, as a process of its own: URL, VHD file, how many calls side by side."""

from __future__ import annotations

import sys
from pathlib import Path

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobClient, BlobType

from tests.azure.blobs import ACCOUNT, KEY


def main() -> None:
    """Upload."""
    client = BlobClient.from_blob_url(sys.argv[1], credential=AzureNamedKeyCredential(ACCOUNT, KEY))
    path = Path(sys.argv[2])
    with path.open("rb") as file:
        client.upload_blob(
            file, blob_type=BlobType.PAGEBLOB, length=path.stat().st_size, max_concurrency=int(sys.argv[3])
        )


if __name__ == "__main__":
    main()
