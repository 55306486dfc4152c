"""What a btrfs holds beside what is mounted of it: it is told, so that nobody publishes it by mistake."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.disk.layers import DiskLayer
from builder.disk.mounts import loop_device, mounted
from builder.disk.partitions import read_table
from builder.disk.subvolumes import unseen_subvolumes
from builder.disk.system import opened_system
from builder.errors import BuildError
from builder.guest.inspection.inspecting import inspect_disk
from builder.guest.inspection.rules import Wanted
from builder.machines.local.capture import _refuse_unseen
from tests.integration.disk.conftest import OTHER_UUID, ROOT_UUID, as_layer, gpt_disk, root_files, write_tree
from tests.unit.guest.images import make_image

RULE = "subvolume-unseen"
WANTED: tuple[Wanted, ...] = ("generalized", "specialized")
FSTAB = f"UUID={ROOT_UUID} / btrfs subvol=@ 0 0\nUUID={ROOT_UUID} /home btrfs subvol=/@home 0 0\n"
KEY = {"etc/ssh/ssh_host_rsa_key": b"secret\n", "home/.keep": b"", ".snapshots/.keep": b""}


def btrfs(*words: str | Path) -> None:
    subprocess.run(["btrfs", "-q", "subvolume", *map(str, words)], check=True)


@contextmanager
def top_of(raw: Path) -> Iterator[Path]:
    """The top level of the btrfs on a disk, to write in."""
    table = read_table(raw, raw.stat().st_size)
    assert table is not None
    (part,) = table.partitions
    folder = raw.with_suffix(".top")
    folder.mkdir()
    with (
        loop_device(raw, offset=part.start, size=part.size) as device,
        mounted(device, folder, type="btrfs", options=["subvolid=5"]),
    ):
        yield folder
    folder.rmdir()


def disk_of(tmp_path: Path, change: Callable[[Path], None], fstab: str = FSTAB) -> DiskLayer:
    """A disk with its system in @ and homes in @home, changed by `change`."""
    raw = gpt_disk(tmp_path / "disk.raw", "btrfs", {**root_files(fstab), **KEY}, subvolume="@")
    with top_of(raw) as top:
        btrfs("create", top / "@home")
        write_tree(top / "@home", {"me/.bash_history": b"mysql -psecret\n"})
        change(top)
    return as_layer(raw)


def nothing(top: Path) -> None:
    """As it was installed."""


def beside(top: Path) -> None:
    btrfs("snapshot", "-r", top / "@", top / "@snap-1")
    btrfs("snapshot", top / "@home", top / "@home-old")


def nested(top: Path) -> None:
    """As snapper and timeshift do; the second is a snapshot of a snapshot."""
    for number in (1, 2):
        (top / f"@/.snapshots/{number}").mkdir()
    btrfs("snapshot", "-r", top / "@", top / "@/.snapshots/1/snapshot")
    btrfs("snapshot", top / "@/.snapshots/1/snapshot", top / "@/.snapshots/2/snapshot")


def original_gone(top: Path) -> None:
    btrfs("create", top / "old")
    write_tree(top / "old", KEY)
    btrfs("snapshot", top / "old", top / "@/old-root")
    btrfs("delete", top / "old")


def rolled_back(top: Path) -> None:
    """The system is a snapshot of what is still there as a folder in it."""
    (top / "@").rename(top / "first")
    btrfs("snapshot", top / "first", top / "@")
    (top / "first").rename(top / "@/first")


def containers(top: Path) -> None:
    """A container engine's layers are snapshots of each other, and machines are plain subvolumes."""
    write_tree(top / "@", {"var/lib/machines/.keep": b"", "var/lib/docker/btrfs/subvolumes/.keep": b""})
    btrfs("create", top / "@/var/lib/portables")
    write_tree(top / "@/var/lib/portables", {"file": b"seen as a plain file"})
    layers = top / "@/var/lib/docker/btrfs/subvolumes"
    btrfs("create", layers / "a")
    btrfs("snapshot", layers / "a", layers / "b")
    btrfs("snapshot", "-r", layers / "b", layers / "c")
    # containerd deletes what its layers were made of
    write_tree(top / "@", {"var/lib/containerd/io.containerd.snapshotter.v1.btrfs/.keep": b""})
    btrfs("create", top / "@/active")
    btrfs("snapshot", "-r", top / "@/active", top / "@/var/lib/containerd/io.containerd.snapshotter.v1.btrfs/1")
    btrfs("delete", top / "@/active")


def of_a_nested_one(top: Path) -> None:
    """As snapper does for a subvolume that no mount names."""
    btrfs("create", top / "@/srv")
    btrfs("create", top / "@/srv/.snapshots")
    write_tree(top / "@/srv", {"me/.bash_history": b"mysql -psecret\n"})
    (top / "@/srv/.snapshots/1").mkdir()
    btrfs("snapshot", "-r", top / "@/srv", top / "@/srv/.snapshots/1/snapshot")


def among_layers(top: Path) -> None:
    """Where a container engine has its own, a copy of the machine is one all the same."""
    write_tree(top / "@", {"var/lib/machines/.keep": b""})
    btrfs("snapshot", top / "@", top / "@/var/lib/machines/self")


def empty_ones(top: Path) -> None:
    for name in ("@snapshots", "@swap"):
        btrfs("create", top / name)
    (top / "@snapshots/some/folder").mkdir(parents=True)


def hidden(top: Path) -> None:
    """A subvolume in a folder that another one is mounted on."""
    btrfs("create", top / "@/home/hidden")
    write_tree(top / "@/home/hidden", {"file": b"secret"})


def file_beside(top: Path) -> None:
    write_tree(top, {"backups/shadow": b"root:..."})


def only_a_link(top: Path) -> None:
    btrfs("create", top / "links")
    (top / "links/to").symlink_to("/etc/shadow")


def misleading_name(top: Path) -> None:
    btrfs("snapshot", top / "@", top / "x\nID 256 gen 7 top level 5 path @")


def deep_below_plain_folders(top: Path) -> None:
    (top / "timeshift-btrfs/snapshots/today").mkdir(parents=True)
    btrfs("snapshot", top / "@", top / "timeshift-btrfs/snapshots/today/@")


def many(top: Path) -> None:
    """More than one answer of the kernel has room for."""
    for number in range(60):
        btrfs("create", top / f"empty-{number}")
    btrfs("snapshot", top / "@home", top / "last")


def deleted(top: Path) -> None:
    btrfs("snapshot", top / "@", top / "gone")
    btrfs("delete", top / "gone")


CASES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "nothing": (nothing, []),
    "beside": (beside, ["@home-old", "@snap-1"]),
    "nested": (nested, ["@/.snapshots/1/snapshot (a snapshot)", "@/.snapshots/2/snapshot (a snapshot)"]),
    "original gone": (original_gone, ["@/old-root (a snapshot)"]),
    "rolled back": (rolled_back, ["@/first (a snapshot)"]),
    "containers": (containers, []),
    "of a nested one": (of_a_nested_one, ["@/srv/.snapshots/1/snapshot (a snapshot)"]),
    "among layers": (among_layers, ["@/var/lib/machines/self (a snapshot)"]),
    "empty ones": (empty_ones, []),
    "hidden": (hidden, ["@/home/hidden"]),
    "file beside": (file_beside, ["backups/shadow (a file beside the subvolumes)"]),
    "only a link": (only_a_link, ["links"]),
    "misleading name": (misleading_name, ["x\ufffdID 256 gen 7 top level 5 path @"]),
    "deep": (deep_below_plain_folders, ["timeshift-btrfs/snapshots/today/@"]),
    "many": (many, ["last"]),
    "deleted": (deleted, []),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("writable", [False, True], ids=["read", "write"])
def test_what_nobody_looked_at_is_named(tmp_path: Path, work: Path, case: str, writable: bool) -> None:
    change, expected = CASES[case]
    with opened_system([disk_of(tmp_path, change)], folder=work, writable=writable) as system:
        assert len(system.filesystems) == 2
        (volume,) = system.volumes
        found = unseen_subvolumes(system, volume)
    # Where nothing may be written, what was deleted last stays
    assert [words for words in found if writable or "whose data is still there" not in words] == expected


def test_what_a_step_deleted_is_gone_before_it_is_looked_for(tmp_path: Path, work: Path) -> None:
    with opened_system([disk_of(tmp_path, nested)], folder=work, writable=True) as system:
        for number in (1, 2):
            btrfs("delete", system.root / f".snapshots/{number}/snapshot")
        assert unseen_subvolumes(system, system.volumes[0]) == []


def opensuse_disk(tmp_path: Path, *, snapshots: int = 1) -> DiskLayer:
    """The container @ is not mounted; the system is the default subvolume, itself one of snapper's, and a snapshot."""
    fstab = f"UUID={OTHER_UUID} / btrfs defaults 0 0\n" + "".join(
        f"UUID={OTHER_UUID} /{name} btrfs subvol=/@/{name} 0 0\n" for name in (".snapshots", "var", "boot/grub2")
    )
    raw = gpt_disk(tmp_path / "disk.raw", "btrfs", {})
    with top_of(raw) as top:
        btrfs("create", top / "@")
        (top / "@/boot").mkdir()
        for name in (".snapshots", "var", "boot/grub2"):
            btrfs("create", top / "@" / name)
        write_tree(top / "@/var", {"log/messages": b"seen"})
        btrfs("create", top / "building")
        files = {**root_files(fstab), ".snapshots/.keep": b"", "var/.keep": b"", "boot/grub2/.keep": b""}
        write_tree(top / "building", files)
        for number in range(1, snapshots + 1):
            write_tree(top / "@/.snapshots", {f"{number}/info.xml": b"<snapshot/>"})
            btrfs("snapshot", top / "building", top / f"@/.snapshots/{number}/snapshot")
        btrfs("delete", "--commit-after", top / "building")
        btrfs("set-default", top / "@/.snapshots/1/snapshot")
    return as_layer(raw)


@pytest.mark.parametrize(("snapshots", "expected"), [(1, []), (2, ["@/.snapshots/2/snapshot (a snapshot)"])])
def test_the_layout_of_opensuse(tmp_path: Path, work: Path, snapshots: int, expected: list[str]) -> None:
    with opened_system([opensuse_disk(tmp_path, snapshots=snapshots)], folder=work, writable=True) as system:
        assert len(system.filesystems) == 4
        assert unseen_subvolumes(system, system.volumes[0]) == expected


def test_a_system_in_the_top_level(tmp_path: Path, work: Path) -> None:
    raw = gpt_disk(tmp_path / "disk.raw", "btrfs")
    with top_of(raw) as top:
        btrfs("create", top / "srv")
        btrfs("snapshot", top, top / "before-upgrade")
    with opened_system([as_layer(raw)], folder=work, writable=True) as system:
        assert unseen_subvolumes(system, system.volumes[0]) == ["before-upgrade (a snapshot)"]


@pytest.mark.parametrize("type", ["ext4", "xfs"])
def test_without_btrfs_nothing_is_asked(tmp_path: Path, work: Path, type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_system([as_layer(gpt_disk(tmp_path / "disk.raw", type))], folder=work, writable=True) as system:
        monkeypatch.setattr("builder.disk.subvolumes.mounted", None)
        assert unseen_subvolumes(system, system.volumes[0]) == []


def test_capture_refuses_what_was_not_generalized(tmp_path: Path, work: Path) -> None:
    with opened_system([disk_of(tmp_path, beside)], folder=work, writable=True) as system:
        with pytest.raises(BuildError) as caught:
            _refuse_unseen(system, make_image(tmp_path))
        assert caught.value.code == "not-generalized"
        assert caught.value.message == (
            "partition 1 of disk os (btrfs) holds what was not generalized: @home-old, @snap-1"
        )
        assert "btrfs subvolume delete" in (caught.value.hint or "")
        _refuse_unseen(system, make_image(tmp_path, generalize=None))


def test_a_journal_that_can_not_be_replayed_is_no_obstacle(tmp_path: Path, work: Path) -> None:
    disk_of(tmp_path, beside)
    raw, copy = tmp_path / "disk.raw", tmp_path / "unclean/disk.raw"
    copy.parent.mkdir()
    with top_of(raw) as top:
        file = top / "@/etc/late"
        with file.open("w") as stream:
            stream.write("in the journal only")
            stream.flush()
            os.fsync(stream.fileno())
        subprocess.run(["cp", "--sparse=always", raw, copy], check=True)
    with opened_system([as_layer(copy)], folder=work, writable=False) as system:
        assert any("not unmounted cleanly" in note for note in system.notes)
        assert unseen_subvolumes(system, system.volumes[0]) == ["@home-old", "@snap-1"]


def test_an_inspection_tells_it_of_a_generalized_disk(tmp_path: Path) -> None:
    disk_of(tmp_path, nested)
    found = {
        wanted: [item for item in inspect_disk(tmp_path / "disk.raw", wanted=wanted).findings if item.rule == RULE]
        for wanted in WANTED
    }
    assert found["specialized"] == []
    (finding,) = found["generalized"]
    assert (finding.severity, finding.place) == ("error", "partition 1")
    assert finding.lines == ("@/.snapshots/1/snapshot (a snapshot)", "@/.snapshots/2/snapshot (a snapshot)")
