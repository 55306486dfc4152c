"""What the disks of a local machine are called in its store."""

from __future__ import annotations

OS_DISK = "os.qcow2"


def data_disk(lun: int) -> str:
    """The file name of a data disk's layer."""
    return f"data-{lun}.qcow2"
