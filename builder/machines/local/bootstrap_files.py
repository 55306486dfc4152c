"""The files that make a bare Debian or Ubuntu system one that boots on Azure. Plain data; `bootstrap` puts them in.

Rules are those of Azure's "Prepare a Debian VHD", "Prepare an Ubuntu virtual machine", "Information for community
supported and non-endorsed distributions" and "Time sync for Linux VMs in Azure".
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from builder.guest.apt_sources import AptSource, sources_text
from builder.machines.local.distributions import Distribution

# Where the finishing script finds its material, for as long as it runs
FINISH = "build-finish"

# Without an initramfs that knows the disk's bus there is no root filesystem. Hyper-V's are Azure's, NVMe is that of
# its newer sizes, virtio and SATA are for machines that rehearse a deployment here
BOOT_MODULES = ("hv_vmbus", "hv_storvsc", "hv_netvsc", "nvme", "virtio_pci", "virtio_blk", "virtio_scsi", "ext4")
# hv_utils answers shutdown and time requests of the host; the others are listed in Azure's instructions
FORCED_MODULES = ("hv_vmbus", "hv_storvsc", "hv_netvsc", "hv_utils")

# The time-out is Azure's advice for NVMe disks. Its rootdelay=300 is left out on purpose: initramfs-tools takes it for
# a pause and sleeps five minutes at every start, and waits for the root disk without it
KERNEL_PARAMETERS = {
    "x64": "console=tty1 console=ttyS0,115200 earlyprintk=ttyS0,115200 nvme_core.io_timeout=240",
    "arm64": "console=tty1 console=ttyAMA0,115200 earlycon=pl011,0xeffec000 nvme_core.io_timeout=240",
}
SERIAL_TERMINALS = {"x64": "ttyS0", "arm64": "ttyAMA0"}


@dataclass(frozen=True)
class BaseFacts:
    """What the files depend on. `esp_id` is a FAT volume id such as `1A2B-3C4D`; the sources are the image's own."""

    distribution: Distribution
    architecture: str
    root_uuid: str
    esp_id: str
    sources: tuple[AptSource, ...]


@dataclass(frozen=True)
class GuestFile:
    """A file of root's in the guest. `path` is relative to its root."""

    path: str
    text: str
    mode: int = 0o644


def early_files() -> list[GuestFile]:
    """Files that must be there before the kernel is installed, because its initramfs is made of them."""
    return [GuestFile("usr/share/initramfs-tools/modules.d/azure", "".join(f"{name}\n" for name in FORCED_MODULES))]


def files(facts: BaseFacts) -> list[GuestFile]:
    """All files that are written once the packages are installed, the finishing script's among them."""
    return [
        *_system_files(facts),
        *_azure_files(),
        *_boot_files(facts),
        GuestFile(f"{FINISH}/finish.sh", _finish_script(), 0o755),
        GuestFile(f"{FINISH}/early.cfg", _find_root(facts)),
        GuestFile(f"{FINISH}/esp.cfg", _find_root(facts) + "configfile $prefix/grub.cfg\n"),
        GuestFile(f"{FINISH}/kernel-links", facts.distribution.kernel_links + "\n"),
        GuestFile(f"{FINISH}/terminal", SERIAL_TERMINALS[facts.architecture] + "\n"),
    ]


def _finish_script() -> str:
    return resources.files(__package__).joinpath("bootstrap_finish.sh").read_text()


def _system_files(facts: BaseFacts) -> list[GuestFile]:
    fstab = (
        f"UUID={facts.root_uuid} / ext4 defaults,discard,errors=remount-ro 0 1\n"
        # Nothing on it is needed once the system runs: losing it must not keep a VM from starting
        f"UUID={facts.esp_id} /boot/efi vfat umask=0077,nofail 0 0\n"
    )
    hosts = (
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
    return [
        GuestFile("etc/fstab", fstab),
        GuestFile("etc/hosts", hosts),
        GuestFile("etc/hostname", "localhost\n"),
        GuestFile("etc/default/locale", "LANG=C.UTF-8\n"),
        # machine-id(5): the word that makes the next boot a first boot
        GuestFile("etc/machine-id", "uninitialized\n"),
        GuestFile(f"etc/apt/sources.list.d/{facts.distribution.name}.sources", sources_text(facts.sources)),
    ]


def _azure_files() -> list[GuestFile]:
    cloud = (
        "datasource_list: [ Azure ]\n"
        "locale: C.UTF-8\n"
        "apt:\n  preserve_sources_list: true\n"
        "reporting:\n  logging:\n    type: log\n  telemetry:\n    type: hyperv\n"
    )
    # chronyd refuses to start on a clock that isn't there, so the clock itself brings its configuration
    clock = "refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2"
    rule = (
        'ACTION=="add", SUBSYSTEM=="ptp", ATTR{clock_name}=="hyperv", '
        f"RUN+=\"/bin/sh -c 'mkdir -p /run/chrony-hyperv && echo {clock} > /run/chrony-hyperv/clock.conf'\"\n"
    )
    return [
        GuestFile("etc/cloud/cloud.cfg.d/90-azure.cfg", cloud),
        # Where that telemetry goes; on Hyper-V its daemon owns the file, elsewhere cloud-init complains without it
        GuestFile("var/lib/hyperv/.kvp_pool_1", ""),
        # Azure's load balancers drop connections that are silent for four minutes
        GuestFile(
            "etc/ssh/sshd_config.d/40-azure.conf", "ClientAliveInterval 180\nPermitRootLogin prohibit-password\n"
        ),
        GuestFile("etc/udev/rules.d/60-chrony-hyperv.rules", rule),
        GuestFile("etc/chrony/conf.d/hyperv.conf", "makestep 1.0 -1\nconfdir /run/chrony-hyperv\n"),
        GuestFile("etc/apparmor.d/local/usr.sbin.chronyd", "/run/chrony-hyperv/ r,\n/run/chrony-hyperv/*.conf r,\n"),
    ]


def _find_root(facts: BaseFacts) -> str:
    return f"search.fs_uuid {facts.root_uuid} root\nset prefix=($root)/boot/grub\n"


def _menu_entry(facts: BaseFacts, parameters: str) -> str:
    links = facts.distribution.kernel_links
    return (
        f"menuentry '{facts.distribution.title}' {{\n"
        f"    search --no-floppy --fs-uuid --set=root {facts.root_uuid}\n"
        f"    linux {links}/vmlinuz root=UUID={facts.root_uuid} ro {parameters}\n"
        f"    initrd {links}/initrd.img\n"
        "}\n"
    )


def _boot_files(facts: BaseFacts) -> list[GuestFile]:
    parameters = KERNEL_PARAMETERS[facts.architecture]
    # The links always name the newest kernel, so this stays right when kernels are upgraded
    menu = (
        "# The first menu of this image; update-grub replaces it.\n"
        "set default=0\nset timeout=1\n"
        "if serial --unit=0 --speed=115200; then\n"
        "    terminal_input console serial\n    terminal_output console serial\nfi\n"
    )
    settings = (
        "GRUB_TIMEOUT=1\nGRUB_TIMEOUT_STYLE=menu\nGRUB_RECORDFAIL_TIMEOUT=1\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT=""\nGRUB_CMDLINE_LINUX="{parameters}"\n'
        'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
    )
    # update-grub finds no kernels where it can't see the disk (a chroot, a container): this entry is there anyway
    script = (
        "#!/bin/sh -e\ncat <<END\n" + _menu_entry(facts, "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT") + "END\n"
    )
    found = [
        GuestFile("boot/grub/grub.cfg", menu + _menu_entry(facts, parameters)),
        GuestFile("etc/default/grub.d/50-azure.cfg", settings),
        GuestFile("etc/grub.d/09_current_kernel", script, 0o755),
    ]
    if any(name.startswith("grub-cloud-") for name in facts.distribution.architecture_packages[facts.architecture]):
        # grub-cloud renews boot code on upgrades where this file is. It appears at the first start, not before:
        # while the image is made its disk is no disk that GRUB could be installed on
        found.append(GuestFile("etc/tmpfiles.d/grub-cloud.conf", "f /etc/grub.d/enable_cloud 0644 root root -\n"))
    return found


def write_tar(path: Path, guest_files: list[GuestFile]) -> None:
    """The files as a tar archive, all of them root's; folders are left to the guest."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for item in guest_files:
            data = item.text.encode()
            info = tarfile.TarInfo(item.path)
            info.size, info.mode = len(data), item.mode
            archive.addfile(info, io.BytesIO(data))


def recipe(facts: BaseFacts) -> Mapping[str, str]:
    """Everything in this file that decides the result, for the digest of the base."""
    return {item.path: f"{item.mode:o} {item.text}" for item in [*early_files(), *files(facts)]}
