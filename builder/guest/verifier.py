"""Re-scans a generalized disk, read-only and independently of the script: what an operation left behind is a finding.

"The tool ran" is not "the disk is clean": a program may have filled a file again, a link may have hidden a folder, a
later step may have been added. The same table drives script and verifier, but each reads it in its own way.
"""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.disk.tree import GuestTree
from builder.guest import actions
from builder.guest.keep import glob_of, matchers, parse_keep
from builder.guest.operation import Operation
from builder.guest.operations import all_operations

# Mounted over by a tmpfs at every boot: what the disk has below is never seen
VOLATILE = ("/run/", "/dev/")
SMALL = 1024 * 1024
ALWAYS = "checked always"

# Where a private key is one machine's. Packages bring keys for tests below /usr/lib and /usr/share
KEY_FOLDERS = (
    "/.ssh", "/etc", "/root", "/home", "/srv", "/usr/local", "/var/www", "/var/lib/waagent", "/var/lib/cloud",
)  # fmt: skip
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
KEY_HEAD = 4096

DEFAULT_USER = re.compile(r"^\s*default_user:.*?^\s*name:\s*(\S+)", re.MULTILINE | re.DOTALL)
UID_OF_ROOT = re.compile(r"\s*[+-]?0+$")
LOCKED = frozenset({"*", "!", "!!", "!*", "*LOCK*"})
MACHINE_ID = "/etc/machine-id"
DBUS_MACHINE_ID = "/var/lib/dbus/machine-id"
SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")


@dataclass(frozen=True, order=True)
class Finding:
    """Something of this machine that is still there.

    `operation` is the one that should have dealt with it, or `ALWAYS` where none could.
    """

    path: str
    operation: str
    reason: str

    def describe(self) -> str:
        """A line for people. The guest chose its paths and names: what a terminal would obey is escaped."""
        source = self.operation if self.operation == ALWAYS else f"operation {self.operation}"
        line = f"{self.path}: {self.reason} ({source})"
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)


def verify(
    tree: GuestTree, operations: Sequence[Operation], keep: Sequence[str] = (), users: Sequence[str] = ()
) -> list[Finding]:
    """What the operations left behind on a mounted disk, and what must never be there, sorted by path.

    `operations` are those that were done (and apply to the distribution), `keep` globs of accepted paths, `users` the
    accounts of the spec.
    """
    scan = Scan(tree, keep, users)
    found: dict[tuple[str, str, str], Finding] = {}
    for operation in operations:
        for action in operation.actions:
            for path, reason in SURVIVORS[type(action)](scan, action):
                found.setdefault((scan.identity(path), operation.id, reason), Finding(path, operation.id, reason))
    done = {operation.id for operation in operations}
    skipped = [item for item in all_operations() if item.default and item.id not in done]
    known = {identity for identity, _, _ in found}
    for path, reason in _private_keys(scan, skipped):
        if scan.identity(path) not in known:
            found[scan.identity(path), ALWAYS, reason] = Finding(path, ALWAYS, reason)
    accounts = {Finding(path, ALWAYS, reason) for path, reason in (*_empty_passwords(scan), *_open_accounts(scan))}
    return sorted([*found.values(), *accounts])


class Scan:
    """A disk under examination: what is kept, whose homes there are."""

    def __init__(self, tree: GuestTree, keep: Sequence[str], users: Sequence[str]) -> None:
        self.tree = tree
        self.users = frozenset(users)
        self._folders: dict[str, str] = {}
        self._passwd = [line.split(":") for line in self.lines("/etc/passwd") if line.count(":") >= 6]
        self._keep = matchers(self._patterns(keep))
        self.homes = self._homes()

    def _patterns(self, keep: Sequence[str]) -> set[str]:
        """Globs of what is kept, as the spec names it and as it stands when links of folders are followed."""
        homes = {fields[0]: fields[5].rstrip("/") for fields in reversed(self._passwd) if fields[5].startswith("/")}
        patterns = set()
        for pattern in keep:
            entry = parse_keep(pattern)
            if entry.user and entry.user not in homes:
                continue
            folder = homes.get(entry.user, "") + entry.folder
            patterns |= {f"{glob_of(place)}/{entry.name}" for place in (folder, self._resolved(folder))}
        return patterns

    def _resolved(self, folder: str) -> str:
        """Where a folder really stands in the guest; as it is when there is none. No slash at its end."""
        if folder not in self._folders:
            try:
                place = self.tree.resolve(folder or "/").relative_to(self.tree.resolve("/")).as_posix()
                self._folders[folder] = "" if place == "." else f"/{place}"
            except OSError:
                self._folders[folder] = folder
        return self._folders[folder]

    def kept(self, path: str) -> bool:
        """Whether the spec wants this path in the image; `/run` and `/dev` don't matter."""
        if path.startswith(VOLATILE):
            return True
        folder, _, name = path.rpartition("/")
        return any(
            pattern.match(place) for place in {path, f"{self._resolved(folder)}/{name}"} for pattern in self._keep
        )

    def identity(self, path: str) -> str:
        """The same text for the same file, by whatever links it was reached."""
        try:
            status = self.tree.lstat(path)
        except OSError:
            return path
        return f"{status.st_dev}:{status.st_ino}"

    def lines(self, path: str) -> list[str]:
        """The lines of a small text file; none when there is no such file."""
        # A form feed ends a line for Python, but not for the programs that read these files
        return self.tree.read_text(path, SMALL).split("\n") if self.tree.is_file(path) else []

    def _homes(self) -> tuple[str, ...]:
        """Where accounts are at home, without a slash at the end: "" is the root folder, root's home in some images."""
        homes = {fields[5].rstrip("/") for fields in self._passwd if fields[5].startswith("/")}
        return tuple(sorted({*homes, "/root", *self.tree.glob("/home/*")}))

    def expand(self, pattern: str) -> Iterator[str]:
        """The existing paths of a pattern of the table that are not kept."""
        places = [f"{home}/{pattern[2:]}" for home in self.homes] if pattern.startswith("~/") else [pattern]
        for place in places:
            for path in self.tree.glob(place):
                if not self.kept(path):
                    yield path

    def below(self, top: str) -> Iterator[tuple[str, int, int]]:
        """What is below a folder, also on mounted filesystems, and not kept: path, mode and size; no folders."""
        if not self.tree.is_folder(top):
            return
        for path, status in self.tree.walk(top):
            if not stat.S_ISDIR(status.st_mode) and not self.kept(path):
                yield path, status.st_mode, status.st_size


Survivors = Iterator[tuple[str, str]]


def _delete(scan: Scan, action: actions.Delete) -> Survivors:
    for pattern in action.paths:
        for path in scan.expand(pattern):
            if scan.tree.is_link(path):
                if action.links:
                    yield path, "is still there"
            elif scan.tree.is_folder(path):
                yield from ((inner, "is still there") for inner, _, _ in scan.below(path))
            else:
                yield path, "is still there"


def _empty(scan: Scan, action: actions.Empty) -> Survivors:
    for pattern in action.folders:
        for folder in scan.expand(pattern):
            yield from ((path, "is still there") for path, _, _ in scan.below(folder))


def _delete_named(scan: Scan, action: actions.DeleteNamed) -> Survivors:
    for root in action.roots:
        for path, mode, _ in scan.below(root):
            name = path.rsplit("/", 1)[1]
            if stat.S_ISREG(mode) and any(fnmatch.fnmatchcase(name, pattern) for pattern in action.names):
                yield path, "is still there"


def _truncate(scan: Scan, action: actions.Truncate) -> Survivors:
    for pattern in action.folders:
        for folder in scan.expand(pattern):
            for path, mode, size in scan.below(folder):
                if stat.S_ISREG(mode) and size:
                    yield path, f"holds {size} bytes"


def _drop_lines(scan: Scan, action: actions.DropLines) -> Survivors:
    pattern = re.compile(action.pattern.replace("[[:space:]]", r"\s"))
    for place in action.paths:
        for path in scan.expand(place):
            if any(pattern.search(line) for line in scan.lines(path)):
                yield path, f"still has {action.what}"


def _write(scan: Scan, action: actions.Write) -> Survivors:
    if scan.kept(action.path) or (action.needs and not scan.tree.exists(action.needs)):
        return
    if not scan.tree.exists(action.path):
        if action.create:
            yield action.path, "is missing"
    elif not scan.tree.is_file(action.path) or scan.tree.read_bytes(action.path, SMALL) != action.text.encode():
        yield action.path, "has another content"


def _link(scan: Scan, action: actions.Link) -> Survivors:
    if not scan.kept(action.path) and scan.tree.exists(action.needs) and not scan.tree.is_link(action.path):
        yield action.path, "is missing"


def _nothing(scan: Scan, action: object) -> Survivors:
    """Programs that ran leave nothing to look for."""
    yield from ()


def _accounts(scan: Scan) -> Iterator[tuple[str, int]]:
    for line in scan.lines("/etc/passwd"):
        fields = line.split(":")
        if len(fields) >= 7 and fields[2].isdecimal() and fields[0] not in scan.users:
            yield fields[0], int(fields[2])


def _provisioned_users(scan: Scan, action: object) -> Survivors:
    # Most of the script's evidence is gone by now, and has operations of its own; this is what stays
    text = "\n".join(scan.lines("/var/lib/waagent/ovf-env.xml"))
    names = set(re.findall(r"<(?:\w+:)?UserName>([^<]*)<", text))
    rules = scan.lines("/etc/sudoers.d/90-cloud-init-users")
    names |= {line.removeprefix("# User rules for ") for line in rules if line.startswith("# User rules for ")}
    names |= {line.split()[0] for line in scan.lines("/etc/sudoers.d/waagent") if re.match(r"[A-Za-z_]", line)}
    default = DEFAULT_USER.search("\n".join(scan.lines("/etc/cloud/cloud.cfg")))
    names |= {default[1]} if default else set()
    for name, uid in _accounts(scan):
        if name in names and 1000 <= uid != 65534:
            yield "/etc/passwd", f"still has the user {name}"


def _ordinary_users(scan: Scan, action: object) -> Survivors:
    limits = {"UID_MIN": 1000, "UID_MAX": 60000}
    for line in scan.lines("/etc/login.defs"):
        words = line.split()
        if len(words) == 2 and words[0] in limits and words[1].isdecimal():
            limits[words[0]] = int(words[1])
    for name, uid in _accounts(scan):
        if limits["UID_MIN"] <= uid <= limits["UID_MAX"]:
            yield "/etc/passwd", f"still has the user {name}"


def _root_password(scan: Scan, action: object) -> Survivors:
    for name, password in _passwords(scan):
        if name == "root" and password not in LOCKED and not scan.kept("/etc/shadow"):
            yield "/etc/shadow", "still has root's password"


def _machine_id(scan: Scan, action: object) -> Survivors:
    tree = scan.tree
    if not scan.kept(DBUS_MACHINE_ID) and tree.exists(DBUS_MACHINE_ID) and not tree.is_link(DBUS_MACHINE_ID):
        yield DBUS_MACHINE_ID, "is still there"
    if scan.kept(MACHINE_ID):
        return
    there = tree.exists(MACHINE_ID)
    if not any(tree.exists(path) for path in SYSTEMD):
        if there:
            yield MACHINE_ID, "is still there"
    elif not there:
        yield MACHINE_ID, "is missing; it should say `uninitialized`"
    elif tree.is_link(MACHINE_ID) or tree.read_bytes(MACHINE_ID, SMALL) != b"uninitialized\n":
        yield MACHINE_ID, "does not say `uninitialized`"
    elif stat.S_IMODE(tree.lstat(MACHINE_ID).st_mode) != 0o444:
        yield MACHINE_ID, "has another mode than 0444"


SURVIVORS: Mapping[type, Callable[[Scan, Any], Survivors]] = {
    actions.Delete: _delete,
    actions.Empty: _empty,
    actions.DeleteNamed: _delete_named,
    actions.Truncate: _truncate,
    actions.DropLines: _drop_lines,
    actions.Write: _write,
    actions.Link: _link,
    actions.RunProgram: _nothing,
    actions.RunFolder: _nothing,
    actions.RemoveProvisionedUsers: _provisioned_users,
    actions.RemoveOrdinaryUsers: _ordinary_users,
    actions.LockRootPassword: _root_password,
    actions.ResetMachineId: _machine_id,
}


def _private_keys(scan: Scan, skipped: Sequence[Operation]) -> Survivors:
    """Private keys that no operation knows. Those that a skipped operation would have removed are wanted."""
    wanted = {
        path
        for operation in skipped
        for action in operation.actions
        for path, _ in SURVIVORS[type(action)](scan, action)
    }
    for folder in KEY_FOLDERS:
        for path, mode, size in scan.below(folder):
            small_file = stat.S_ISREG(mode) and 0 < size <= SMALL
            if small_file and path not in wanted and PRIVATE_KEY.search(scan.tree.read_bytes(path, KEY_HEAD)):
                yield path, "holds a private key, which all VMs would share"


def _passwords(scan: Scan) -> Iterator[tuple[str, str]]:
    for line in scan.lines("/etc/shadow"):
        fields = line.split(":")
        if len(fields) > 1:
            yield fields[0], fields[1]


def _empty_passwords(scan: Scan) -> Survivors:
    if scan.kept("/etc/shadow"):
        return
    for name, password in _passwords(scan):
        if not password:
            yield "/etc/shadow", f"lets {name} log in without a password"


def _open_accounts(scan: Scan) -> Survivors:
    """Accounts of /etc/passwd that need no password, or are root by another name.

    The C library is more lenient than passwd(5): it skips blanks before the name, knows 0 in other spellings (`00`,
    `+0`) and takes lines that end after the group's number. Names after `+` or `-` are rules of NIS, no accounts.
    A spec's `users` step makes no account of UID 0: useradd refuses a number that is taken.
    """
    if scan.kept("/etc/passwd"):
        return
    for line in scan.lines("/etc/passwd"):
        fields = line.lstrip().split(":")
        if len(fields) < 4 or fields[0].startswith(("#", "+", "-")):
            continue
        name, password, uid = fields[:3]
        if not password:
            yield "/etc/passwd", f"lets {name} log in without a password"
        if name != "root" and UID_OF_ROOT.match(uid):
            yield "/etc/passwd", f"gives {name} UID 0, all rights of root"
