"""The table of generalize operations as text and as the page docs/generalize.md."""

from __future__ import annotations

from builder.guest.operation import Operation
from builder.guest.operations import all_operations
from builder.guest.operations_table import NOT_COVERED

INTRODUCTION = """\
# Generalize

`generalize` takes the identity of the build machine out of its disks, so that every VM made from the image gets its
own. It is a list of named operations that run in the guest, the machine-id last; nothing runs after it. Then the
disk is scanned again from outside, and the build fails with the list of what survived.

```yaml
generalize: {}            # the default set
generalize:
  skip: [ssh-userdir]     # operations of the default set that are left out
  add: [user-account]     # operations that are off by default and are done too
  keep: [/var/log/setup]  # paths that no operation touches and the scan accepts
generalize: false         # a specialized image: a copy of one machine
```

- **`skip` and `add`** take the names of the table below.
- **`keep`** takes absolute paths, or globs in which `*` matches any characters, `/` too. A folder stands for all that
  is in it.
- **What the spec puts into the image stays** without being named: the files of `files` and `template`, the users of
  `users` and their SSH keys. What `script` and `run` steps make is not known, and is treated as the machine's own.
- Operations never go through symbolic links. A file that is hidden behind one stays, and the scan reports it.
- Besides what operations left, the scan always reports private keys below /etc, /root, /home, /srv, /usr/local,
  /var/www and in the agents' folders, accounts with an empty password, and accounts besides root that have UID 0.

In the table, `~/` stands for every home: those of /etc/passwd, /root and the folders of /home. This page is written by
`build generalize --list --format markdown`.

## Operations

| operation | default | what it does | why |
|---|---|---|---|
"""


def text() -> str:
    """Names, defaults and reasons, aligned, for a terminal or a pipe. A line for each."""
    operations = all_operations()
    width = max(len(item.id) for item in operations)
    lines = [f"{item.id:<{width}}  {'on ' if item.default else 'off'}  {_reason(item)}" for item in operations]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The whole page."""
    rows = [
        f"| `{item.id}` | {'on' if item.default else 'off'} | {_escaped(item.describe())} | {_escaped(_reason(item))} |"
        for item in all_operations()
    ]
    covered = "\n".join(f"| {peer} | {ours} |" for peer, ours in sorted(_covered().items()))
    left_out = "\n".join(f"| {peer} | {_escaped(reason)} |" for peer, reason in NOT_COVERED.items())
    return (
        INTRODUCTION
        + "\n".join(rows)
        + "\n\n## Where other tools' operations are\n\n| theirs | ours |\n|---|---|\n"
        + covered
        + "\n\nLeft out on purpose:\n\n| theirs | why |\n|---|---|\n"
        + left_out
        + "\n"
    )


def _covered() -> dict[str, str]:
    found: dict[str, str] = {}
    for item in all_operations():
        for peer in item.covers:
            found[peer] = f"{found[peer]}, `{item.id}`" if peer in found else f"`{item.id}`"
    return found


def _reason(item: Operation) -> str:
    where = f" ({', '.join(sorted(item.families))} only)" if item.families else ""
    return item.reason.removeprefix("off: ") + where


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
