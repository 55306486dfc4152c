"""An upload by build, as a process of its own: URL and VHD file."""

from __future__ import annotations

import sys
from pathlib import Path

from azure.core.credentials import AzureNamedKeyCredential

from builder.azure.blobs import PageBlob
from builder.azure.pageblob import upload
from builder.destinations.upload import vhd_source
from tests.azure.blobs import ACCOUNT, KEY


def main() -> None:
    """Upload, and say what was done."""
    blob = PageBlob(sys.argv[1], credential=AzureNamedKeyCredential(ACCOUNT, KEY))
    with vhd_source(Path(sys.argv[2]), work=Path(sys.argv[2]).parent) as disk:
        print(upload(disk, blob))


if __name__ == "__main__":
    main()
