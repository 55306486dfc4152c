"""An upload in a process of its own, to be killed or measured: URL, VHD file, seconds between two records.

Prints bytes sent and kept, and this process's peak memory in MiB.
"""

from __future__ import annotations

import sys
from pathlib import Path

from azure.core.credentials import AzureNamedKeyCredential

from builder.azure.blobs import PageBlob
from builder.azure.claim import Pace
from builder.azure.pageblob import Manner, upload
from builder.destinations.upload import vhd_source
from tests.azure.blobs import ACCOUNT, KEY


def main() -> None:
    blob = PageBlob(sys.argv[1], credential=AzureNamedKeyCredential(ACCOUNT, KEY))
    with vhd_source(Path(sys.argv[2]), work=Path(sys.argv[2]).parent) as disk:
        done = upload(disk, blob, Manner(pace=Pace(15, float(sys.argv[3]))))
    print(done.sent, done.kept, peak_mib())


def peak_mib() -> int:
    """The peak of this program alone: `ru_maxrss` counts what the process was before it became this program."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    main()
