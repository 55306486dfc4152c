"""Renders the check after generalize as one POSIX sh script, for guests whose disk nobody can mount: VMs.

It says what `builder.guest.verifier` says of a mounted disk; a test holds the two to each other.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.guest import actions
from builder.guest.generalize_script import FUNCTIONS, calls, kept_functions
from builder.guest.operation import Operation
from builder.guest.operations import all_operations
from builder.guest.verifier import ALWAYS, KEY_FOLDERS
from builder.model.run import GuestScript

CHECKS = Path(__file__).parent / "templates" / "verify.sh"
SECONDS = 900.0
HEADER = """\
#!/bin/sh
# Looks whether a machine's identity is out of its disks: one block for each operation.
set -u
LC_ALL=C
"""
# What a skipped operation would have removed is wanted, and what an operation found is not found again
FOOTER = """
homes=$(find_homes | sort -u)
set -f
IFS=$newline
set -- $homes
set +f
unset IFS
findings=$(main "$@")
wanted=$(skipped "$@" | cut -f 1)
others=$(always | while IFS= read -r line; do
    case "$newline$wanted$newline$(printf '%s\\n' "$findings" | cut -f 1)$newline" in
        *"$newline${line%%	*}$newline"*) case $line in /etc/passwd* | /etc/shadow*) printf '%s\\n' "$line" ;; esac ;;
        *) printf '%s\\n' "$line" ;;
    esac
done)
[ -n "$findings$others" ] || exit 0
printf '%s\\n' "$findings" "$others" | sed '/^$/d; s/[^[:print:]	]/?/g' | sort -u |
    awk -F '\\t' '{ print $1 ": " $2 " (" ($3 == "@ALWAYS@" ? "" : "operation ") $3 ")" }'
exit 1
"""


def verify_script(operations: Sequence[Operation], keep: Sequence[str] = (), users: Sequence[str] = ()) -> GuestScript:
    """The script that looks for what these operations left, and for what must never be there.

    `keep` and `users` as for `render_script`. Prints a line for each finding and exits with 1 when there are any.
    """
    done = {operation.id for operation in operations}
    skipped = [item for item in all_operations() if item.default and item.id not in done]
    folders = " ".join(map(shlex.quote, KEY_FOLDERS))
    blocks = [
        HEADER,
        FUNCTIONS.read_text(encoding="utf-8"),
        CHECKS.read_text(encoding="utf-8"),
        f"spec_users={shlex.quote(' '.join(sorted(users)))}\n",
        kept_functions(keep),
        _function("main", operations),
        _function("skipped", skipped),
        f"always() {{\n    operation={shlex.quote(ALWAYS)}\n    private_keys {folders}\n    open_accounts\n}}\n",
        FOOTER.replace("@ALWAYS@", ALWAYS),
    ]
    return GuestScript("\n".join(blocks), interpreter=("/bin/sh", "-u"), timeout=SECONDS)


def _function(name: str, operations: Sequence[Operation]) -> str:
    body: list[str] = []
    for operation in operations:
        lines = [line for action in operation.actions for line in RENDERERS[type(action)](action)]
        body += [f"operation={operation.id}", *lines]
    return f"{name}() {{\n" + "\n".join(f"    {line}" for line in body) + "\n    :\n}\n"


def _delete_named(action: actions.DeleteNamed) -> list[str]:
    names = " -o ".join(f"-name {shlex.quote(name)}" for name in action.names)
    return [f"named {shlex.quote(root)} -type f '(' {names} ')'" for root in action.roots]


def _write(action: actions.Write) -> list[str]:
    test = f"[ ! -e {shlex.quote(action.needs)} ] || " if action.needs else ""
    must = "must" if action.create else "''"
    return [f"{test}written {shlex.quote(action.path)} {shlex.quote(action.text)} {must}"]


def _link(action: actions.Link) -> list[str]:
    return [f"[ ! -e {shlex.quote(action.needs)} ] || linked {shlex.quote(action.path)}"]


def _nothing(action: object) -> list[str]:
    """Programs that ran leave nothing to look for."""
    return []


RENDERERS: Mapping[type, Callable[[Any], list[str]]] = {
    actions.Delete: lambda action: calls("left" if action.links else "left_unless_link", action.paths),
    actions.Empty: lambda action: calls("left_below", action.folders),
    actions.DeleteNamed: _delete_named,
    actions.Truncate: lambda action: calls("filled", action.folders),
    actions.DropLines: lambda action: calls(
        f"lines {shlex.quote(action.pattern)} {shlex.quote(action.what)}", action.paths
    ),
    actions.Write: _write,
    actions.Link: _link,
    actions.RunProgram: _nothing,
    actions.RunFolder: _nothing,
    actions.RemoveProvisionedUsers: lambda action: ["set -f", "accounts $(provisioned_users | sort -u)", "set +f"],
    actions.RemoveOrdinaryUsers: lambda action: ["set -f", "accounts $(ordinary_users)", "set +f"],
    actions.LockRootPassword: lambda action: ["root_password"],
    actions.ResetMachineId: lambda action: ["machine_id"],
}
