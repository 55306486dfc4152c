"""The page docs/inspect.md, from the tables."""

from __future__ import annotations

from builder.guest.inspection.distributions import ADVISED, UNWANTED
from builder.guest.inspection.rules import GROUPS
from builder.guest.inspection.tables import Rule

INTRODUCTION = """\
# Is this disk ready for Azure?

```
sudo build inspect disk.vhd                     # what is wrong, why, and how to mend it
sudo build inspect disk.qcow2 --fix             # a mended copy, disk-fixed.vhd, which is inspected again
sudo build inspect disk.vhd --format sarif      # also: text, json
```

The disk is only read: VHD, VHDX, qcow2, VMDK and raw files are opened as they are, without being copied. Errors keep a
VM from starting, from being provisioned, or make Azure refuse the disk; warnings are against Azure's advice; notes are
worth knowing. The exit code is 1 when there are errors, else 0.

- **Without root**, only what needs no mounting is looked at (the file; of raw disks and fixed VHDs also partitions and
  boot loaders), and the report says what was not.
- **`--generalized`** makes a disk that is not generalized an error; **`--specialized`** says that it is meant to be a
  copy of one machine. Without either, a disk with a machine-id is taken for a specialized one; every other is scanned
  as a build's own disks are after `generalize`.
- **`--fix`** never touches the disk itself. It mends what is safe, with the guest's own tools where its files are
  concerned (in a sandbox, offline), and writes a fixed VHD (`--output FILE`, else the disk's name with `-fixed.vhd`).
- Windows disks are read without being mounted: NTFS by the programs of Debian's package `ntfs-3g`, the registry by our
  own process. `mtools` is needed to look into the EFI system partition, `zstd`, `lz4` or `lzop` for an initramfs that
  is packed so. What is missing is named in the report.

Words in parentheses name the page of Azure's that says so: *Windows* "Prepare a Windows VHD or VHDX", *generic*
"Information for community supported and non-endorsed distributions", *Ubuntu*, *Debian*, *RHEL*, *SLES* "Prepare a ...
virtual machine", *Generation 2* "Support for Generation 2 VMs", *Generalize* "Generalize a VM", *Upload* "Upload a VHD
to a managed disk".

This page is written by `build inspect --format markdown`.
"""


def markdown() -> str:
    """The whole page."""
    groups = "".join(f"\n## {title}\n\n{_table(rules)}" for title, rules in GROUPS)
    rows = [(row.ids, row.describe(), row.why) for row in ADVISED]
    rows += [(row.ids, row.describe(), row.why) for row in UNWANTED]
    lines = [
        f"| {', '.join(sorted(ids)) or 'every'} | {_escaped(what)} | {_escaped(why)} |"
        for ids, what, why in sorted(rows, key=lambda row: (bool(row[0]), sorted(row[0])))
    ]
    table = "\n".join(["| distribution | asked for | why |", "|---|---|---|", *lines])
    return f"{INTRODUCTION}{groups}\n## Distributions\n\nBy `ID` and `ID_LIKE` of os-release.\n\n{table}\n"


def _table(rules: tuple[Rule, ...]) -> str:
    rows = [
        f"| `{rule.id}` | {rule.severity} | {_escaped(rule.what)} | {_escaped(rule.why)} | {_escaped(rule.remedy)} "
        f"| {_escaped(rule.mends) or 'no'} |"
        for rule in rules
    ]
    return "\n".join(
        ["| rule | severity | what | why | how to mend it | `--fix` |", "|---|---|---|---|---|---|", *rows, ""]
    )


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
