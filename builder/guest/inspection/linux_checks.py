"""From what a Linux guest is to findings. Pure: `linux_facts` reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from builder.disk import fstab
from builder.disk.fstab import FstabEntry
from builder.guest.inspection.boot_lines import ON_EFI, BootLine
from builder.guest.inspection.distributions import ADVISED, KNOWN, Advised, concerns
from builder.guest.inspection.linux_facts import AGENT_CONFIG, CLOUD_CONFIGS, HIDING, KernelFacts, LinuxFacts
from builder.guest.inspection.rules import DiskFinding

FSTAB = "/etc/fstab"
DEVICE_NAME = re.compile(r"/dev/(?:[shv]d[a-z]+\d*|xvd[a-z]+\d*|nvme\d+n\d+(?:p\d+)?)$")
# Azure's own names for its disks (udev rules of the agent) and the temporary disk: not on the OS disk
AZURE_DEVICES = ("/dev/disk/azure/", "/dev/disk/cloud/azure")
BY_IDENTITY = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/disk/by-")
FALSE = ("n", "no", "false", "0", "")

STORAGE_DRIVERS = ("hv_vmbus", "hv_storvsc")
NETWORK_DRIVER = "hv_netvsc"
NVME_DRIVER = "nvme"
MEDIA_DRIVERS = ("udf", "vfat")
SERIAL = {"arm64": "ttyAMA0"}

AGENT_SERVICES = frozenset({"walinuxagent.service", "waagent.service", "waagent"})
SSH_SERVICES = frozenset({"ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "sshd", "dropbear",
                          "dropbear.service"})  # fmt: skip

Findings = Iterator[DiskFinding]


def check_linux(facts: LinuxFacts, *, generalized: bool) -> list[DiskFinding]:
    """The findings of all checks. A specialized disk is not provisioned, so that its agents matter less."""
    found = [finding for check in CHECKS for finding in check(facts)]
    if generalized:
        found += _provisioning(facts)
    return found


def _fstab(facts: LinuxFacts) -> Findings:
    for entry in facts.fstab:
        if entry.type in fstab.OTHER_TYPES - {"swap"} or "noauto" in entry.options:
            continue
        if DEVICE_NAME.match(entry.device):
            volume = fstab.find_volume(entry.device, facts.volumes)
            known = volume.content.uuid if volume and volume.content else ""
            remedy = f"write UUID={known} instead" if known else ""
            is_swap = entry.type == "swap"
            message = f"{entry.device} is used as swap" if is_swap else f"{entry.target} is mounted from {entry.device}"
            if volume is None:
                message += ", which is not on this disk"
                remedy = "remove the line, or write the UUID that the filesystem has on its own disk, and `nofail`"
            yield DiskFinding("fstab-device-name", FSTAB, message, remedy=remedy, by_hand=not known)
        elif _is_missing(entry, facts):
            yield DiskFinding("fstab-missing", FSTAB, f"{entry.device} for {entry.target} is not on the disk")


def _is_missing(entry: FstabEntry, facts: LinuxFacts) -> bool:
    if "nofail" in entry.options or entry.device.startswith(AZURE_DEVICES):
        return False
    return _is_nowhere(entry.device, facts)


def _is_nowhere(device: str, facts: LinuxFacts) -> bool:
    """Whether what is named by an identity (UUID=...) is on none of the partitions, as far as one can look."""
    hidden = any(volume.content and volume.content.type in HIDING for volume in facts.volumes)
    return device.startswith(BY_IDENTITY) and not hidden and fstab.find_volume(device, facts.volumes) is None


def _swap(facts: LinuxFacts) -> Findings:
    for volume in facts.volumes:
        if volume.content and volume.content.type == "swap" and volume.disk.lun is None:
            yield DiskFinding("swap-on-os-disk", f"partition {volume.number}", "it is swap")
    for entry in facts.fstab:
        if entry.type == "swap" and entry.device.startswith("/") and not entry.device.startswith("/dev/"):
            yield DiskFinding("swap-on-os-disk", FSTAB, f"{entry.device} is a swap file")


def _boot_lines(facts: LinuxFacts) -> Findings:
    if not facts.boot_lines:
        if not facts.boot_elsewhere:
            yield DiskFinding("boot-line", "/boot", "there are no entries of GRUB, systemd-boot or extlinux")
        return
    seen: set[tuple[str, str]] = set()
    for line in facts.boot_lines:
        for finding in _boot_line(line, facts):
            # One of each kind for a file: its entries are mostly alike
            if (finding.rule, finding.place) not in seen:
                seen.add((finding.rule, finding.place))
                yield finding
    yield from _advised(facts)


def _boot_line(line: BootLine, facts: LinuxFacts) -> Findings:
    # Scripts that run in the guest have no EFI system partition
    by_hand = line.path.startswith(ON_EFI)
    # The last one counts
    for root in line.values("root")[-1:]:
        if DEVICE_NAME.match(root):
            known = bool(facts.root and facts.root.content and facts.root.content.uuid)
            yield DiskFinding("boot-root-name", line.path, f"root={root}", by_hand=by_hand or not known)
        elif _is_nowhere(root.partition("/PARTNROFF=")[0], facts):
            yield DiskFinding("boot-root-missing", line.path, f"root={root} is not on the disk")
    terminal = SERIAL.get(facts.architecture, "ttyS0")
    if terminal not in {value.split(",")[0] for value in line.values("console")}:
        message = f"there is no console={terminal}: {' '.join(line.parameters) or 'no parameters'}"
        yield DiskFinding("boot-console", line.path, message, by_hand=by_hand)


def _advised(facts: LinuxFacts) -> Findings:
    first = facts.boot_lines[0]
    for row in ADVISED:
        if concerns(row.ids, facts.os_release) and _has(first.parameters, row) == row.unwanted:
            verb = "is there" if row.unwanted else "is missing"
            yield DiskFinding("boot-parameter", first.path, f"{row.parameter} {verb}: {row.why}")


def _has(parameters: tuple[str, ...], row: Advised) -> bool:
    # A name alone stands for every value of it
    return any(word == row.parameter or word.startswith(f"{row.parameter}=") for word in parameters)


def _kernels(facts: LinuxFacts) -> Findings:
    if not facts.kernels:
        yield DiskFinding("kernel-missing", "/lib/modules", "there is no kernel with modules")
    for kernel in facts.kernels:
        yield from _drivers(kernel, facts)
        off = [name for name in MEDIA_DRIVERS if name in facts.modules_off and name not in kernel.built_in]
        gone = [name for name in MEDIA_DRIVERS if name not in off and not kernel.has(name)]
        if off:
            yield DiskFinding("driver-media", "/etc/modprobe.d", f"switched off: {', '.join(off)}")
        if gone:
            names = ", ".join(gone)
            remedy = f"install the kernel's other modules, or one that has {names}"
            yield DiskFinding("driver-media", f"kernel {kernel.release}", f"not there: {names}", remedy=remedy)


def _drivers(kernel: KernelFacts, facts: LinuxFacts) -> Findings:
    place = kernel.initramfs or f"kernel {kernel.release}"
    storage = [name for name in STORAGE_DRIVERS if not kernel.has_early(name)]
    unknown = bool(kernel.problem) or (kernel.early is None and bool(facts.boot_elsewhere))
    if kernel.problem:
        yield DiskFinding("initramfs-unreadable", place, kernel.problem)
    elif storage and not unknown:
        absent = [name for name in storage if not kernel.has(name)]
        message = f"{', '.join(storage)} {'is' if len(storage) == 1 else 'are'} missing"
        if kernel.early is None:
            message += f": kernel {kernel.release} has no initramfs"
        remedy = f"install a kernel that has {', '.join(absent)}" if absent else ""
        yield DiskFinding(
            "driver-storage", place, message, remedy=remedy, by_hand=bool(absent) or not facts.initramfs_tools
        )
    if not kernel.has(NETWORK_DRIVER):
        yield DiskFinding("driver-network", f"kernel {kernel.release}", f"{NETWORK_DRIVER} is missing")
    if not unknown and not kernel.has_early(NVME_DRIVER):
        absent_too = not kernel.has(NVME_DRIVER)
        remedy = f"install a kernel that has {NVME_DRIVER}" if absent_too else ""
        by_hand = absent_too or not facts.initramfs_tools
        yield DiskFinding("driver-nvme", place, f"{NVME_DRIVER} is missing", remedy=remedy, by_hand=by_hand)


def _agents(facts: LinuxFacts) -> Findings:
    if not facts.agent:
        yield DiskFinding("agent-missing", "/usr/sbin/waagent", "it is not there")
    elif not facts.services & AGENT_SERVICES:
        yield DiskFinding("agent-missing", "/etc/systemd/system", "its service is not enabled")
    uses_cloud_init = facts.cloud_init and not facts.cloud_init_off
    doubled = [
        f"{name}=y" for name in ("ResourceDisk.Format", "ResourceDisk.EnableSwap") if _is_on(facts, name.lower())
    ]
    if facts.agent and uses_cloud_init and doubled:
        yield DiskFinding("resource-disk", AGENT_CONFIG, ", ".join(doubled))


def _is_on(facts: LinuxFacts, name: str) -> bool:
    return facts.agent_config.get(name, "").lower() not in FALSE


def _provisioning(facts: LinuxFacts) -> Findings:
    """Who makes the user of a VM: cloud-init, or the agent, as waagent.conf says."""
    uses_cloud_init = facts.cloud_init and not facts.cloud_init_off
    if not facts.agent and not facts.cloud_init:
        yield DiskFinding("provisioning-none", "/usr/bin/cloud-init", "neither cloud-init nor the agent is there")
        return
    if not uses_cloud_init:
        off = facts.cloud_init_off or "cloud-init is not there"
        chosen = facts.agent_config.get("provisioning.agent", "auto").lower()
        enabled = facts.agent_config.get("provisioning.enabled", "y").lower() not in FALSE
        if not facts.agent:
            yield DiskFinding("provisioning-none", "/usr/bin/cloud-init", f"no agent is there, and {off}")
        elif chosen in ("cloud-init", "disabled") or (chosen == "" and not enabled):
            setting = f"Provisioning.Agent={chosen}" if chosen else "Provisioning.Enabled=n"
            yield DiskFinding("provisioning-conflict", AGENT_CONFIG, f"{setting}, but {off}")
        return
    if facts.datasources is not None and "Azure" not in facts.datasources:
        names = ", ".join(facts.datasources) or "nothing"
        yield DiskFinding("cloud-init-datasource", CLOUD_CONFIGS[1], f"datasource_list names {names}")


def _ssh(facts: LinuxFacts) -> Findings:
    if not facts.ssh_server:
        yield DiskFinding("ssh", "/usr/sbin/sshd", "it is not there")
    elif not facts.services & SSH_SERVICES:
        yield DiskFinding("ssh", "/etc/systemd/system", "its service is not enabled")


def _distribution(facts: LinuxFacts) -> Findings:
    if not concerns(KNOWN, facts.os_release):
        name = facts.os_release.get("PRETTY_NAME") or facts.os_release.get("ID") or "it says not what it is"
        yield DiskFinding("distribution-unknown", "/etc/os-release", name)


def _unclean(facts: LinuxFacts) -> Findings:
    for volume in facts.volumes:
        # The superblock of xfs doesn't tell; the kernel does, when it has to replay the journal
        told = any(note.startswith(f"{volume.name} was not unmounted cleanly") for note in facts.notes)
        if told or (volume.content and volume.content.dirty):
            yield DiskFinding("filesystem-unclean", f"partition {volume.number}", "its journal holds changes")


CHECKS: tuple[Callable[[LinuxFacts], Findings], ...] = (
    _unclean,
    _fstab,
    _swap,
    _boot_lines,
    _kernels,
    _agents,
    _ssh,
    _distribution,
)
