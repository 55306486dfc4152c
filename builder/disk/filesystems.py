"""Filesystems and other things that partitions hold: what they are (by their superblocks), making and growing them."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder import process
from builder.disk.mounts import mounted
from builder.errors import BuildError

# What build mounts: a Linux root or data filesystem
MOUNTABLE = ("ext2", "ext3", "ext4", "xfs", "btrfs")
_PROBE_SIZE = 128 * 1024


@dataclass(frozen=True)
class Content:
    """What a partition (or a whole disk) holds.

    `type` as Linux names it (ext4, xfs, btrfs, vfat, swap, ntfs; lvm, luks, bitlocker for what hides more). `uuid` and
    `label` as /dev/disk/by-uuid and by-label would show them, "" where there is none. `block_size` is the smallest
    unit in bytes that it frees, `size` its extent in bytes (0 where that doesn't matter). `dirty` tells that it was not
    unmounted and has a journal to be replayed, `broken` that its own superblock says that it has errors.
    """

    type: str
    uuid: str = ""
    label: str = ""
    block_size: int = 4096
    dirty: bool = False
    size: int = 0
    broken: bool = False


def identify(path: Path, offset: int = 0) -> Content | None:
    """What stands at `offset` (bytes) of a raw file or block device; None for nothing that is known."""
    with path.open("rb") as file:
        return identify_open(file, offset)


def identify_open(file: BinaryIO, offset: int) -> Content | None:
    """As `identify`, for an open file."""
    file.seek(offset)
    data = file.read(_PROBE_SIZE).ljust(_PROBE_SIZE, b"\0")
    for probe in _PROBES:
        found = probe(data)
        if found is not None:
            return found
    return None


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", errors="replace").rstrip()


def _identity(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw)) if any(raw) else ""


# ext4's "Ext4 Disk Layout" in the kernel's documentation: the superblock is at 1024
def _ext(data: bytes) -> Content | None:
    block = data[1024:2048]
    if block[0x38:0x3A] != b"\x53\xef":
        return None
    compatible, incompatible, read_only = struct.unpack_from("<III", block, 0x5C)
    has_journal = compatible & 0x4
    # extents, 64 bit, flexible groups, or one of the read-only features that only ext4 has
    is_ext4 = incompatible & 0x2C0 or read_only & 0x478
    block_size = 1024 << min(struct.unpack_from("<I", block, 0x18)[0], 6)
    blocks = struct.unpack_from("<I", block, 0x4)[0]
    if incompatible & 0x80:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
    return Content(
        type="ext4" if is_ext4 else "ext3" if has_journal else "ext2",
        uuid=_identity(block[0x68:0x78]),
        label=_text(block[0x78:0x88]),
        block_size=block_size,
        dirty=bool(incompatible & 0x4),
        size=blocks * block_size,
        # s_state, EXT4_ERROR_FS: the kernel mounts it all the same, and stops at what is broken
        broken=bool(struct.unpack_from("<H", block, 0x3A)[0] & 0x2),
    )


# Kernel: fs/xfs/libxfs/xfs_format.h, struct xfs_dsb; big-endian
def _xfs(data: bytes) -> Content | None:
    if data[:4] != b"XFSB":
        return None
    block_size, blocks = struct.unpack_from(">IQ", data, 4)
    return Content("xfs", _identity(data[32:48]), _text(data[108:120]), block_size, size=blocks * block_size)


# Kernel: include/uapi/linux/btrfs_tree.h, struct btrfs_super_block at 64 KiB
def _btrfs(data: bytes) -> Content | None:
    block = data[0x10000:0x11000]
    if block[0x40:0x48] != b"_BHRfS_M":
        return None
    return Content(
        type="btrfs",
        uuid=_identity(block[0x20:0x30]),
        label=_text(block[0x12B:0x22B]),
        block_size=struct.unpack_from("<I", block, 0x90)[0],
        dirty=any(block[0x60:0x68]),
        size=struct.unpack_from("<Q", block, 0x70)[0],
    )


def _swap(data: bytes) -> Content | None:
    for page in (4096, 65536):
        if data[page - 10 : page] in (b"SWAPSPACE2", b"SWAP-SPACE"):
            return Content("swap", _identity(data[1036:1052]), _text(data[1052:1068]), page)
    return None


def _luks(data: bytes) -> Content | None:
    if data[:6] != b"LUKS\xba\xbe":
        return None
    version = struct.unpack_from(">H", data, 6)[0]
    return Content("luks", _text(data[168:208]), _text(data[24:72]) if version == 2 else "")


def _lvm(data: bytes) -> Content | None:
    found = any(
        data[at : at + 8] == b"LABELONE" and data[at + 24 : at + 32] == b"LVM2 001" for at in range(0, 2048, 512)
    )
    return Content("lvm") if found else None


def _fat(data: bytes) -> Content | None:
    if data[510:512] != b"\x55\xaa":
        return None
    if data[82:87] == b"FAT32":
        serial, label = data[67:71], data[71:82]
    elif data[54:57] == b"FAT":
        serial, label = data[39:43], data[43:54]
    else:
        return None
    number = f"{struct.unpack('<I', serial)[0]:08X}"
    name = _text(label)
    sector, per_cluster = struct.unpack_from("<HB", data, 11)
    return Content("vfat", f"{number[:4]}-{number[4:]}", "" if name == "NO NAME" else name, sector * per_cluster)


def _ntfs(data: bytes) -> Content | None:
    if data[3:11] == b"-FVE-FS-":
        return Content("bitlocker")
    if data[3:11] != b"NTFS    ":
        return None
    return Content("ntfs", f"{struct.unpack_from('<Q', data, 72)[0]:016X}")


# Containers first: an encrypted disk may still carry the superblock of what it replaced
_PROBES: tuple[Callable[[bytes], Content | None], ...] = (_luks, _ntfs, _lvm, _swap, _xfs, _btrfs, _ext, _fat)


@dataclass(frozen=True)
class _Tool:
    """How a filesystem is made: the command with its UUID, and the option and greatest length of its label.

    `alone` when the program must not see this host's other disks.
    """

    package: str
    command: tuple[str, ...]
    label_option: str
    longest_label: int
    alone: bool = False


# A new layer reads as zeros, so that nothing needs to be discarded first
_MAKE = {
    "ext4": _Tool("e2fsprogs", ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,hash_seed={uuid}", "-U", "{uuid}"), "-L", 16),
    "xfs": _Tool("xfsprogs", ("mkfs.xfs", "-q", "-f", "-K", "-m", "uuid={uuid}"), "-L", 12),
    "btrfs": _Tool("btrfs-progs", ("mkfs.btrfs", "-q", "-f", "-K", "-U", "{uuid}"), "-L", 255, alone=True),
}
# mkfs.btrfs refuses a UUID that any disk of the host has, be it another build of the same image. It asks libblkid,
# which knows disks from these three places
_ALONE = (
    *("unshare", "--mount", "--propagation", "private", "--", "sh", "-ec"),
    'mount --bind /dev/null /proc/partitions; mount -t tmpfs none /sys/block; exec "$@"',
    "sh",
)
_ALONE_ENVIRONMENT = {"BLKID_FILE": "/dev/null"}
# How a filesystem is told to fill its device. ext can grow while it is mounted too, but only with a capability
# (SYS_RESOURCE) that containers rarely have; unmounted it must be checked first, whose exit code 1 is "repaired"
_GROW: Mapping[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), (("e2fsck", "-f", "-p", "{device}"), ("resize2fs", "{device}"))),
    "xfs": (("xfs_growfs", "{mount}"),),
    "btrfs": (("btrfs", "filesystem", "resize", "max", "{mount}"),),
}
_PACKAGES = {"e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs", "xfs_growfs": "xfsprogs", "btrfs": "btrfs-progs"}
# Two disks made of one image have equal UUIDs, which xfs refuses without this
MOUNT_ALWAYS = {"xfs": ("nouuid",)}
REPAIR = {"xfs": "xfs_repair", "btrfs": "btrfs check", "ext2": "e2fsck -f", "ext3": "e2fsck -f", "ext4": "e2fsck -f"}


def make(device: Path, *, type: str, identity: str, label: str | None = None) -> None:
    """Make an ext4, xfs or btrfs on a block device or raw file, with the UUID `identity`.

    Raises BuildError for a label that is too long or a missing program.
    """
    tool = _MAKE[type]
    if label is not None and len(label.encode()) > tool.longest_label:
        raise BuildError(
            f"the label {label!r} is too long for {type}: it may have {tool.longest_label} bytes",
            code="filesystem-label",
            hint="shorten it",
        )
    words = [part.format(uuid=identity) for part in tool.command]
    process.find_program(words[0], package=tool.package, why=f"make {type} filesystems")
    words += [*([tool.label_option, label] if label else []), str(device)]
    if tool.alone:
        process.run([*_ALONE, *words], env=_ALONE_ENVIRONMENT)
    else:
        process.run(words)


def grow(device: Path, *, type: str, folder: Path) -> None:
    """Let a filesystem that isn't mounted fill its block device. It is mounted on `folder` where that is needed.

    Raises BuildError for a missing program or a type that can't grow, OSError when it can't be mounted.
    """
    if type not in _GROW:
        raise BuildError(f"build can't grow {type} filesystems", code="filesystem-type", hint="leave the size out")
    for words in _GROW[type]:
        process.find_program(words[0], package=_PACKAGES[words[0]], why=f"grow {type} filesystems")
        command = [word.format(device=device, mount=folder) for word in words]
        with ExitStack() as stack:
            if "{mount}" in words:
                stack.enter_context(mounted(device, folder, type=type, options=["nodev", *MOUNT_ALWAYS.get(type, ())]))
            process.run(command, ok=(0, 1) if words[0] == "e2fsck" else (0,))
