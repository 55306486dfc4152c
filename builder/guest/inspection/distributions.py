"""What Azure asks of each distribution, beside the general rules: a table, which docs/inspect.md shows.

Source: Azure's pages "Prepare a ... virtual machine" for Ubuntu, Debian, RHEL, SLES, Oracle Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder.disk.tree import GuestTree
from builder.guest.inspection.rules import DiskFinding

UBUNTU = frozenset({"ubuntu"})
RHEL = frozenset({"rhel", "centos", "almalinux", "rocky", "ol", "fedora"})
SUSE = frozenset({"sles", "sle_hpc", "opensuse", "opensuse-leap", "suse"})
ORACLE = frozenset({"ol"})
EVERY: frozenset[str] = frozenset()

# Distributions with a page of Azure's (or prebuilt images for it), by ID of os-release
KNOWN = (UBUNTU | RHEL | SUSE | {"debian", "azurelinux", "mariner", "flatcar"}) - {"fedora"}


@dataclass(frozen=True)
class Unwanted:
    """A file that must not be there, or not with a line that matches `pattern` (a regular expression).

    `ids` are values of os-release's ID that it concerns; none: all of them. `rule` is that of the finding.
    """

    ids: frozenset[str]
    path: str
    why: str
    pattern: str = ""
    rule: str = "distribution"

    def describe(self) -> str:
        """For people, in Markdown."""
        where = f"`{self.path}`"
        return f"no line `{self.pattern}` in {where}" if self.pattern else f"no {where}"


@dataclass(frozen=True)
class Advised:
    """A kernel parameter that is wanted (`name=value`), or not (`unwanted`). `rule` is that of the finding."""

    ids: frozenset[str]
    parameter: str
    why: str
    unwanted: bool = False

    def describe(self) -> str:
        """For people, in Markdown."""
        return f"{'no ' if self.unwanted else ''}`{self.parameter}` in the boot line"


# Such files are short; a guest may have made one that is slow to search
SMALL = 64 * 1024
STALE = "network-stale"
# Cards of Hyper-V have no place on a bus that systemd could make a name of
OTHER_NAME = "names a card as other machines do; on Azure it is eth0"
_ADDRESS = r"[\"']?[0-9a-f]{2}[:-]"
_SYSTEMD = rf"^[ \t]*(Permanent)?MACAddress[ \t]*=[ \t]*{_ADDRESS}"
UNWANTED: tuple[Unwanted, ...] = (
    Unwanted(EVERY, "/etc/udev/rules.d/70-persistent-net.rules", "names one machine's card", rule=STALE),
    Unwanted(EVERY, "/etc/udev/rules.d/*.rules", "binds a name to one card", r"ATTRS?\{address\}==.*NAME=", STALE),
    Unwanted(EVERY, "/etc/systemd/network/*.link", "binds a name to one card", _SYSTEMD, STALE),
    Unwanted(EVERY, "/etc/systemd/network/*.network", "is for one card", _SYSTEMD, STALE),
    Unwanted(EVERY, "/etc/netplan/*.yaml", "matches one card, or gives it an address of its own",
             rf"^[^#\n]*\bmacaddress[\"']?[ \t]*:[ \t]*{_ADDRESS}", STALE),
    Unwanted(EVERY, "/etc/sysconfig/network-scripts/ifcfg-*", "is for one card, or gives it an address of its own",
             rf"^[ \t]*(HWADDR|MACADDR)={_ADDRESS}", STALE),
    Unwanted(EVERY, "/etc/sysconfig/network/ifcfg-*", "is for one card", rf"^[ \t]*LLADDR={_ADDRESS}", STALE),
    Unwanted(EVERY, "/etc/NetworkManager/system-connections/*", "is for one card, or gives it an address of its own",
             rf"^[ \t]*(cloned-)?mac-address[ \t]*=[ \t]*{_ADDRESS}", STALE),
    Unwanted(EVERY, "/etc/network/interfaces", OTHER_NAME, r"^[ \t]*iface[ \t]+en[opsx]\w+[ \t]", STALE),
    Unwanted(EVERY, "/etc/network/interfaces.d/*", OTHER_NAME, r"^[ \t]*iface[ \t]+en[opsx]\w+[ \t]", STALE),
    Unwanted(EVERY, "/etc/systemd/network/*.network", OTHER_NAME, r"^[ \t]*Name[ \t]*=[ \t]*en\S*[ \t]*$", STALE),
    Unwanted(EVERY, "/etc/sysconfig/network-scripts/ifcfg-en*", OTHER_NAME, r"^[ \t]*ONBOOT=[\"']?yes", STALE),
    Unwanted(EVERY, "/etc/NetworkManager/system-connections/*", OTHER_NAME,
             r"^[ \t]*interface-name[ \t]*=[ \t]*en[opsx]", STALE),
    Unwanted(UBUNTU, "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg", "the installer's network of another machine"),
    Unwanted(UBUNTU, "/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg", "keeps mirrors that are not Azure's"),
    Unwanted(UBUNTU, "/etc/cloud/cloud.cfg.d/99-installer.cfg", "tells cloud-init not to look for Azure"),
    Unwanted(UBUNTU, "/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
             "cloud-init would not set up the network"),
    Unwanted(UBUNTU, "/etc/cloud/ds-identify.cfg", "tells cloud-init not to look for Azure"),
    Unwanted(SUSE, "/etc/udev/rules.d/85-persistent-net-cloud-init.rules", "names one machine's card"),
    Unwanted(SUSE, "/etc/sysconfig/network/dhcp", "Azure names the VM itself", r'^DHCLIENT_SET_HOSTNAME="?yes'),
    Unwanted(SUSE, "/etc/sudoers", "the VM's user has no password of root's to type", r"^[ \t]*Defaults[ \t]+targetpw"),
    Unwanted(ORACLE, "/etc/udev/rules.d/75-persistent-net-generator.rules", "names each new card anew", r"\S"),
)  # fmt: skip

NO_INITRAMFS_TOOLS = RHEL | SUSE
ADVISED: tuple[Advised, ...] = (
    Advised(RHEL, "net.ifnames=0", "the first card is eth0, whatever the size of the VM"),
    Advised(NO_INITRAMFS_TOOLS, "rootdelay=300", "disks may come late"),
    Advised(frozenset({"debian", "ubuntu"}), "rootdelay", unwanted=True,
            why="initramfs-tools takes it for a pause at every start, and waits for the root disk without it"),
    Advised(RHEL, "rhgb", "hides the messages that the serial console is for", unwanted=True),
    Advised(RHEL, "crashkernel=auto", "takes memory of small VMs", unwanted=True),
)  # fmt: skip


def concerns(ids: frozenset[str], os_release: Mapping[str, str]) -> bool:
    """Whether a row of the tables is about this distribution. Derivatives count by ID_LIKE."""
    return not ids or bool(ids & {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()})


def unwanted_files(tree: GuestTree, os_release: Mapping[str, str]) -> Iterator[DiskFinding]:
    """The findings of the table of unwanted files; a file is found once."""
    seen: set[str] = set()
    for row in UNWANTED:
        if not concerns(row.ids, os_release):
            continue
        for path in tree.glob(row.path):
            if path in seen or not tree.is_file(path):
                continue
            text = tree.read_text(path, SMALL)
            if row.pattern and not re.search(row.pattern, text, re.MULTILINE | re.IGNORECASE):
                continue
            seen.add(path)
            yield DiskFinding(row.rule, path, row.why, remedy="" if row.rule == STALE else _remedy(row))


def _remedy(row: Unwanted) -> str:
    return "remove the line" if row.pattern else "remove the file"
