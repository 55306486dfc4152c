"""What a guest's own /etc/fstab says about its filesystems. Source: fstab(5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from builder.disk.tree import GuestTree
from builder.disk.volumes import Volume

PATH = "/etc/fstab"

# Not on a disk, or of no use to offline work
OTHER_TYPES = frozenset(
    {"swap", "tmpfs", "ramfs", "proc", "sysfs", "devpts", "devtmpfs", "cgroup", "cgroup2", "securityfs", "debugfs"}
    | {"tracefs", "hugetlbfs", "mqueue", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse", "autofs", "overlay"}
    | {"iso9660", "udf", "none"}
)
_BY_KEY = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}
_BY_FOLDER = {f"/dev/disk/by-{word}/": word for word in _BY_KEY.values()}
# The first disk as the kernel names it behind the usual controllers, and as Azure's udev rules name it
_OS_DISK = re.compile(r"/dev/(?:[sv]da|xvda|nvme0n1p|disk/azure/root-part|disk/cloud/azure_root-part)(\d+)$")
_DATA_DISK = re.compile(r"/dev/disk/azure/(?:scsi1/lun|data/by-lun/)(\d+)(?:-part(\d+))?$")


@dataclass(frozen=True)
class FstabEntry:
    """A line of fstab: what is mounted (`device`), where (`target`), as which `type`, with which `options`."""

    device: str
    target: str
    type: str
    options: tuple[str, ...]


def entries_of(tree: GuestTree) -> list[FstabEntry]:
    """The entries of a guest's fstab; none where it has no such file."""
    return parse(tree.read_text(PATH)) if tree.is_file(PATH) else []


def parse(text: str) -> list[FstabEntry]:
    """The entries of an fstab; lines that are none are left out, as mount(8) does."""
    found = []
    for line in text.splitlines():
        fields = [_unescaped(field) for field in line.split()]
        if len(fields) >= 3 and not line.lstrip().startswith("#"):
            options = fields[3].split(",") if len(fields) > 3 else []
            found.append(FstabEntry(fields[0], fields[1], fields[2], tuple(options)))
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def disk_mounts(entries: Sequence[FstabEntry]) -> list[FstabEntry]:
    """The entries that mount a disk's filesystem somewhere below the root, parents before what stands in them.

    Their targets are made plain (`/a//b/` is `/a/b`); those in `leaving` are left out.
    """
    wanted = [
        replace(entry, target=f"/{'/'.join(_parts(entry.target))}")
        for entry in entries
        if _on_disk(entry) and _parts(entry.target) and ".." not in _parts(entry.target)
    ]
    return sorted(wanted, key=lambda entry: entry.target.count("/"))


def leaving(entries: Sequence[FstabEntry]) -> list[str]:
    """The targets of a disk's filesystems that climb (`..`): nobody knows where to before the rest is mounted."""
    return [entry.target for entry in entries if _on_disk(entry) and ".." in _parts(entry.target)]


def _on_disk(entry: FstabEntry) -> bool:
    return entry.type not in OTHER_TYPES and entry.target.startswith("/") and not {"bind", "rbind"} & set(entry.options)


def _parts(target: str) -> list[str]:
    return [part for part in target.split("/") if part not in ("", ".")]


def find_volume(device: str, volumes: Sequence[Volume]) -> Volume | None:
    """The volume that fstab's first field means; None when it is not among these."""
    value = device
    field = ""
    key, equals, rest = device.partition("=")
    if equals and key in _BY_KEY:
        field, value = _BY_KEY[key], rest.strip("\"'")
    for folder, name in _BY_FOLDER.items():
        if device.startswith(folder):
            field, value = name, device.removeprefix(folder)
    if field:
        if not value:
            return None
        return next((volume for volume in volumes if _matches(volume, field, value)), None)
    if match := _OS_DISK.match(device):
        return _numbered(volumes, None, int(match[1]))
    if match := _DATA_DISK.match(device):
        return _numbered(volumes, int(match[1]), int(match[2]) if match[2] else None)
    return None


def _matches(volume: Volume, field: str, value: str) -> bool:
    if field == "partlabel":
        return volume.partlabel == value
    if field == "partuuid":
        return volume.partuuid.lower() == value.lower()
    if volume.content is None:
        return False
    if field == "label":
        return volume.content.label == value
    return volume.content.uuid.lower() == value.lower()


def _numbered(volumes: Sequence[Volume], lun: int | None, number: int | None) -> Volume | None:
    return next((volume for volume in volumes if (volume.disk.lun, volume.number) == (lun, number)), None)
