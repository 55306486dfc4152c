"""The distributions that `bootstrap` can make: their releases, archives and what an Azure image needs of them.

A table: another release is another row. Package names were checked against the archives; Ubuntu's differ from
Debian's in the kernel, the agent's name and the boot loader's packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.errors import BuildError


@dataclass(frozen=True)
class Distribution:
    """What the releases of a distribution share.

    `architecture_packages` are the kernel and boot loaders by architecture; `mirrors` and `security_mirrors` are
    archives by architecture. `image_mirrors` are those that the finished image uses, where they are others (Azure
    runs mirrors of its own). `vendor` is the folder on the EFI system partition in which the signed GRUB looks for
    its configuration; `kernel_links` the folder in which `vmlinuz` and `initrd.img` point to the newest kernel.
    """

    name: str
    title: str
    releases: Mapping[str, str]
    components: tuple[str, ...]
    packages: tuple[str, ...]
    architecture_packages: Mapping[str, tuple[str, ...]]
    release_packages: Mapping[str, tuple[str, ...]]
    mirrors: Mapping[str, str]
    image_mirrors: Mapping[str, str]
    security_mirrors: Mapping[str, str]
    keyring: str
    keyring_package: str
    vendor: str
    kernel_links: str


# What both need: an init, a network, a login, and what Azure's provisioning and its documentation ask for
_COMMON = (
    "ca-certificates",
    "chrony",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "gdisk",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "locales",
    "logrotate",
    "netplan.io",
    "openssh-server",
    "procps",
    "sudo",
    "systemd-sysv",
    "udev",
    "zstd",
)

DEBIAN = Distribution(
    name="debian",
    title="Debian GNU/Linux",
    releases={"11": "bullseye", "12": "bookworm", "13": "trixie"},
    components=("main",),
    packages=(*_COMMON, "waagent"),
    architecture_packages={
        # grub-cloud brings the loaders of BIOS and UEFI machines together, with the signed ones for Secure Boot
        "x64": ("linux-image-cloud-amd64", "grub-cloud-amd64", "hyperv-daemons"),
        "arm64": ("linux-image-cloud-arm64", "grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed"),
    },
    # Until Debian 11 systemd-resolved was part of systemd, and only x64 had the Hyper-V daemons
    release_packages={
        "bookworm": ("systemd-resolved", "hyperv-daemons"),
        "trixie": ("systemd-resolved", "hyperv-daemons"),
    },
    mirrors={"x64": "http://deb.debian.org/debian", "arm64": "http://deb.debian.org/debian"},
    image_mirrors={},
    security_mirrors={
        "x64": "http://deb.debian.org/debian-security",
        "arm64": "http://deb.debian.org/debian-security",
    },
    keyring="/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package="debian-archive-keyring",
    vendor="debian",
    kernel_links="",
)

UBUNTU = Distribution(
    name="ubuntu",
    title="Ubuntu",
    releases={"20.04": "focal", "22.04": "jammy", "24.04": "noble"},
    components=("main", "restricted", "universe"),
    packages=(*_COMMON, "walinuxagent"),
    architecture_packages={
        # linux-azure carries the Hyper-V daemons in its cloud tools
        "x64": (
            "linux-azure",
            "linux-cloud-tools-azure",
            "grub-pc",
            "grub-efi-amd64-bin",
            "grub-efi-amd64-signed",
            "shim-signed",
        ),
        "arm64": ("linux-azure", "grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed"),
    },
    release_packages={"noble": ("systemd-resolved",)},
    mirrors={"x64": "http://archive.ubuntu.com/ubuntu", "arm64": "http://ports.ubuntu.com/ubuntu-ports"},
    image_mirrors={
        "x64": "http://azure.archive.ubuntu.com/ubuntu",
        "arm64": "http://azure.ports.ubuntu.com/ubuntu-ports",
    },
    security_mirrors={"x64": "http://security.ubuntu.com/ubuntu", "arm64": "http://ports.ubuntu.com/ubuntu-ports"},
    keyring="/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package="ubuntu-keyring",
    vendor="ubuntu",
    kernel_links="/boot",
)

DISTRIBUTIONS = {"debian": DEBIAN, "ubuntu": UBUNTU}


def find_release(distribution: str | None, release: str | None) -> tuple[Distribution, str, str]:
    """The distribution, its release's number and its suite, for a release given as number or code name.

    Raises BuildError naming what can be bootstrapped.
    """
    known = DISTRIBUTIONS.get(distribution or "")
    if known is None:
        raise BuildError(
            f"bootstrap can't make {distribution or 'an image without os.distribution'}",
            code="bootstrap-distribution",
            hint=f"it makes: {', '.join(DISTRIBUTIONS)}; start from a disk with `source: {{file: ...}}` otherwise",
        )
    for number, suite in known.releases.items():
        if release in (number, suite):
            return known, number, suite
    releases = ", ".join(f"{number} ({suite})" for number, suite in known.releases.items())
    raise BuildError(
        f"bootstrap doesn't know release {release or '(none given)'} of {known.name}",
        code="bootstrap-release",
        hint=f"it makes: {releases}",
    )
