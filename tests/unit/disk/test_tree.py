"""The host's files beside the guest's root must never be reached, whatever the guest's links say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from builder.disk.tree import GuestTree


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    root = tmp_path / "root"
    (root / "etc/ssh").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "home/a/.ssh").mkdir(parents=True)
    (root / "home/b/.ssh").mkdir(parents=True)
    (root / "etc/name").write_text("guest\n")
    (root / "etc/ssh/key1").write_text("1")
    (root / "etc/ssh/.hidden").write_text("h")
    (root / "home/a/.ssh/id").write_text("a")
    (tmp_path / "secret").write_text("host\n")
    (root / "secret").write_text("guest's own\n")
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/sh").write_text("sh")
    (root / "up").symlink_to("../../../../../../../../secret")
    (root / "absolute").symlink_to("/etc/name")
    (root / "outside").symlink_to(str(tmp_path / "secret"))
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("/nowhere")
    (root / "self").symlink_to("/proc/self/root")
    return GuestTree(root)


def test_links_are_the_guests(tree: GuestTree) -> None:
    assert tree.read_text("/absolute") == "guest\n"
    assert tree.read_text("/up") == "guest's own\n"
    assert tree.read_text("/../../secret") == "guest's own\n"
    assert not tree.exists("/outside")
    with pytest.raises(FileNotFoundError):
        tree.read_bytes("/outside")
    assert tree.read_text("/bin/sh") == "sh"
    assert tree.resolve("/bin/sh") == tree.root / "usr/bin/sh"
    assert tree.resolve("/") == tree.root


def test_kinds(tree: GuestTree) -> None:
    assert tree.is_folder("/bin")
    assert tree.is_link("/bin")
    assert not tree.is_file("/bin")
    assert tree.is_file("/absolute")
    for path in ("/loop", "/dangling", "/nowhere", "/etc/name/below", "/self/etc"):
        assert not tree.exists(path)
        assert not tree.is_file(path)
    assert tree.is_link("/loop")
    assert tree.is_link("/dangling")
    assert not tree.is_link("/nowhere/deep")
    assert tree.read_link("/absolute") == "/etc/name"
    assert tree.lstat("/bin").st_ino != tree.stat("/bin").st_ino


def test_reading_is_bounded_and_never_blocks(tree: GuestTree) -> None:
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        tree.read_bytes("/pipe")
    with pytest.raises(OSError, match="not a regular file"):
        tree.read_bytes("/etc")
    assert tree.read_bytes("/etc/name", limit=3) == b"gue"
    (tree.root / "latin").write_bytes(b"caf\xe9")
    assert tree.read_text("/latin").encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_sockets_are_not_opened(tree: GuestTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.root)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("agent")
        with pytest.raises(OSError, match="No such device"):
            tree.read_bytes("/agent")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/etc/name", ["/etc/name"]),
        ("/etc/n*", ["/etc/name"]),
        ("/etc/ssh/*", ["/etc/ssh/key1"]),
        ("/etc/ssh/.*", ["/etc/ssh/.hidden"]),
        ("/etc/ssh/key[0-9]", ["/etc/ssh/key1"]),
        ("/home/*/.ssh/id", ["/home/a/.ssh/id"]),
        ("/home/*/.ssh", ["/home/a/.ssh", "/home/b/.ssh"]),
        ("/**/id", ["/home/a/.ssh/id"]),
        ("/bin/s?", ["/bin/sh"]),
        ("/dangling", ["/dangling"]),
        ("/outside/*", []),
        ("/nowhere/*", []),
        ("/", ["/"]),
    ],
)
def test_glob(tree: GuestTree, pattern: str, found: list[str]) -> None:
    assert list(tree.glob(pattern)) == found


def test_walk_follows_no_links(tree: GuestTree) -> None:
    paths = [path for path, _ in tree.walk("/")]
    assert paths == sorted(paths, key=lambda path: path.split("/"))
    assert "/bin" in paths
    assert "/bin/sh" not in paths
    assert "/usr/bin/sh" in paths
    assert "/etc/ssh/.hidden" in paths
    assert [path for path, _ in tree.walk("/home")] == [
        "/home/a",
        "/home/a/.ssh",
        "/home/a/.ssh/id",
        "/home/b",
        "/home/b/.ssh",
    ]
