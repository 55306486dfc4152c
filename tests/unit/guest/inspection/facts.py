"""A Linux that is as Azure wants it, to be changed by tests."""

from __future__ import annotations

from pathlib import Path

from builder.disk.filesystems import Content
from builder.disk.fstab import parse
from builder.disk.layers import DiskLayer
from builder.disk.volumes import Volume
from builder.guest.inspection.boot_lines import BootLine
from builder.guest.inspection.linux_facts import KernelFacts, LinuxFacts

UUID = "11111111-1111-4111-8111-111111111111"
DISK = DiskLayer(Path("disk.qcow2"))
DRIVERS = frozenset({"hv_vmbus", "hv_storvsc", "hv_netvsc", "nvme", "udf", "vfat"})
GOOD_LINE = f"root=UUID={UUID} ro console=tty1 console=ttyS0,115200"


def volume(number: int = 1, content: Content | None = None) -> Volume:
    start = number * 1024**2
    return Volume(DISK, DISK.path, number, start, 1024**2, content or Content("ext4", UUID))


def kernel(early: frozenset[str] | None = DRIVERS, **more: object) -> KernelFacts:
    values = {"modules": DRIVERS, "built_in": frozenset[str](), "initramfs": "/boot/initrd.img-6.1", "problem": ""}
    return KernelFacts(release="6.1", early=early, **{**values, **more})  # type: ignore[arg-type]


def boot_line(text: str = GOOD_LINE, path: str = "/boot/grub/grub.cfg") -> BootLine:
    return BootLine(path, tuple(text.split()))


def linux(fstab: str = f"UUID={UUID} / ext4 defaults 0 1\n", **more: object) -> LinuxFacts:
    values: dict[str, object] = {
        "os_release": {"ID": "debian"},
        "architecture": "x64",
        "fstab": tuple(parse(fstab)),
        "volumes": (volume(),),
        "root": volume(),
        "boot_lines": (boot_line(),),
        "kernels": (kernel(),),
        "services": frozenset({"walinuxagent.service", "ssh.service"}),
        "agent": True,
        "agent_config": {"provisioning.agent": "auto", "resourcedisk.format": "n"},
        "cloud_init": True,
        "cloud_init_off": "",
        "datasources": ("Azure",),
        "ssh_server": True,
        "modules_off": frozenset(),
        "machine_id": False,
        "boot_elsewhere": "",
        "initramfs_tools": True,
        "notes": (),
    }
    return LinuxFacts(**{**values, **more})  # type: ignore[arg-type]
