"""Opening the operating system that is on a machine's disks: its root is found by looking, its fstab does the rest."""

from __future__ import annotations

import errno
import os
import shlex
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from builder.disk import fstab
from builder.disk.export import exported, why_writes_fail
from builder.disk.filesystems import MOUNT_ALWAYS, MOUNTABLE, REPAIR
from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted, private_mounts, sync_filesystem
from builder.disk.tree import GuestTree
from builder.disk.volumes import Volume, find_volumes, no_root
from builder.errors import BuildError

# Where distributions keep their root when it isn't the default subvolume: openSUSE, Fedora, Debian's installer
BTRFS_ROOTS = ("@", "root", "@rootfs", "@/.snapshots/1/snapshot")
BTRFS_TOP = "subvolid=5"
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
# How to look at a filesystem whose journal can't be replayed because nothing may be written
_WITHOUT_REPLAY = {
    "ext3": "noload",
    "ext4": "noload",
    "xfs": "norecovery",
    "btrfs": "rescue=nologreplay",
}
# How kernels answer then: which of these differs by filesystem and version
_REPLAY_NEEDED = (errno.EROFS, errno.EINVAL, errno.EUCLEAN, errno.EIO)
# How ext4, xfs and btrfs answer when what they read makes no sense, or its checksum is wrong
_DAMAGE = (errno.EUCLEAN, errno.EBADMSG)
# ELF header, e_machine at 18: <elf.h>
_MACHINES = {62: "x64", 183: "arm64", 3: "x86", 40: "arm", 243: "riscv64"}
_PROGRAMS = ("/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/lib/systemd/systemd", "/bin/busybox")


@dataclass(frozen=True)
class MountedFilesystem:
    """A filesystem of the guest: the volume, the loop device that shows it, and its mount point in the guest."""

    volume: Volume
    device: Path
    target: str
    folder: Path


@dataclass(frozen=True)
class OpenedSystem:
    """A guest whose filesystems are mounted at `root` (a folder of this host).

    `architecture` is x64 or arm64 (else what the ELF header says, or "unknown"); `volumes` is all that is on the disks,
    `notes` what a person should know about how it was opened. What is put into `after_unmount` is done when all went
    well and nothing is mounted any more; the volumes' disks can still be written then.
    """

    root: Path
    architecture: str
    os_release: dict[str, str]
    filesystems: tuple[MountedFilesystem, ...]
    volumes: tuple[Volume, ...]
    notes: tuple[str, ...]
    after_unmount: list[Callable[[], object]] = field(default_factory=list, compare=False, repr=False)

    @property
    def tree(self) -> GuestTree:
        """Safe reading of its files."""
        return GuestTree(self.root)


@contextmanager
def opened_system(layers: Sequence[DiskLayer], *, folder: Path, writable: bool) -> Iterator[OpenedSystem]:
    """Export the disks (the OS disk first) and mount the system on them at `folder`/root, until the block ends.

    Needs root; the mounts are seen by this process and its children only. Nothing is left when we are killed. Raises
    BuildError: "needs-root", "no-partition-table", "partition-table", "no-root-filesystem", "several-roots",
    "encrypted-disk", "lvm-disk", "windows-disk", "filesystem-broken" (also for damage found in the block), "disk-full"
    (when what was written in the block could not be stored), and what `exported` raises.
    """
    private_mounts()
    root = folder.resolve() / "root"
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        volumes: list[Volume] = []
        for layer in layers:
            raw = stack.enter_context(exported(layer, folder=folder, writable=writable))
            volumes += find_volumes(layer, raw)
        opening = _Opening(stack, root, writable, volumes)
        with _damage_told(opening):
            opening.mount_root()
            opening.mount_fstab()
            yield opening.result()


@contextmanager
def _done_afterwards() -> Iterator[list[Callable[[], object]]]:
    """A list of what is to be done when the block has ended well."""
    todo: list[Callable[[], object]] = []
    yield todo
    for do in todo:
        do()


class _Opening:
    """The state while a system is opened. Everything that must be undone is on `stack`."""

    def __init__(self, stack: ExitStack, root: Path, writable: bool, volumes: Sequence[Volume]) -> None:
        self.stack = stack
        self.root = root
        self.writable = writable
        self.volumes = volumes
        # Before anything is mounted, so that it is done after all is unmounted
        self.after_unmount = stack.enter_context(_done_afterwards())
        self.notes: list[str] = []
        self.filesystems: list[MountedFilesystem] = []
        # What is looked at for a root, before one is kept
        self.candidate: Volume | None = None

    def result(self) -> OpenedSystem:
        tree = GuestTree(self.root)
        release = next((tree.read_text(path) for path in OS_RELEASE if tree.is_file(path)), "")
        if not release:
            self.notes.append("the guest's os-release can't be read")
        return OpenedSystem(
            root=self.root,
            architecture=read_architecture(tree),
            os_release=parse_os_release(release),
            filesystems=tuple(self.filesystems),
            volumes=tuple(self.volumes),
            # What a guest's file says may be no UTF-8, and a person shall be able to read it
            notes=tuple(_clean(note) for note in self.notes),
            after_unmount=self.after_unmount,
        )

    def mount_root(self) -> None:
        """Find the one root among the OS disk's filesystems and leave it mounted."""
        on_os_disk = [item for item in self.volumes if item.disk.lun is None]
        roots = [item for item in on_os_disk if _type(item) in MOUNTABLE and self._mount_if_root(item)]
        if not roots:
            raise no_root(on_os_disk)
        if len(roots) > 1:
            raise BuildError(
                f"there are several operating systems on the OS disk: {' and '.join(item.name for item in roots)}",
                code="several-roots",
                hint="give a disk with one",
            )

    def _mount_if_root(self, volume: Volume) -> bool:
        """Leave the volume mounted at the root when it holds one."""
        self.candidate = volume
        with ExitStack() as look:
            device = self._mount(look, volume, self.root, [])
            if _is_root(GuestTree(self.root)):
                self._keep(look.pop_all(), MountedFilesystem(volume, device, "/", self.root))
                return True
        if _type(volume) != "btrfs":
            return False
        with ExitStack() as look:
            self._mount(look, volume, self.root, [BTRFS_TOP])
            top = GuestTree(self.root)
            found = [name for name in BTRFS_ROOTS if top.is_folder(name) and _is_root(top, f"/{name}")]
        if not found:
            return False
        with ExitStack() as look:
            device = self._mount(look, volume, self.root, [f"subvol={found[0]}"])
            self._keep(look.pop_all(), MountedFilesystem(volume, device, "/", self.root))
        return True

    def mount_fstab(self) -> None:
        """Mount what the guest's fstab names and this host can mount; note the rest."""
        tree = GuestTree(self.root)
        entries = fstab.entries_of(tree)
        self.notes += [f"{target} in fstab is not mounted: it leaves the root" for target in fstab.leaving(entries)]
        for entry in fstab.disk_mounts(entries):
            volume = fstab.find_volume(entry.device, self.volumes)
            if volume is None:
                self.notes.append(f"{entry.target} is not mounted: {entry.device} is on none of the disks")
            elif not tree.is_folder(entry.target):
                self.notes.append(f"{entry.target} is not mounted: the folder doesn't exist")
            elif _type(volume) in MOUNTABLE:
                options = [option for option in entry.options if option.startswith(("subvol=", "subvolid="))]
                place = tree.resolve(entry.target)
                if place == self.root:
                    self.notes.append(f"{entry.target} is not mounted: it leads to the root itself")
                    continue
                if hidden := set(tree.names(entry.target)) - {"lost+found"}:
                    self.notes.append(f"{_hidden(entry.target, hidden)}: no step sees that, and nothing cleans it")
                with ExitStack() as held:
                    device = self._mount(held, volume, place, options)
                    self._keep(held.pop_all(), MountedFilesystem(volume, device, entry.target, place))
            else:
                self.notes.append(
                    f"{entry.target} is not mounted: build doesn't mount {_type(volume) or 'unknown data'}"
                )

    def _keep(self, held: ExitStack, filesystem: MountedFilesystem) -> None:
        """Keep a mount for as long as the system is open, and watch that what is written there gets stored."""
        self.stack.enter_context(held)
        volume = filesystem.volume
        if self.writable:
            self.stack.enter_context(_stored(volume.disk, filesystem.folder))
            if volume.content and volume.content.dirty:
                self.notes.append(f"{volume.name} was not unmounted cleanly; its journal was replayed")
        self.filesystems.append(filesystem)

    def _mount(self, stack: ExitStack, volume: Volume, folder: Path, options: Sequence[str]) -> Path:
        """Mount a volume and return its device."""
        type = _type(volume)
        if volume.content and volume.content.broken:
            raise _damaged(volume, "its superblock says that it has errors")
        # A device node of the guest must not open a device of this host
        wanted = ["nodev", "noatime", *MOUNT_ALWAYS.get(type, ()), *options, *([] if self.writable else ["ro"])]
        device = self._device(stack, volume)
        try:
            stack.enter_context(mounted(device, folder, type=type, options=wanted))
            return device
        except OSError as error:
            without_replay = _WITHOUT_REPLAY.get(type)
            if self.writable or without_replay is None or error.errno not in _REPLAY_NEEDED:
                raise _broken(volume, error) from error
        try:
            stack.enter_context(mounted(device, folder, type=type, options=[*wanted, without_replay]))
        except OSError as error:
            raise _broken(volume, error) from error
        note = f"{volume.name} was not unmounted cleanly; it is shown without what is only in its journal"
        if note not in self.notes:
            self.notes.append(note)
        return device

    def _device(self, stack: ExitStack, volume: Volume) -> Path:
        """The loop device of a volume. One that is kept is shared: btrfs mounts several subvolumes of one device."""
        for item in self.filesystems:
            if item.volume == volume:
                return item.device
        device = loop_device(volume.raw, offset=volume.start, size=volume.size, read_only=not self.writable)
        return stack.enter_context(device)


def _hidden(target: str, names: Collection[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"what is mounted on {target} hides {min(names)}{more} in that folder"


def _type(volume: Volume) -> str:
    return volume.content.type if volume.content else ""


def _is_root(tree: GuestTree, top: str = "") -> bool:
    """Whether a tree is a Linux root. Only links are looked at: /usr may be a filesystem of its own."""
    if not tree.is_folder(f"{top}/etc"):
        return False
    return any(tree.is_link(top + path) or tree.is_file(top + path) for path in OS_RELEASE)


def _broken(volume: Volume, error: OSError) -> BuildError:
    type = _type(volume)
    if error.errno == errno.ENODEV:
        return BuildError(
            f"this host's kernel can't mount {type}, which {volume.name} holds",
            code="filesystem-unsupported",
            hint=f"modprobe {type}",
        )
    if error.errno == errno.EEXIST:
        # Linux before 6.7 mounts one btrfs of each UUID; two disks made of one image have the same
        return BuildError(
            f"{volume.name} can't be mounted: this host has mounted another {type} with the same UUID",
            code="filesystem-twin",
            hint="make such images one after the other (--parallel 1), or use a host with Linux 6.7 or newer",
        )
    return BuildError(
        f"{volume.name} can't be mounted: {error.strerror}",
        code="filesystem-broken",
        hint=f"repair it where it came from: {REPAIR.get(type, 'fsck')}",
    )


def _damaged(volume: Volume, why: str) -> BuildError:
    return BuildError(
        f"{volume.name} is damaged: {why}",
        code="filesystem-broken",
        hint=f"repair it where it came from: {REPAIR.get(_type(volume), 'fsck')}",
    )


@contextmanager
def _damage_told(opening: _Opening) -> Iterator[None]:
    """Name the volume when the kernel finds damage while the block reads or writes files."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        # The deepest mount that holds the file; without a file that is known, the root
        path = error.filename if isinstance(error.filename, str) else ""
        inside = "/" + path.removeprefix(str(opening.root)).lstrip("/")
        holders = [item for item in opening.filesystems if PurePosixPath(inside).is_relative_to(item.target)]
        volume = max(holders, key=lambda item: len(item.target)).volume if holders else opening.candidate
        if volume is None:
            raise
        raise _damaged(volume, f"{inside}: {error.strerror}") from error


@contextmanager
def _stored(disk: DiskLayer, folder: Path) -> Iterator[None]:
    """Make sure that what the block wrote below `folder` could be stored.

    A host disk that is full shows in the guest as I/O errors of whatever was running: those are replaced by the cause.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            yield
        except (BuildError, OSError) as error:
            # Damage makes a filesystem read-only too
            if isinstance(error, BuildError) and error.code == "filesystem-broken":
                raise
            if not _write_out(descriptor):
                raise why_writes_fail(disk) from error
            raise
        if not _write_out(descriptor):
            raise why_writes_fail(disk)
    finally:
        os.close(descriptor)


def _write_out(descriptor: int) -> bool:
    """Whether everything could be written. A filesystem that failed may have made itself read-only."""
    try:
        sync_filesystem(descriptor)
    except OSError:
        return False
    return not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY


def _clean(text: str) -> str:
    """The text with replacement characters for bytes that were no UTF-8, so that it can be written everywhere."""
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file; lines that are none are left out. Source: os-release(5).

    What was no UTF-8 (surrogates in `text`) comes as replacement characters.
    """
    found = {}
    for line in _clean(text).splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            found[name] = "".join(shlex.split(value))
        except ValueError:  # a quote that isn't closed
            found[name] = value
    return found


def read_architecture(tree: GuestTree) -> str:
    """What processors the guest's programs are for, from the ELF header of its shell."""
    for path in _PROGRAMS:
        if tree.is_file(path):
            header = tree.read_bytes(path, 20)
            if header[:4] == b"\x7fELF" and len(header) == 20:
                number = struct.unpack_from(">H" if header[5] == 2 else "<H", header, 18)[0]
                return _MACHINES.get(number, f"elf-{number}")
    return "unknown"
