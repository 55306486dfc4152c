"""What an image holds, read from its mounted disk without running anything of it."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.disk.system import OS_RELEASE, parse_os_release
from builder.disk.tree import GuestTree
from builder.guest import rpmdb
from builder.model.artifact import Inventory, InventoryFile, Package, User

LARGEST_DATABASE = 512 * 1024 * 1024
DPKG_STATUS = "/var/lib/dpkg/status"
APK_INSTALLED = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
RPM_FOLDERS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
ENABLED = ("wants", "requires", "upholds")


def read_inventory(tree: GuestTree, paths_of_ours: Sequence[str] = ()) -> Inventory:
    """The inventory of a mounted disk. `paths_of_ours` are the files that the spec put there.

    Raises BuildError for a package database that can't be read.
    """
    return Inventory(
        os=os_release_of(tree),
        kernel=tuple(kernels(tree)),
        packages=tuple(sorted(packages(tree), key=lambda item: (item.name, item.architecture, item.version))),
        files=tuple(files_of_ours(tree, paths_of_ours)),
        users=tuple(users(tree)),
        services=tuple(services(tree)),
    )


def os_release_of(tree: GuestTree) -> dict[str, str]:
    """What a guest says it is; empty when it doesn't."""
    return next((parse_os_release(tree.read_text(path)) for path in OS_RELEASE if tree.is_file(path)), {})


def kernels(tree: GuestTree) -> list[str]:
    """The releases of the installed kernels: those with modules."""
    return sorted({path.split("/")[-2] for path in tree.glob("/lib/modules/*/kernel")})


def packages(tree: GuestTree) -> Iterator[Package]:
    """The installed packages, from whichever databases there are."""
    if tree.is_file(DPKG_STATUS):
        yield from dpkg_packages(_text(tree, DPKG_STATUS))
    for path in APK_INSTALLED:
        if tree.is_file(path) and not tree.is_link(path):
            yield from apk_packages(_text(tree, path))
    yield from rpm_packages(tree)


def dpkg_packages(status: str) -> Iterator[Package]:
    """The installed packages of dpkg's status file. Source: dpkg(1) and deb822(5)."""
    for stanza in _stanzas(status):
        if stanza.get("Status", "").split()[-1:] == ["installed"]:
            yield Package(stanza["Package"], stanza["Version"], stanza.get("Architecture", "all"), "deb")


def apk_packages(installed: str) -> Iterator[Package]:
    """The packages of apk's database, in which P, V and A are name, version and architecture."""
    for stanza in _stanzas(installed):
        if "P" in stanza and "V" in stanza:
            yield Package(stanza["P"], stanza["V"], stanza.get("A", "noarch"), "apk")


def rpm_packages(tree: GuestTree) -> list[Package]:
    """The packages of the RPM database, in any of its formats."""
    for folder in RPM_FOLDERS:
        if tree.is_file(f"{folder}/rpmdb.sqlite"):
            return _packages_of_sqlite(tree, f"{folder}/rpmdb.sqlite")
        for name, headers in (("Packages.db", rpmdb.ndb_headers), ("Packages", rpmdb.bdb_headers)):
            path = f"{folder}/{name}"
            if tree.is_file(path) and tree.stat(path).st_size:
                with tree.opened(path) as descriptor, mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as database:
                    return rpmdb.packages_of_headers(headers(database))
    return []


def _packages_of_sqlite(tree: GuestTree, path: str) -> list[Package]:
    """From a copy: SQLite takes a path of this host, writes beside it, and may find rpm's write-ahead log there."""
    with TemporaryDirectory() as folder:
        copy = Path(folder, "rpmdb.sqlite")
        for suffix in ("", "-wal"):
            if tree.is_file(path + suffix):
                with tree.opened(path + suffix) as found, Path(f"{copy}{suffix}").open("wb") as target:
                    shutil.copyfileobj(os.fdopen(found, "rb", closefd=False), target)
        return rpmdb.packages_of_headers(rpmdb.sqlite_headers(copy))


def _text(tree: GuestTree, path: str) -> str:
    return tree.read_bytes(path, LARGEST_DATABASE).decode(errors="replace")


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Paragraphs of `Key: value` (or `K:value`) lines; continuation lines are left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = (line.partition(":") for line in paragraph.splitlines() if line[:1] not in (" ", "\t"))
        stanza: dict[str, str] = {}
        for key, sign, value in lines:
            if sign:
                stanza.setdefault(key, value.strip())
        if stanza:
            yield stanza


def users(tree: GuestTree) -> Iterator[User]:
    """The accounts of /etc/passwd, by number."""
    found = []
    for line in _small(tree, "/etc/passwd"):
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and fields[3].isdecimal():
            found.append(User(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6]))
    yield from sorted(found, key=lambda user: (user.uid, user.name))


def services(tree: GuestTree) -> list[str]:
    """What starts at boot: units that systemd's links name, services in OpenRC's runlevels."""
    found = set()
    for kind in ENABLED:
        found |= {path.rsplit("/", 1)[1] for path in tree.glob(f"/etc/systemd/system/*.{kind}/*")}
    # A masked unit doesn't start, whoever wants it (systemctl(1), "mask"): a link to /dev/null, or an empty file
    found -= {unit for unit in found if _masked(tree, f"/etc/systemd/system/{unit}")}
    found |= {path.rsplit("/", 1)[1] for path in tree.glob("/etc/runlevels/*/*")}
    return sorted(found)


def _masked(tree: GuestTree, path: str) -> bool:
    if tree.is_link(path):
        return tree.read_link(path) == "/dev/null"
    return tree.is_file(path) and tree.lstat(path).st_size == 0


def files_of_ours(tree: GuestTree, paths: Iterable[str]) -> Iterator[InventoryFile]:
    """What became of the files that the spec put there; one that a later step removed is left out."""
    owners = {uid: name for name, uid in _numbers(tree, "/etc/passwd")}
    groups = {gid: name for name, gid in _numbers(tree, "/etc/group")}
    for path in sorted(set(paths)):
        if not tree.is_file(path):
            continue
        with tree.opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
            status = os.fstat(descriptor)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        owner = f"{owners.get(status.st_uid, status.st_uid)}:{groups.get(status.st_gid, status.st_gid)}"
        yield InventoryFile(path, sha256, f"{stat.S_IMODE(status.st_mode):04o}", owner)


def _numbers(tree: GuestTree, path: str) -> Iterator[tuple[str, int]]:
    for line in _small(tree, path):
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal():
            yield fields[0], int(fields[2])


def _small(tree: GuestTree, path: str) -> list[str]:
    return tree.read_text(path).splitlines() if tree.is_file(path) else []
