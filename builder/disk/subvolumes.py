"""Finding what a btrfs holds beside what is mounted of it: subvolumes, snapshots, and files between them.

The kernel is asked for its tree of subvolumes, as the names in it may be anything, and a line break would mislead who
reads the list of a program. Sources: Linux `include/uapi/linux/{btrfs,btrfs_tree}.h`.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.disk.mounts import mounted
from builder.disk.system import BTRFS_TOP, OpenedSystem
from builder.disk.tree import GuestTree
from builder.disk.volumes import Volume

# The subvolume that all others are in, and the ids that others have
TOP_ID = 5
FIRST_ID, LAST_ID = 256, 2**64 - 256
# Where container engines have their layers: snapshots too, but of each other, not of the machine
OF_ENGINES = re.compile(
    r"/(docker|containers/storage)/btrfs/|^/var/lib/(containerd|rancher|lxd|incus|machines|portables)/|/common/lxd/"
)
# How long a subvolume that a step deleted may take to go; the kernel does that in the background
DELETION_SECONDS = 120.0

_TREE_SEARCH, _INO_LOOKUP, _SYNC = 0xD0009411, 0xD0009412, 0x9408
_ROOT_TREE, _ROOT_ITEM, _ROOT_BACKREF = 1, 132, 144
# struct btrfs_ioctl_search_key: tree, then from and to of object, offset and transaction; types, count, 36 unused bytes
_KEY = struct.Struct("=QQQQQQQIII36x")
_HEADER = struct.Struct("=QQQII")
_LOOKUP = struct.Struct("=QQ")
_ANSWER = 4096
# In struct btrfs_root_item; the UUIDs were added to it later
_REFS = struct.Struct("=216xI")
_UUIDS = struct.Struct("=247x16s16s")
# In struct btrfs_root_ref: the folder that the subvolume is in, a sequence number, the length of its name
_REF = struct.Struct("=QQH")
_MAX = 2**64 - 1
_MOST_ITEMS = 2**32 - 1


@dataclass
class _Subvolume:
    """A subvolume: `path` from the top level, "" for that itself, None for one that stands nowhere.

    `parent` is the UUID of what a snapshot was taken of. `device` tells its files from those of others.
    """

    id: int
    uuid: bytes
    parent: bytes
    snapshot: bool
    deleted: bool
    path: str | None = None
    device: int | None = None


def unseen_subvolumes(system: OpenedSystem, volume: Volume) -> list[str]:
    """What of a btrfs that is mounted nobody has looked at or cleaned, each in words for a person; sorted.

    That is: files in subvolumes that are not mounted and don't stand below one that is; files of the top level, when
    that is not mounted; snapshots that stand below a mounted subvolume, but for those that container engines make of
    their own; and what is deleted, but still there.
    """
    mounts = [item for item in system.filesystems if item.volume == volume]
    if not mounts or volume.content is None or volume.content.type != "btrfs":
        return []
    folder = system.root.with_name("subvolumes")
    folder.mkdir(exist_ok=True)
    options = ["nodev", "noatime", BTRFS_TOP, "ro"]
    with mounted(mounts[0].device, folder, type="btrfs", options=options):
        _wait_for_deletions(mounts[0].folder)
        top = GuestTree(folder)
        subvolumes = _list(folder)
        for item in subvolumes:
            # One that can't be had stays without a device: nobody has seen it
            with suppress(OSError):
                item.device = top.lstat(f"/{item.path}").st_dev if item.path is not None else None
        found = list(_unseen(system.tree, top, subvolumes, [item.target for item in mounts]))
    folder.rmdir()
    return sorted("".join(sign if sign.isprintable() else "\ufffd" for sign in words) for words in found)


def _unseen(tree: GuestTree, top: GuestTree, subvolumes: Sequence[_Subvolume], targets: Sequence[str]) -> Iterator[str]:
    by_device = {item.device: item for item in subvolumes if item.device is not None}
    mounts: list[tuple[_Subvolume, str]] = []
    for target in targets:
        # What another mount hides was not seen
        with suppress(OSError):
            item = by_device.get(tree.stat(target).st_dev)
            mounts += [(item, target)] if item else []
    copies = _copies(subvolumes, [item for item, _ in mounts])
    for item in subvolumes:
        if any(item is seen for seen, _ in mounts):
            continue
        place = _place(tree, item, mounts)
        if item.deleted:
            yield f"the deleted subvolume {item.id}, whose data is still there"
        elif item.path is None or item.device is None:
            yield f"the subvolume {item.id}, which can't be reached"
        elif place:
            if item.id in copies or (item.snapshot and not OF_ENGINES.search(place)):
                yield f"{item.path} (a snapshot)"
        elif (file := _first_file(top, item)) is not None:
            yield item.path or f"{file} (a file beside the subvolumes)"


def _place(tree: GuestTree, item: _Subvolume, mounts: Sequence[tuple[_Subvolume, str]]) -> str:
    """Where a subvolume is seen as a folder below a mounted one; "" where it isn't, or another mount hides it."""
    for seen, target in mounts:
        top = f"{seen.path}/" if seen.path else ""
        if item.path is not None and item.path.startswith(top):
            place = f"{target.rstrip('/')}/{item.path.removeprefix(top)}"
            with suppress(OSError):
                if tree.lstat(place).st_dev == item.device:
                    return place
    return ""


def _copies(subvolumes: Sequence[_Subvolume], seen: Sequence[_Subvolume]) -> set[int]:
    """The ids of those that share their origin with a mounted one."""
    by_uuid = {item.uuid: item for item in subvolumes if any(item.uuid)}
    cleaned = {_origin(item, by_uuid) for item in seen}
    return {item.id for item in subvolumes if _origin(item, by_uuid) in cleaned}


def _origin(item: _Subvolume, by_uuid: dict[bytes, _Subvolume]) -> bytes:
    """The UUID of the subvolume that the first snapshot was taken of; b"" where that was before UUIDs."""
    passed: set[int] = set()
    while item.snapshot and item.id not in passed:
        passed.add(item.id)
        if not any(item.parent):
            return b""
        if item.parent not in by_uuid:
            return item.parent
        item = by_uuid[item.parent]
    return item.uuid if any(item.uuid) else str(item.id).encode()


def _first_file(top: GuestTree, item: _Subvolume) -> str | None:
    """The first thing found in a subvolume that is no folder; other subvolumes in it are not entered."""
    folders = [item.path or ""]
    while folders:
        folder = folders.pop()
        with top.opened(f"/{folder}", os.O_RDONLY | os.O_DIRECTORY) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                path = f"{folder}/{entry.name}".lstrip("/")
                if not stat.S_ISDIR(status.st_mode):
                    return path
                if status.st_dev == item.device:
                    folders.append(path)
    return None


def _wait_for_deletions(folder: Path) -> None:
    """Give the kernel time to free what steps deleted; where nothing may be written, it doesn't."""
    deadline = time.monotonic() + DELETION_SECONDS
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        writable = not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
        if not writable:
            return
        # That something is deleted stands in the tree of trees only when it was written out. Unlike syncfs, this wakes
        # the kernel's cleaner too, which else comes round every 30 s
        fcntl.ioctl(descriptor, _SYNC)
        while any(item.deleted for item in _roots(descriptor)) and time.monotonic() < deadline:
            time.sleep(0.1)
            fcntl.ioctl(descriptor, _SYNC)
    finally:
        os.close(descriptor)


def _list(folder: Path) -> list[_Subvolume]:
    """All subvolumes of the filesystem that is mounted at `folder`, the top level first."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = {item.id: item for item in _roots(descriptor)}
        inside = list(_names(descriptor))
    finally:
        os.close(descriptor)
    found[TOP_ID].path = ""
    # Parents first, whatever the order of ids; what leads back to itself is never reached
    while inside:
        left = []
        for id, holder, place in inside:
            if holder in found and found[holder].path is not None and id in found:
                found[id].path = f"{found[holder].path}/{place}".lstrip("/")
            else:
                left.append((id, holder, place))
        if len(left) == len(inside):
            break
        inside = left
    return list(found.values())


def _roots(descriptor: int) -> Iterator[_Subvolume]:
    for id, offset, data in _search(descriptor, _ROOT_ITEM):
        (refs,) = _REFS.unpack_from(data) if len(data) >= _REFS.size else (1,)
        uuid, parent = _UUIDS.unpack_from(data) if len(data) >= _UUIDS.size else (b"", b"")
        # A snapshot's key has the transaction that made it; the top level may lack a UUID, so that its copies have none
        snapshot = id != TOP_ID and (offset != 0 or any(parent))
        yield _Subvolume(id, uuid, parent, snapshot, deleted=refs == 0)


def _names(descriptor: int) -> Iterator[tuple[int, int, str]]:
    """Each subvolume's id, the id of the one that it stands in, and its path in that."""
    for id, holder, data in _search(descriptor, _ROOT_BACKREF):
        folder, _, length = _REF.unpack_from(data)
        name = data[_REF.size : _REF.size + length]
        answer = bytearray(_LOOKUP.pack(holder, folder).ljust(_ANSWER, b"\0"))
        with suppress(OSError):
            fcntl.ioctl(descriptor, _INO_LOOKUP, answer)
            # The folder's path ends in a slash, unless it is the subvolume itself
            yield id, holder, os.fsdecode(bytes(answer[_LOOKUP.size :]).split(b"\0", 1)[0] + name)


def _search(descriptor: int, type: int) -> Iterator[tuple[int, int, bytes]]:
    """The items of one type in the tree of trees that are about subvolumes: object, offset, data."""
    id, offset = TOP_ID, 0
    while id <= LAST_ID:
        key = _KEY.pack(_ROOT_TREE, id, LAST_ID, offset, _MAX, 0, _MAX, type, type, _MOST_ITEMS)
        answer = bytearray(key.ljust(_ANSWER, b"\0"))
        fcntl.ioctl(descriptor, _TREE_SEARCH, answer)
        count = _KEY.unpack_from(answer)[-1]
        if not count:
            return
        place = _KEY.size
        found = type
        for _ in range(count):
            _, id, offset, found, length = _HEADER.unpack_from(answer, place)
            place += _HEADER.size
            # The kernel compares keys as a whole, so that items of other types come in between
            if found == type and (id == TOP_ID or FIRST_ID <= id <= LAST_ID):
                yield id, offset, bytes(answer[place : place + length])
            place += length
        # Go on behind the last key: it may be one of another type
        if found > type or offset == _MAX:
            id, offset = id + 1, 0
        else:
            offset = offset + 1 if found == type else 0
