"""What a disk must be to work on Azure: the table of rules, and what a finding is. docs/inspect.md is made of it.

Sources, by their short names in the table: Azure's pages "Prepare a Windows VHD", "Information for community supported
and non-endorsed distributions" (generic), "Prepare a Debian/Ubuntu/RHEL/SLES VHD", "Support for Generation 2 VMs",
"Generalize a VM", "Upload a VHD to a managed disk".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from builder.guest.inspection.rules_guest import GUEST
from builder.guest.inspection.rules_windows import WINDOWS
from builder.guest.inspection.tables import Rule, Severity

FILE = (
    Rule(
        "disk-unreadable", "error", "the file is no disk, is damaged, or needs other files",
        "Azure takes one whole disk; nothing can be said about a file that can't be read",
        "copy, unpack or convert it again",
    ),
    Rule(
        "disk-format", "error", "the file is not a fixed VHD",
        "Azure takes fixed VHDs only: no VHDX (not even for Generation 2), qcow2, VMDK, dynamic VHD (Windows, generic)",
        "convert it: `build inspect --fix` or `qemu-img convert -O vpc -o subformat=fixed,force_size`",
        mends="converts it to a fixed VHD",
    ),
    Rule(
        "vhd-checksum", "error", "the VHD footer's checksum is wrong",
        "a footer that doesn't add up is refused; sizes in it can't be believed (VHD specification)",
        "write the footer again, or export the disk again",
        mends="writes a new footer",
    ),
    Rule(
        "vhd-footer", "error", "the VHD's footer is cut off",
        "the last 512 bytes of a VHD must be its footer (VHD specification, Upload)",
        "write the footer again, or export the disk again",
        mends="writes a new footer",
    ),
    Rule(
        "vhd-length", "error", "the file's length is not the disk's size and a footer of 512 bytes",
        "an upload is created with the file's length, and its last 512 bytes must be the footer (Upload, Windows); "
        "QEMU 2.2.1 to 2.5 wrote such VHDs (generic)",
        "export it again with `force_size`",
        mends="writes a footer for all the data that is there",
    ),
    Rule(
        "vhd-cut-off", "error", "the VHD is shorter than its footer says",
        "data at the end is missing",
        "copy or export it again",
    ),
    Rule(
        "vhd-alignment", "error", "the virtual size is not a whole number of MiB",
        "Azure refuses it: \"The size must be a whole number (in MBs)\" (generic)",
        "grow the disk to the next MiB: `qemu-img resize`, then convert",
        mends="rounds the size up and moves the backup partition table to the new end",
    ),
    Rule(
        "size-limit", "error", "the disk is larger than Azure takes",
        "an OS disk of Generation 1 has at most 2,048 GiB (Windows), any disk 32,767 GiB",
        "make a smaller disk; what it holds can be grown after deployment",
    ),
    Rule(
        "size-generation", "warning", "the disk is too large for a VM of Generation 1",
        "an OS disk of Generation 1 has at most 2,048 GiB (Windows)",
        "publish it for Generation 2 only, or make a smaller disk",
    ),
    Rule(
        "size-advice", "warning", "the disk is larger than Azure advises",
        "1,023 GiB in the Linux pages of Azure, 4 TiB for Generation 2 (Generation 2)",
        "make a smaller disk; what it holds can be grown after deployment",
    ),
)  # fmt: skip

LAYOUT = (
    Rule(
        "partition-table", "error", "the disk has no partition table, or a broken one",
        "firmware and bootloader find nothing to start",
        "copy the disk again, or repair it with gdisk or fdisk",
    ),
    Rule(
        "partition-primary", "error", "the GPT at the disk's start is broken, or has no protective boot record",
        "Linux takes such a disk for an empty one and finds no root; BIOS, and some firmware, don't start it",
        "write the tables again: sgdisk, or gdisk's expert menu",
        mends="writes both tables again",
    ),
    Rule(
        "partition-backup", "warning", "the GPT's backup is broken, or not at the disk's end",
        "the disk starts, but a partition can't be grown to the disk's new size before this is put right",
        "sgdisk --move-second-header",
        mends="writes both tables again",
    ),
    Rule(
        "partition-alignment", "note", "a partition doesn't start at a whole MiB",
        "blocks that stand across Azure's pages cost two writes each",
        "make the disk again with a newer partitioning tool",
    ),
    Rule(
        "boot-none", "error", "the disk starts on neither BIOS nor UEFI",
        "Generation 1 starts the boot code of the first sector, Generation 2 the loader of an EFI system partition",
        "install GRUB: for Generation 2 with `grub-install --removable`",
    ),
    Rule(
        "boot-fallback", "warning", "the EFI system partition has no loader at EFI/BOOT",
        "a new VM's firmware has no boot entries and knows that path only (Ubuntu: copy EFI/ubuntu to EFI/boot)",
        "grub-install --removable, or copy the loader to EFI/BOOT/BOOTX64.EFI",
    ),
    Rule(
        "boot-architecture", "error", "the disk can't start on the machines that it is for",
        "firmware starts the loader of its own processor; Arm64 VMs are of Generation 2 only",
        "make the disk with an EFI system partition that has this processor's loader",
    ),
    Rule(
        "root-missing", "error", "there is no one operating system on the disk",
        "a VM starts exactly one, from its OS disk",
        "give the OS disk; a root is an ext4, xfs or btrfs with /etc and os-release, or an NTFS with Windows",
    ),
    Rule(
        "root-encrypted", "error", "the OS disk is encrypted",
        "nobody can type its passphrase at Azure's console before the disk is needed; BitLocker must be off before "
        "Sysprep (Generalize)",
        "decrypt it first (`manage-bde -off C:`); Azure encrypts what it stores",
    ),
    Rule(
        "root-lvm", "warning", "the root is in a logical volume (LVM)",
        "supported but not advised: names may collide when the disk is attached to another VM (generic)",
        "use plain partitions on the OS disk",
    ),
    Rule(
        "filesystem-broken", "error", "a filesystem is damaged",
        "a VM would start with it read-only, or not at all",
        "repair it where it came from",
    ),
    Rule(
        "filesystem-unclean", "warning", "a filesystem was not unmounted cleanly",
        "the disk was copied while its machine ran: files may be half written",
        "shut the machine down and copy again",
    ),
)  # fmt: skip

RULES: Mapping[str, Rule] = {rule.id: rule for rule in (*FILE, *LAYOUT, *GUEST, *WINDOWS)}

# Headings of docs/inspect.md
GROUPS: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    ("The file", FILE),
    ("Partitions and start-up", LAYOUT),
    ("Linux", GUEST),
    ("Windows", WINDOWS),
)

ORDER: Mapping[str, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class DiskFinding:
    """Something on the disk that a rule is about.

    `place` says where ("file", "partition 2", a path in the guest), `message` what is wrong there, `lines` more of it.
    `remedy` replaces the rule's where more is known. `by_hand` tells that `--fix` can't mend this one, whatever the
    rule promises.
    """

    rule: str
    place: str
    message: str
    lines: tuple[str, ...] = ()
    remedy: str = ""
    by_hand: bool = False

    @property
    def severity(self) -> Severity:
        """The rule's: error, warning or note."""
        return RULES[self.rule].severity

    @property
    def mendable(self) -> bool:
        """Whether `--fix` knows how."""
        return bool(self.mends)

    @property
    def mends(self) -> str:
        """What `--fix` does about it, "" where it does nothing."""
        return "" if self.by_hand else RULES[self.rule].mends

    def to_do(self) -> str:
        """How to mend it."""
        return self.remedy or RULES[self.rule].remedy


Wanted = Literal["auto", "generalized", "specialized"]


@dataclass(frozen=True)
class Inspection:
    """All that was found. `facts` are lines for people (what it is: its value), `left_out` what was not looked at."""

    disk: str
    facts: Mapping[str, str]
    findings: tuple[DiskFinding, ...]
    left_out: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether there is no error; warnings and notes are no obstacle."""
        return not self.count("error")

    def count(self, severity: Severity) -> int:
        """How many findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)


def in_order(findings: list[DiskFinding]) -> tuple[DiskFinding, ...]:
    """Errors first; then as the table of rules has them."""
    rank = {name: index for index, name in enumerate(RULES)}
    return tuple(sorted(dict.fromkeys(findings), key=lambda item: (ORDER[item.severity], rank[item.rule], item.place)))
