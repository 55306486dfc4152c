from __future__ import annotations

from pathlib import Path

import pytest

from builder.disk import fstab
from builder.disk.filesystems import Content
from builder.disk.layers import DiskLayer
from builder.disk.volumes import Volume

OS, DATA = DiskLayer(Path("os.qcow2")), DiskLayer(Path("data-3.qcow2"), 3)
UUID = "0a1b2c3d-1111-4111-8111-111111111111"
ROOT = Volume(OS, Path("os.raw"), 1, 0, 0, Content("ext4", UUID, "my root"), "aaaa-01", "root")
SWAP = Volume(OS, Path("os.raw"), 2, 0, 0, Content("swap", "0a1b2c3d-2222-4222-8222-222222222222"), "aaaa-02")
ESP = Volume(OS, Path("os.raw"), 15, 0, 0, Content("vfat", "ABCD-1234"), "aaaa-0f", "esp")
PART = Volume(DATA, Path("data.raw"), 1, 0, 0, Content("xfs", "0a1b2c3d-3333-4333-8333-333333333333"), "bbbb-01")
WHOLE = Volume(DiskLayer(Path("data-4.qcow2"), 4), Path("data-4.raw"), None, 0, 0, None)
VOLUMES = [ROOT, SWAP, ESP, PART, WHOLE]


@pytest.mark.parametrize(
    ("device", "volume"),
    [
        (f"UUID={UUID}", ROOT),
        (f"UUID={UUID.upper()}", ROOT),
        (f'UUID="{UUID}"', ROOT),
        ("UUID=abcd-1234", ESP),
        ("LABEL=my root", ROOT),
        ("PARTUUID=AAAA-02", SWAP),
        ("PARTLABEL=esp", ESP),
        (f"/dev/disk/by-uuid/{UUID}", ROOT),
        ("/dev/disk/by-partuuid/aaaa-01", ROOT),
        ("/dev/sda1", ROOT),
        ("/dev/vda15", ESP),
        ("/dev/xvda2", SWAP),
        ("/dev/nvme0n1p1", ROOT),
        ("/dev/disk/cloud/azure_root-part1", ROOT),
        ("/dev/disk/azure/root-part15", ESP),
        ("/dev/disk/azure/scsi1/lun3-part1", PART),
        ("/dev/disk/azure/data/by-lun/4", WHOLE),
        ("/dev/sdb1", None),
        ("/dev/sda7", None),
        ("/dev/mapper/vg-root", None),
        ("UUID=", None),
        ("LABEL=", None),
        ("/dev/disk/cloud/azure_resource-part1", None),
    ],
)
def test_find_volume(device: str, volume: Volume | None) -> None:
    assert fstab.find_volume(device, VOLUMES) == volume


def test_parse_and_choose() -> None:
    text = """
# comment UUID=x / ext4
UUID=1 / ext4 defaults 0 1
UUID=2 /var/lib/big\\040data ext4 noatime,nofail 0 2
UUID=3 /var xfs
UUID=4 none swap sw 0 0
tmpfs /tmp tmpfs size=1g 0 0
/srv /export none bind 0 0
/a /b ext4 rw,bind 0 0
server:/home /home nfs defaults 0 0
broken line
UUID=5 /boot/efi vfat umask=0077 0 1
UUID=6 relative ext4 defaults 0 0
"""
    found = fstab.disk_mounts(fstab.parse(text))
    assert [(entry.device, entry.target) for entry in found] == [
        ("UUID=3", "/var"),
        ("UUID=5", "/boot/efi"),
        ("UUID=2", "/var/lib/big data"),
    ]
    assert found[2].options == ("noatime", "nofail")
    assert found[0].options == ()


def test_targets_are_plain_and_below_the_root() -> None:
    targets = ["/.", "//", "/..", "/a/../..", "/var/./lib//", "/..a", "/x/../y"]
    entries = fstab.parse("".join(f"UUID=1 {target} ext4\n" for target in targets))
    assert [entry.target for entry in fstab.disk_mounts(entries)] == ["/..a", "/var/lib"]
    assert fstab.leaving(entries) == ["/..", "/a/../..", "/x/../y"]
