"""Renders generalize operations as one POSIX sh script that runs inside the guest, offline or in a VM.

Its functions are in templates/generalize.sh; here the table becomes calls of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.guest import actions
from builder.guest.keep import WILDCARD, parse_keep
from builder.guest.operation import Operation

FUNCTIONS = Path(__file__).parent / "templates" / "generalize.sh"

HEADER = """\
#!/bin/sh
# Takes a machine's identity out of its disks: one block for each operation.
set -u
umask 022
LC_ALL=C
"""

# The whole script is read before anything runs, so that it may remove the file that it stands in. Homes become the
# positional parameters of `main`: the one list that POSIX sh can hold without splitting names
FOOTER = """
homes=$(find_homes | sort -u)
set -f
IFS=$newline
set -- $homes
set +f
unset IFS
main "$@"
[ "$failed" -eq 0 ] || echo "some operations failed" >&2
exit "$failed"
"""


def render_script(operations: Sequence[Operation], keep: Sequence[str] = (), users: Sequence[str] = ()) -> str:
    """The script that does these operations, in this order.

    `keep` are globs of paths that no operation touches (see `builder.guest.keep`), `users` accounts that none removes.
    The script prints `operation: n files` for each and exits with 1 when something could not be done.
    """
    blocks = [HEADER, FUNCTIONS.read_text(encoding="utf-8"), f"spec_users={shlex.quote(' '.join(sorted(users)))}\n"]
    blocks.append(kept_functions(keep))
    body: list[str] = []
    for operation in operations:
        lines = [line for action in operation.actions for line in RENDERERS[type(action)](action)]
        body += [f"begin {operation.id}", *lines, "end", ""]
    blocks.append("main() {\n" + "\n".join(f"    {line}".rstrip() for line in body) + "\n    :\n}\n")
    return "\n".join(blocks) + FOOTER


def glob_words(pattern: str) -> str:
    """A glob as a word of sh: wildcards stay, everything else is quoted. `~/` becomes the variable `$home`."""
    # The home `/` is the only one that ends with a slash; of two, paths that are kept know nothing
    prefix, rest = ('"${home%/}"/', pattern[2:]) if pattern.startswith("~/") else ("", pattern)
    parts = WILDCARD.split(rest)
    return prefix + "".join(part if index % 2 else shlex.quote(part) for index, part in enumerate(parts) if part)


def kept_functions(keep: Sequence[str]) -> str:
    """The functions that know what is kept: `kept PATH`, and `below FOLDER TEST...`, find without what is kept.

    find goes into mounted filesystems, since the guest's logs may be on a disk of their own. `/proc`, `/sys`, `/dev`
    and `/run` are below no folder of the table.

    The folders of what is kept are looked up once, before anything is removed: `place_N` is where a folder really
    stands, `glob_N` the same as a pattern for find.
    """
    entries = [parse_keep(pattern) for pattern in keep]
    folders = list(dict.fromkeys((entry.user, entry.folder) for entry in entries))
    lines = []
    for number, (user, folder) in enumerate(folders):
        word = f'"$(home_of {shlex.quote(user)})"' if user else ""
        lines.append(f"place_{number}=$(resolved {word}{shlex.quote(folder) if folder or not user else ''})")
        lines.append(f'glob_{number}=$(escaped "$place_{number}")')
    cases, tests = "", ""
    for pattern, entry in zip(keep, entries, strict=True):
        number = folders.index((entry.user, entry.folder))
        words = [] if entry.user else [glob_words(pattern.rstrip("/") or "/")]
        words.append(f'"$place_{number}"/{glob_words(entry.name)}')
        cases += "".join(f"        {word} | {word}/*) return 0 ;;\n" for word in words)
        # find reads the pattern itself, so that there a backslash would be special
        name = shlex.quote("/" + entry.name.replace("\\", "\\\\"))
        tests += f' ! -path "$glob_{number}"{name} ! -path "$glob_{number}"{name}"/*"'
    return (
        "".join(f"{line}\n" for line in lines) + "\n"
        "kept() {\n    case $1 in\n" + cases + "        *) return 1 ;;\n    esac\n}\n\n"
        "below() {\n    start=$1\n    shift\n"
        f'    find "$start" -depth -mindepth 1{tests} "$@"\n}}\n'
    )


def calls(function: str, paths: Sequence[str]) -> list[str]:
    """Calls of a function: one for all fixed paths, one loop for all those in homes."""
    fixed = [glob_words(path) for path in paths if not path.startswith("~/")]
    homes = [glob_words(path) for path in paths if path.startswith("~/")]
    lines = [f"{function} {' '.join(fixed)}"] if fixed else []
    return lines + ([f"for home; do {function} {' '.join(homes)}; done"] if homes else [])


def _delete(action: actions.Delete) -> list[str]:
    return calls("delete" if action.links else "delete_unless_link", action.paths)


def _empty(action: actions.Empty) -> list[str]:
    return calls("empty_of_files" if action.folders_stay else "empty", action.folders)


def _delete_named(action: actions.DeleteNamed) -> list[str]:
    names = " -o ".join(f"-name {shlex.quote(name)}" for name in action.names)
    return [
        f"if real {root}/ && is_folder {root}; then remove_below {root} -type f '(' {names} ')'; fi"
        for root in map(shlex.quote, action.roots)
    ]


def _drop_lines(action: actions.DropLines) -> list[str]:
    return calls(f"drop_lines {shlex.quote(action.pattern)}", action.paths)


def _write(action: actions.Write) -> list[str]:
    test = f"[ ! -e {shlex.quote(action.needs)} ] || " if action.needs else ""
    function = "create" if action.create else "write"
    return [f"{test}{function} {shlex.quote(action.path)} {action.mode} {shlex.quote(action.text)}"]


def _link(action: actions.Link) -> list[str]:
    return [f"[ ! -e {shlex.quote(action.needs)} ] || link {shlex.quote(action.path)} {shlex.quote(action.target)}"]


RENDERERS: Mapping[type, Callable[[Any], list[str]]] = {
    actions.Delete: _delete,
    actions.Empty: _empty,
    actions.DeleteNamed: _delete_named,
    actions.Truncate: lambda action: calls("truncate_below", action.folders),
    actions.DropLines: _drop_lines,
    actions.Write: _write,
    actions.Link: _link,
    actions.RunProgram: lambda action: [f"run_program {shlex.join(action.command)}"],
    actions.RunFolder: lambda action: [f"run_folder {shlex.quote(action.folder)}"],
    actions.RemoveProvisionedUsers: lambda action: ["set -f", "remove_users $(provisioned_users | sort -u)", "set +f"],
    actions.RemoveOrdinaryUsers: lambda action: ["set -f", "remove_users $(ordinary_users)", "set +f"],
    actions.LockRootPassword: lambda action: ["lock_root"],
    actions.ResetMachineId: lambda action: ["reset_machine_id"],
}
