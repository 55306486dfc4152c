"""What a mounted Linux guest is, as far as Azure's rules ask. Reads only; `linux_checks` judges."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.disk import fstab
from builder.disk.fstab import FstabEntry
from builder.disk.system import OpenedSystem
from builder.disk.tree import GuestTree
from builder.disk.volumes import Volume
from builder.guest.inspection import initramfs
from builder.guest.inspection.boot_lines import SMALL, BootLine, boot_lines
from builder.guest.inspection.efi_partition import EfiPartition
from builder.guest.inspection.unpacking import Unreadable
from builder.guest.inventory import kernels, services

AGENTS = ("/usr/sbin/waagent", "/usr/bin/waagent", "/usr/local/sbin/waagent")
AGENT_CONFIG = "/etc/waagent.conf"
CLOUD_INIT = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init")
CLOUD_CONFIGS = ("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg")
CLOUD_DISABLED = "/etc/cloud/cloud-init.disabled"
SSH_SERVERS = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/sbin/dropbear")
# Where distributions put the initramfs of a kernel release
INITRAMFS = ("/boot/initrd.img-{}", "/boot/initramfs-{}.img", "/boot/initrd-{}", "/lib/modules/{}/initrd")
# Where they put the kernel itself
KERNEL_IMAGES = ("/boot/vmlinuz-{}", "/boot/vmlinux-{}", "/boot/Image-{}", "/lib/modules/{}/vmlinuz")
INITRAMFS_TOOLS = ("/usr/sbin/update-initramfs", "/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")
# What nobody can look into from outside
HIDING = ("lvm", "luks", "bitlocker")
# Alpine's and Arch's have the flavour, not the release, in their name
INITRAMFS_BY_FLAVOUR = "/boot/initramfs-*"
SHIPPED_UNITS = "/usr/lib/systemd/system/*.wants/*"
MODPROBE = ("/etc/modprobe.d/*.conf", "/usr/lib/modprobe.d/*.conf")
_SWITCHED_OFF = re.compile(r"^\s*(?:install\s+(\S+)\s+(?:/usr)?/bin/(?:true|false)\b|blacklist\s+(\S+))")


@dataclass(frozen=True)
class KernelFacts:
    """An installed kernel: modules by name, those of its initramfs (None: it has none) and those built in.

    `initramfs` is its path; `problem` says why it could not be read.
    """

    release: str
    modules: frozenset[str]
    built_in: frozenset[str]
    initramfs: str
    early: frozenset[str] | None
    problem: str = ""

    def has_early(self, name: str) -> bool:
        """Whether the module is there before the root filesystem is."""
        return name in self.built_in or name in (self.early or ())

    def has(self, name: str) -> bool:
        """Whether the module is there at all."""
        return self.has_early(name) or name in self.modules


@dataclass(frozen=True)
class LinuxFacts:
    """What was read from a guest.

    `agent` and `cloud_init` tell whether they are installed; `datasources` is cloud-init's list (None: not given),
    `agent_config` what waagent.conf says (keys in lower case). `modules_off` are modules that modprobe.d switches off.
    `boot_elsewhere` says where kernels and boot entries may stand that could not be looked at. `initramfs_tools` tells
    whether what `--fix` makes an initramfs with is there.
    """

    os_release: Mapping[str, str]
    architecture: str
    fstab: tuple[FstabEntry, ...]
    volumes: tuple[Volume, ...]
    root: Volume | None
    boot_lines: tuple[BootLine, ...]
    kernels: tuple[KernelFacts, ...]
    services: frozenset[str]
    agent: bool
    agent_config: Mapping[str, str]
    cloud_init: bool
    cloud_init_off: str
    datasources: tuple[str, ...] | None
    ssh_server: bool
    modules_off: frozenset[str]
    machine_id: bool
    boot_elsewhere: str
    initramfs_tools: bool
    notes: tuple[str, ...]


def read_facts(system: OpenedSystem, efi: EfiPartition | None = None) -> LinuxFacts:
    """Everything that the checks ask for, from a system that is mounted, and its EFI system partition."""
    tree = system.tree
    efi = efi or EfiPartition()
    lines = boot_lines(tree, efi.settings)
    root = next((item.volume for item in system.filesystems if item.target == "/"), None)
    return LinuxFacts(
        os_release=system.os_release,
        architecture=system.architecture,
        fstab=tuple(fstab.parse(text_of(tree, "/etc/fstab"))),
        volumes=system.volumes,
        root=root,
        boot_lines=lines,
        kernels=tuple(_kernel(tree, release) for release in _installed(tree)),
        services=frozenset(services(tree)) | {path.rsplit("/", 1)[1] for path in tree.glob(SHIPPED_UNITS)},
        agent=any(tree.exists(path) for path in AGENTS),
        agent_config=agent_config(text_of(tree, AGENT_CONFIG)),
        cloud_init=any(tree.exists(path) for path in CLOUD_INIT),
        cloud_init_off=_cloud_init_off(tree, lines),
        datasources=_datasources(tree),
        ssh_server=any(tree.exists(path) for path in SSH_SERVERS),
        modules_off=_modules_off(tree),
        machine_id=bool(re.fullmatch(r"[0-9a-f]{32}\s*", text_of(tree, "/etc/machine-id"))),
        boot_elsewhere="the EFI system partition" if efi.kernels else _boot_not_mounted(system),
        initramfs_tools=any(tree.exists(path) for path in INITRAMFS_TOOLS),
        notes=system.notes,
    )


def _boot_not_mounted(system: OpenedSystem) -> str:
    """Which folder of those that kernels stand in is a filesystem of its own that is not mounted."""
    entries = fstab.disk_mounts(fstab.parse(text_of(system.tree, "/etc/fstab")))
    mounted = {item.target for item in system.filesystems}
    return next((entry.target for entry in entries if entry.target == "/boot" and entry.target not in mounted), "")


def not_looked_at(system: OpenedSystem, efi: EfiPartition | None) -> list[str]:
    """What of the disk's content no check has seen, and why."""
    # A filesystem that is missing is a finding; the EFI system partition is read without being mounted
    told = ("is on none of the disks", "doesn't mount vfat", "not unmounted cleanly")
    found = [note for note in system.notes if not any(words in note for words in told)]
    for volume in system.volumes:
        if volume.content and volume.content.type in HIDING:
            found.append(f"what is in partition {volume.number} ({volume.content.type})")
    if efi is not None and efi.kernels:
        found.append("kernels on the EFI system partition, and their drivers")
    return found


def text_of(tree: GuestTree, path: str) -> str:
    """A small text file; "" when there is none."""
    return tree.read_text(path, SMALL) if tree.is_file(path) else ""


def _kernel(tree: GuestTree, release: str) -> KernelFacts:
    folder = f"/lib/modules/{release}"
    modules = frozenset(
        initramfs.module_name(line.split(":", 1)[0])
        for line in _lines(tree, f"{folder}/modules.dep")
        if ".ko" in line.split(":", 1)[0]
    )
    built_in = frozenset(initramfs.module_name(line) for line in _lines(tree, f"{folder}/modules.builtin"))
    path = _initramfs(tree, release)
    if not path:
        return KernelFacts(release, modules, built_in, "", None)
    try:
        with tree.opened(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
            return KernelFacts(release, modules, built_in, path, initramfs.module_names(file))
    except Unreadable as error:
        return KernelFacts(release, modules, built_in, path, None, error.message)


def _installed(tree: GuestTree) -> list[str]:
    """The releases whose kernel is there: removed ones may leave their folder of modules. All, where none is known."""
    releases = kernels(tree)
    found = [
        release
        for release in releases
        if _initramfs(tree, release) or any(tree.is_file(path.format(release)) for path in KERNEL_IMAGES)
    ]
    return found or releases


def _lines(tree: GuestTree, path: str) -> list[str]:
    return tree.read_text(path).splitlines() if tree.is_file(path) else []


def _initramfs(tree: GuestTree, release: str) -> str:
    named = [pattern.format(release) for pattern in INITRAMFS]
    flavour = release.rsplit("-", 1)[-1]
    by_flavour = [path for path in tree.glob(INITRAMFS_BY_FLAVOUR) if path.removesuffix(".img").endswith(flavour)]
    return next((path for path in (*named, *by_flavour) if tree.is_file(path)), "")


def agent_config(text: str) -> dict[str, str]:
    """The settings of waagent.conf: names in lower case, values without comments. The last one wins."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            found[name.strip().lower()] = value.strip().strip('"')
    return found


def _cloud_init_off(tree: GuestTree, lines: Sequence[BootLine]) -> str:
    """What switches cloud-init off, "" when nothing does. Source: cloud-init's ds-identify and its generator."""
    if tree.exists(CLOUD_DISABLED):
        return CLOUD_DISABLED
    if any("disabled" in line.values("cloud-init") for line in lines):
        return "cloud-init=disabled in the boot line"
    if any(tree.is_link(f"/etc/systemd/system/{unit}") and tree.read_link(f"/etc/systemd/system/{unit}") == "/dev/null"
           for unit in ("cloud-init.service", "cloud-init-local.service", "cloud-init.target")):  # fmt: skip
        return "its units are masked"
    return ""


def _datasources(tree: GuestTree) -> tuple[str, ...] | None:
    """cloud-init's `datasource_list`: the last file that has one wins."""
    from yaml import YAMLError, safe_load

    found: tuple[str, ...] | None = None
    for path in [path for pattern in CLOUD_CONFIGS for path in tree.glob(pattern)]:
        text = text_of(tree, path)
        if "datasource_list" not in text:
            continue
        try:
            document: Any = safe_load(text)
        except (YAMLError, ValueError, TypeError, RecursionError):
            continue  # cloud-init ignores such a file, too
        names = document.get("datasource_list") if isinstance(document, dict) else None
        if isinstance(names, list):
            found = tuple(name for name in names if isinstance(name, str))
    return found


def _modules_off(tree: GuestTree) -> frozenset[str]:
    found = set()
    for path in [path for pattern in MODPROBE for path in tree.glob(pattern)]:
        for line in text_of(tree, path).splitlines():
            if match := _SWITCHED_OFF.match(line):
                found.add((match[1] or match[2]).replace("-", "_"))
    return frozenset(found)
