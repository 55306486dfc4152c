"""Facts of a Linux guest to findings, as a table."""

from __future__ import annotations

import pytest

from builder.disk.filesystems import Content
from builder.guest.inspection.linux_checks import check_linux
from builder.guest.inspection.linux_facts import LinuxFacts, agent_config
from tests.unit.guest.inspection.facts import DRIVERS, UUID, boot_line, kernel, linux, volume

GOOD = f"UUID={UUID} / ext4 defaults 0 1\n"
RHEL = {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}
NOTHING: frozenset[str] = frozenset()


def fstab(line: str) -> LinuxFacts:
    return linux(GOOD + line + "\n")


CASES: dict[str, tuple[LinuxFacts, list[str]]] = {
    "a good one": (linux(), []),
    "fstab: sda": (linux("/dev/sda1 / ext4 defaults 0 1\n"), ["fstab-device-name"]),
    "fstab: nvme": (fstab("/dev/nvme0n1p2 /data ext4 defaults 0 2"), ["fstab-device-name"]),
    "fstab: swap on sdb": (fstab("/dev/sdb2 none swap sw 0 0"), ["fstab-device-name"]),
    "fstab: a DVD": (fstab("/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0"), []),
    "fstab: not at boot": (fstab("/dev/sdb1 /mnt ext4 noauto 0 0"), []),
    "fstab: gone": (fstab("LABEL=gone /srv ext4 defaults 0 2"), ["fstab-missing"]),
    "fstab: maybe in a logical volume": (
        linux(f"{GOOD}UUID=2 /srv xfs defaults 0 2\n", volumes=(volume(), volume(2, Content("lvm")))), []),
    "fstab: gone, nofail": (fstab("LABEL=gone /srv ext4 defaults,nofail 0 2"), []),
    "fstab: Azure's disks": (fstab("/dev/disk/azure/scsi1/lun0-part1 /srv ext4 defaults 0 2"), []),
    "fstab: temporary disk": (fstab("/dev/disk/cloud/azure_resource-part1 /mnt auto defaults 0 2"), []),
    "fstab: tmpfs": (fstab("tmpfs /tmp tmpfs defaults 0 0"), []),
    "fstab: swap file": (fstab("/swapfile none swap sw 0 0"), ["swap-on-os-disk"]),
    "swap partition": (linux(volumes=(volume(), volume(2, Content("swap")))), ["swap-on-os-disk"]),
    "unclean, as the kernel says": (
        linux(notes=(f"{volume().name} was not unmounted cleanly; it is shown without what",)), ["filesystem-unclean"]),
    "unclean": (linux(volumes=(volume(1, Content("ext4", UUID, dirty=True)),)), ["filesystem-unclean"]),
    "boot: none": (linux(boot_lines=()), ["boot-line"]),
    "boot: no console": (linux(boot_lines=(boot_line("ro console=tty1"),)), ["boot-console"]),
    "boot: another console": (linux(boot_lines=(boot_line("console=ttyS1"),)), ["boot-console"]),
    "boot: two entries of a file": (linux(boot_lines=(boot_line("ro"), boot_line("quiet"))), ["boot-console"]),
    "boot: Arm64": (linux(architecture="arm64"), ["boot-console"]),
    "boot: Arm64's": (linux(architecture="arm64", boot_lines=(boot_line("console=ttyAMA0"),)), []),
    "boot: root by name": (linux(boot_lines=(boot_line("root=/dev/sda1 console=ttyS0"),)), ["boot-root-name"]),
    "boot: root is nowhere": (linux(boot_lines=(boot_line("root=UUID=2 console=ttyS0"),)), ["boot-root-missing"]),
    "boot: the last root counts": (
        linux(boot_lines=(boot_line(f"root=UUID=2 root=/dev/sda1 root=UUID={UUID} console=ttyS0"),)), []),
    "boot: root may be in a logical volume": (
        linux(boot_lines=(boot_line("root=UUID=2 console=ttyS0"),), volumes=(volume(), volume(2, Content("lvm")))), []),
    "boot: beside a known partition": (
        linux(boot_lines=(boot_line("root=LABEL=x/PARTNROFF=1 console=ttyS0"),),
              volumes=(volume(1, Content("ext4", UUID, "x")),)), []),
    "boot: entries nobody could look at": (linux(boot_lines=(), boot_elsewhere="/boot"), []),
    "boot: pause": (linux(boot_lines=(boot_line("rootdelay=300 console=ttyS0"),)), ["boot-parameter"]),
    "boot: RHEL": (
        linux(os_release=RHEL, boot_lines=(boot_line("console=ttyS0 rootdelay=300 net.ifnames=0"),)), []),
    "boot: RHEL's defaults": (
        linux(os_release=RHEL, boot_lines=(boot_line("console=ttyS0 rhgb quiet crashkernel=auto"),)),
        ["boot-parameter"] * 4),
    "kernel: none": (linux(kernels=()), ["kernel-missing"]),
    "kernel: built in": (linux(kernels=(kernel(NOTHING, built_in=DRIVERS),)), []),
    "kernel: not early": (linux(kernels=(kernel(NOTHING),)), ["driver-storage", "driver-nvme"]),
    "kernel: network later": (linux(kernels=(kernel(DRIVERS - {"hv_netvsc"}),)), []),
    "kernel: no network": (
        linux(kernels=(kernel(DRIVERS - {"hv_netvsc"}, modules=DRIVERS - {"hv_netvsc"}),)), ["driver-network"]),
    "kernel: no initramfs": (linux(kernels=(kernel(None, initramfs=""),)), ["driver-storage", "driver-nvme"]),
    "kernel: initramfs elsewhere": (linux(kernels=(kernel(None, initramfs=""),), boot_elsewhere="/boot"), []),
    "kernel: unreadable": (linux(kernels=(kernel(None, problem="it is damaged"),)), ["initramfs-unreadable"]),
    "kernel: hardened": (linux(modules_off=frozenset({"udf", "cramfs"})), ["driver-media"]),
    "kernel: no udf": (linux(kernels=(kernel(modules=DRIVERS - {"udf"}, early=DRIVERS - {"udf"}),)), ["driver-media"]),
    "agent: none": (linux(agent=False), ["agent-missing"]),
    "agent: off": (linux(services=frozenset({"sshd.service"})), ["agent-missing"]),
    "agent: RHEL's name": (linux(services=frozenset({"waagent.service", "sshd.socket"})), []),
    "agent: formats too": (linux(agent_config={"resourcedisk.format": "y"}), ["resource-disk"]),
    "agent: formats alone": (linux(agent_config={"resourcedisk.format": "y"}, cloud_init=False), []),
    "provisioning: nobody": (linux(agent=False, cloud_init=False), ["agent-missing", "provisioning-none"]),
    "provisioning: cloud-init off": (linux(agent=False, cloud_init_off="x"), ["agent-missing", "provisioning-none"]),
    "provisioning: the agent": (linux(cloud_init=False), []),
    "provisioning: left to none": (
        linux(cloud_init=False, agent_config={"provisioning.agent": "cloud-init"}), ["provisioning-conflict"]),
    "provisioning: off": (
        linux(cloud_init_off="x", agent_config={"provisioning.agent": "disabled"}), ["provisioning-conflict"]),
    "provisioning: older setting": (
        linux(cloud_init=False, agent_config={"provisioning.agent": "", "provisioning.enabled": "n"}),
        ["provisioning-conflict"]),
    "cloud-init: elsewhere": (linux(datasources=("NoCloud", "None")), ["cloud-init-datasource"]),
    "cloud-init: it looks itself": (linux(datasources=None), []),
    "ssh: none": (linux(ssh_server=False), ["ssh"]),
    "ssh: off": (linux(services=frozenset({"waagent"})), ["ssh"]),
    "distribution: Fedora": (
        linux(os_release={"ID": "fedora"}, boot_lines=(boot_line("console=ttyS0 rootdelay=300 net.ifnames=0"),)),
        ["distribution-unknown"]),
    "distribution: Tumbleweed": (
        linux(os_release={"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"}), ["boot-parameter"]),
    "distribution: a derivative": (linux(os_release={"ID": "raspbian", "ID_LIKE": "debian"}), []),
    "distribution: another": (linux(os_release={"ID": "gentoo"}), ["distribution-unknown"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_facts_to_findings(case: str) -> None:
    facts, expected = CASES[case]
    assert [finding.rule for finding in check_linux(facts, generalized=True)] == expected


def test_what_fix_cannot_do_it_does_not_promise() -> None:
    def first(facts: LinuxFacts) -> tuple[str, bool, str]:
        finding = check_linux(facts, generalized=True)[0]
        return finding.rule, finding.mendable, finding.message

    elsewhere = ("fstab-device-name", False, "/dev/sdb1 is used as swap, which is not on this disk")
    assert first(fstab("/dev/sdb1 none swap sw 0 0")) == elsewhere
    assert first(fstab("/dev/sda1 /x ext4 d 0 0")) == ("fstab-device-name", True, "/x is mounted from /dev/sda1")
    no_uuid = linux(root=volume(1, Content("ext4")), boot_lines=(boot_line("root=/dev/sda1 console=ttyS0"),))
    assert first(no_uuid) == ("boot-root-name", False, "root=/dev/sda1")
    without = DRIVERS - {"nvme"}
    assert first(linux(kernels=(kernel(without, modules=without),)))[:2] == ("driver-nvme", False)
    assert first(linux(kernels=(kernel(without),)))[:2] == ("driver-nvme", True)
    assert first(linux(kernels=(kernel(without),), initramfs_tools=False))[:2] == ("driver-nvme", False)
    assert first(linux(kernels=(kernel(NOTHING),), initramfs_tools=False))[:2] == ("driver-storage", False)
    on_efi = boot_line("quiet", "EFI system partition:/loader/entries/a.conf")
    assert first(linux(boot_lines=(on_efi,)))[:2] == ("boot-console", False)


def test_a_specialized_disk_is_not_provisioned() -> None:
    facts = linux(cloud_init=False, agent_config={"provisioning.agent": "disabled"}, datasources=("NoCloud",))
    assert check_linux(facts, generalized=False) == []


def test_the_remedy_knows_the_uuid() -> None:
    finding = check_linux(linux("/dev/sda1 / ext4 defaults 0 1\n"), generalized=True)[0]
    assert finding.to_do() == f"write UUID={UUID} instead"


def test_a_driver_that_is_nowhere_needs_another_kernel() -> None:
    facts = linux(kernels=(kernel(NOTHING, modules=frozenset({"hv_netvsc", "udf", "vfat", "nvme"})),))
    finding = check_linux(facts, generalized=True)[0]
    assert finding.to_do() == "install a kernel that has hv_vmbus, hv_storvsc"
    assert not finding.mendable


def test_the_agents_settings() -> None:
    text = (
        '# Provisioning.Agent=no\nProvisioning.Agent=auto # why\n ResourceDisk.Format = "y"\nResourceDisk.Format=n\nx\n'
    )
    assert agent_config(text) == {"provisioning.agent": "auto", "resourcedisk.format": "n"}
