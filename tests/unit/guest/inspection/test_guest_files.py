"""What files of a guest tell: boot entries, cloud-init, modprobe, and the table of unwanted files."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.disk.system import OpenedSystem, parse_os_release
from builder.disk.tree import GuestTree
from builder.guest.inspection.boot_lines import boot_lines
from builder.guest.inspection.distributions import unwanted_files
from builder.guest.inspection.efi_partition import EfiPartition
from builder.guest.inspection.identity import MOST_LINES, check_identity
from builder.guest.inspection.linux_facts import LinuxFacts, not_looked_at, read_facts


def tree(root: Path, files: dict[str, str]) -> GuestTree:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return GuestTree(root)


def facts(root: Path, files: dict[str, str]) -> LinuxFacts:
    tree(root, files)
    return read_facts(OpenedSystem(root, "x64", parse_os_release("ID=debian\n"), (), (), ()))


GRUB = """\
set default=0
set kernelopts="root=UUID=1 ro"
menuentry 'Linux' {
    search --fs-uuid --set=root 1
    linux /vmlinuz root=UUID=1 ro  console=ttyS0,115200 quiet
}
menuentry 'Recovery' {
    linux16 /vmlinuz root=UUID=1 single
}
"""
ENTRIES: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "nothing": ({}, []),
    "GRUB": ({"/boot/grub/grub.cfg": GRUB},
             [("/boot/grub/grub.cfg", "root=UUID=1 ro console=ttyS0,115200 quiet")]),
    "GRUB on RHEL": ({"/boot/grub2/grub.cfg": "set x=1\n  linuxefi ($root)/vmlinuz $kernelopts $tuned a=b\n",
                      "/boot/grub2/grubenv": "# GRUB Environment Block\nkernelopts=root=/dev/sda1 ro\n####"},
                     [("/boot/grub2/grub.cfg", "root=/dev/sda1 ro a=b")]),
    "entries": ({"/boot/loader/entries/a-6.1.conf": "title x\nlinux /vmlinuz\noptions root=UUID=2 ${kernelopts}\n",
                 "/boot/loader/entries/a-0-rescue.conf": "options root=UUID=2\n",
                 "/boot/grub2/grub.cfg": GRUB.partition("menuentry")[0]},
                [("/boot/loader/entries/a-6.1.conf", "root=UUID=2 root=UUID=1 ro")]),
    "extlinux": ({"/boot/extlinux.conf": "DEFAULT x\nLABEL x\n  LINUX vmlinuz\n  APPEND root=LABEL=x console=ttyS0\n"},
                 [("/boot/extlinux.conf", "root=LABEL=x console=ttyS0")]),
    "only for repairs": ({"/boot/grub/grub.cfg": "linux /vmlinuz single\n"}, [("/boot/grub/grub.cfg", "single")]),
    "Azure Linux": ({"/boot/grub2/grub.cfg": "set bootprefix=/boot\nload_env -f $bootprefix/mariner.cfg\n"
                     "if [ -f  $bootprefix/systemd.cfg ]; then\n\tload_env -f $bootprefix/systemd.cfg\nelse\n"
                     "\tset systemd_cmdline=net.ifnames=0\nfi\nset rootdevice=PARTUUID=1\n"
                     'menuentry "Linux" {\n\tlinux $bootprefix/$mariner_linux root=$rootdevice $mariner_cmdline'
                     " $systemd_cmdline\n}\n",
                     "/boot/mariner.cfg": "mariner_cmdline=ro console=ttyS0\nmariner_linux=vmlinuz-6.1\n"},
                    [("/boot/grub2/grub.cfg", "root=PARTUUID=1 ro console=ttyS0 net.ifnames=0")]),
    "no parameters": ({"/boot/grub/grub.cfg": "\tlinux\t/vmlinuz\n"}, [("/boot/grub/grub.cfg", "")]),
}  # fmt: skip


@pytest.mark.parametrize("case", ENTRIES)
def test_boot_entries(tmp_path: Path, case: str) -> None:
    files, expected = ENTRIES[case]
    assert [(line.path, " ".join(line.parameters)) for line in boot_lines(tree(tmp_path, files))] == expected


def test_boot_entries_on_the_efi_system_partition(tmp_path: Path) -> None:
    """RHEL 8 has its entries in /boot, and their variables where its firmware looks."""
    guest = tree(tmp_path, {"/boot/loader/entries/a.conf": "options $kernelopts $tuned_params\n"})
    settings = {
        "/EFI/redhat/grubenv": "# GRUB Environment Block\nkernelopts=root=UUID=1 ro\n####",
        "/EFI/redhat/grub.cfg": 'set tuned_params=""\nblscfg\n',
        "/EFI/centos/grub.cfg": "\tlinuxefi /vmlinuz root=UUID=2\n",
        "/loader/entries/arch.conf": "title Arch\noptions root=UUID=3\n",
    }
    assert [(line.path, " ".join(line.parameters)) for line in boot_lines(guest, settings)] == [
        ("/boot/loader/entries/a.conf", "root=UUID=1 ro"),
        ("EFI system partition:/EFI/centos/grub.cfg", "root=UUID=2"),
        ("EFI system partition:/loader/entries/arch.conf", "root=UUID=3"),
    ]


def test_files_that_are_made_to_be_slow_to_search(tmp_path: Path) -> None:
    """With patterns that look beyond a line, or far along one, this would not end before the tests are given up."""
    lines = tree(tmp_path, {"/boot/grub/grub.cfg": "\n" * 1_000_000, "/boot/extlinux.conf": " \t" * 500_000})
    assert boot_lines(lines) == ()
    rules = {"/etc/udev/rules.d/1.rules": "ATTR{address}==" * 60_000, "/etc/netplan/a.yaml": "\n" * 1_000_000}
    assert list(unwanted_files(tree(tmp_path, rules), {"ID": "debian"})) == []


CLOUD = "/etc/cloud/cloud.cfg.d/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"/etc/cloud/cloud.cfg": "users: [default]\n"}, None),
        ({"/etc/cloud/cloud.cfg": "datasource_list: [Azure]\n"}, ("Azure",)),
        ({f"{CLOUD}10.cfg": "datasource_list: [Azure]\n", f"{CLOUD}90.cfg": "datasource_list: []\n"}, ()),
        ({f"{CLOUD}10.cfg": "datasource_list: [Azure]\n", f"{CLOUD}90.cfg": "datasource_list: [a: {\n"}, ("Azure",)),
        ({f"{CLOUD}10.cfg": "# datasource_list: [x]\n- a\n"}, None),
        ({f"{CLOUD}10.cfg": "datasource_list: " + "[" * 100_000}, None),
        ({f"{CLOUD}10.cfg": "datasource_list: [Azure, [a], {b: c}, 1]\n"}, ("Azure",)),
        ({f"{CLOUD}10.txt": "datasource_list: [x]\n"}, None),
    ],
)
def test_cloud_inits_data_sources(tmp_path: Path, files: dict[str, str], expected: tuple[str, ...] | None) -> None:
    assert facts(tmp_path, files).datasources == expected


def test_what_switches_cloud_init_off(tmp_path: Path) -> None:
    assert facts(tmp_path, {}).cloud_init_off == ""
    with_line = facts(tmp_path, {"/boot/grub/grub.cfg": "linux /vmlinuz cloud-init=disabled\n"})
    assert with_line.cloud_init_off == "cloud-init=disabled in the boot line"
    (tmp_path / "boot/grub/grub.cfg").unlink()
    unit = tmp_path / "etc/systemd/system/cloud-init.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert facts(tmp_path, {}).cloud_init_off == "its units are masked"
    assert facts(tmp_path, {"/etc/cloud/cloud-init.disabled": ""}).cloud_init_off == "/etc/cloud/cloud-init.disabled"


def test_modules_that_are_switched_off(tmp_path: Path) -> None:
    text = (
        "install udf /bin/true\n  install cram-fs /usr/bin/false\nblacklist vfat\n# install a /bin/true\noptions b c\n"
    )
    assert facts(tmp_path, {"/etc/modprobe.d/x.conf": text}).modules_off == {"udf", "cram_fs", "vfat"}


def test_a_kernel_and_its_modules(tmp_path: Path) -> None:
    folder = "/lib/modules/6.1-x"
    found = facts(tmp_path, {
        f"{folder}/kernel/x": "",
        f"{folder}/modules.dep": "kernel/drivers/hv/hv_netvsc.ko.xz: kernel/drivers/hv/hv_vmbus.ko.xz\n",
        f"{folder}/modules.builtin": "kernel/drivers/hv/hv-vmbus.ko\n",
        "/boot/initramfs-6.1-x.img": "no archive",
    }).kernels  # fmt: skip
    assert [item.release for item in found] == ["6.1-x"]
    assert (found[0].modules, found[0].built_in) == ({"hv_netvsc"}, {"hv_vmbus"})
    assert (found[0].initramfs, found[0].early) == ("/boot/initramfs-6.1-x.img", None)
    assert "no cpio archive" in found[0].problem


def test_a_removed_kernels_folder_is_none(tmp_path: Path) -> None:
    left = {"/lib/modules/5.10-old/kernel/extra/x.ko": ""}
    for image in ("/boot/vmlinuz-6.1-x", "/boot/initrd-6.1-x", "/lib/modules/6.1-x/vmlinuz"):
        root = tmp_path / image.replace("/", "-")
        found = facts(root, {**left, "/lib/modules/6.1-x/kernel/x": "", image: ""}).kernels
        assert [item.release for item in found] == ["6.1-x"]
    # Where kernels stand elsewhere, nobody knows which is one
    assert len(facts(tmp_path / "none", {**left, "/lib/modules/6.1-x/kernel/x": ""}).kernels) == 2


def test_where_kernels_may_stand_that_nobody_sees(tmp_path: Path) -> None:
    found = facts(tmp_path, {"/etc/fstab": "UUID=1 /boot vfat defaults 0 2\nUUID=2 /boot/efi vfat defaults 0 2\n"})
    assert found.boot_elsewhere == "/boot"
    system = OpenedSystem(tmp_path, "x64", {}, (), (), ("/boot is not mounted: build doesn't mount f2fs",))
    assert read_facts(system, EfiPartition(kernels=True)).boot_elsewhere == "the EFI system partition"
    assert not_looked_at(system, EfiPartition(kernels=True)) == [
        "/boot is not mounted: build doesn't mount f2fs", "kernels on the EFI system partition, and their drivers",
    ]  # fmt: skip


def test_a_link_out_of_the_guest_is_the_guests(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/waagent.conf").symlink_to("/etc/passwd")
    assert facts(tmp_path, {}).agent_config == {}


@pytest.mark.parametrize(
    ("ID", "path", "text", "rule"),
    [
        ("debian", "/etc/udev/rules.d/70-persistent-net.rules", "", "network-stale"),
        ("debian", "/etc/udev/rules.d/10-x.rules", 'ATTR{address}=="00:11", NAME="eth0"', "network-stale"),
        ("debian", "/etc/udev/rules.d/60-x.rules", 'ATTR{size}=="1", NAME="x"', ""),
        ("debian", "/etc/netplan/50-cloud-init.yaml", "match:\n  macaddress: 00:11\n", "network-stale"),
        ("debian", "/etc/netplan/50-cloud-init.yaml", "dhcp4: true\n", ""),
        ("ubuntu", "/etc/netplan/01.yaml", "ens33: {match: {macaddress: '00:11:22'}, dhcp4: true}", "network-stale"),
        ("ubuntu", "/etc/netplan/01.yaml", '"macaddress" : "00:11:22"', "network-stale"),
        ("ubuntu", "/etc/netplan/01.yaml", "dhcp4: true  # macaddress: 00:11:22", ""),
        ("debian", "/etc/systemd/network/10.network", "[Match]\nMACAddress = 00:11:22\n", "network-stale"),
        ("debian", "/etc/systemd/network/10.network", "[Match]\nName=eth0\n", ""),
        (
            "rhel",
            "/etc/NetworkManager/system-connections/a.nmconnection",
            "[ethernet]\nmac-address = 00:11:22\n",
            "network-stale",
        ),
        ("rhel", "/etc/NetworkManager/system-connections/a", "cloned-mac-address=00:11:22\n", "network-stale"),
        ("rhel", "/etc/NetworkManager/system-connections/a", "cloned-mac-address=preserve\n", ""),
        ("rhel", "/etc/sysconfig/network-scripts/ifcfg-eth0", "MACADDR='00:11:22'\n", "network-stale"),
        ("rhel", "/etc/sysconfig/network-scripts/ifcfg-eth0", "HWADDR=\n", ""),
        ("sles", "/etc/sysconfig/network/ifcfg-eth0", 'LLADDR="00:11:22"', "network-stale"),
        ("debian", "/etc/udev/rules.d/10-x.rules", 'ATTRS{address}=="00:11", NAME="eth0"', "network-stale"),
        (
            "debian",
            "/etc/network/interfaces",
            "auto lo\niface lo inet loopback\niface ens18 inet dhcp\n",
            "network-stale",
        ),
        ("debian", "/etc/network/interfaces", "iface eth0 inet dhcp\n# iface ens18 inet dhcp\n", ""),
        ("debian", "/etc/network/interfaces.d/setup", "  iface enp0s3 inet static\n", "network-stale"),
        ("azurelinux", "/etc/systemd/network/99.network", "[Match]\nName=en*\n", "network-stale"),
        ("azurelinux", "/etc/systemd/network/99.network", "[Match]\nName=e*\n", ""),
        ("azurelinux", "/etc/systemd/network/99.network", "[Match]\nName=en* eth*\n", ""),
        ("rhel", "/etc/sysconfig/network-scripts/ifcfg-ens192", "ONBOOT=yes\n", "network-stale"),
        ("rhel", "/etc/sysconfig/network-scripts/ifcfg-ens192", "ONBOOT=no\n", ""),
        ("rhel", "/etc/NetworkManager/system-connections/a", "[connection]\ninterface-name=ens192\n", "network-stale"),
        ("rhel", "/etc/NetworkManager/system-connections/a", "[connection]\ninterface-name=eth0\n", ""),
        ("debian", "/etc/cloud/ds-identify.cfg", "policy: enabled", ""),
        ("ubuntu", "/etc/cloud/ds-identify.cfg", "policy: enabled", "distribution"),
        ("ubuntu", "/etc/cloud/cloud.cfg.d/99-installer.cfg", "", "distribution"),
        ("rocky", "/etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\nHWADDR=00:11\n", "network-stale"),
        ("sles", "/etc/sysconfig/network/dhcp", 'DHCLIENT_SET_HOSTNAME="yes"\n', "distribution"),
        ("sles", "/etc/sysconfig/network/dhcp", 'DHCLIENT_SET_HOSTNAME="no"\n', ""),
        ("opensuse-leap", "/etc/sudoers", "Defaults targetpw # ask\n", "distribution"),
        ("debian", "/etc/sudoers", "Defaults targetpw\n", ""),
    ],
)
def test_unwanted_files(tmp_path: Path, ID: str, path: str, text: str, rule: str) -> None:
    found = list(unwanted_files(tree(tmp_path, {path: text}), {"ID": ID}))
    assert [(item.rule, item.place) for item in found] == ([(rule, path)] if rule else [])


KEY = "/etc/ssh/ssh_host_rsa_key"


@pytest.mark.parametrize(
    ("wanted", "machine_id", "files", "state", "rules"),
    [
        ("auto", "uninitialized\n", {}, "generalized", []),
        ("auto", "", {}, "generalized", []),
        ("auto", "0" * 32, {KEY: "x"}, "specialized", ["specialized"]),
        ("specialized", "0" * 32, {KEY: "x"}, "specialized", []),
        ("generalized", "0" * 32, {}, "partly generalized", ["identity-left"]),
        ("auto", "", {KEY: "x"}, "partly generalized", ["identity-left"]),
        ("auto", "", {"/var/log/messages": "x"}, "generalized", ["left-over"]),
        ("auto", "", {"/root/.ssh/authorized_keys": "ssh-ed25519 AAAA"}, "generalized", ["left-over"]),
        ("auto", "", {"/root/.ssh/id_ed25519": "x"}, "partly generalized", ["identity-left"]),
        ("auto", "", {KEY: "x", "/var/log/messages": "x"}, "partly generalized", ["identity-left", "left-over"]),
    ],
)
def test_generalized_or_not(
    tmp_path: Path, wanted, machine_id: str, files: dict[str, str], state: str, rules: list[str]
) -> None:
    guest = tree(tmp_path, {"/etc/os-release": "ID=alpine\n", **files})
    if machine_id:
        tree(tmp_path, {"/etc/machine-id": machine_id, "/usr/lib/systemd/systemd": ""})
        (tmp_path / "etc/machine-id").chmod(0o444)
    found = check_identity(guest, wanted, machine_id=len(machine_id) == 32)
    assert (found[0], [item.rule for item in found[1]]) == (state, rules)


def test_many_traces_are_one_finding(tmp_path: Path) -> None:
    guest = tree(tmp_path, {f"/var/log/{number:03}": "x" for number in range(50)})
    (finding,) = check_identity(guest, "generalized", machine_id=False)[1]
    assert finding.message == "50 things are left of the machine"
    assert len(finding.lines) == MOST_LINES + 1
    assert finding.lines[-1] == "and 30 more"
