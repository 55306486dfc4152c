"""The scripts that an Azure build runs in its VMs, run for real: on busybox, and on a captured disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.guest.generalize_script import render_script
from builder.guest.operations import all_operations, applicable
from builder.guest.verify_script import verify_script
from builder.machines.azure import scripts
from builder.machines.azure.deep import FOUND, deep_script
from builder.machines.azure.output import ending, unpacked, window
from builder.model.run import GuestScript
from tests.integration.guest.roots import busybox_root, run
from tests.planted import PLANTED, plant


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of busybox alone."""
    busybox_root(tmp_path / "root")
    (tmp_path / "work").mkdir()
    return tmp_path / "root"


def execute(root: Path, text: str, **env: str) -> list[str]:
    return run(root, root.parent / "work", GuestScript(text, interpreter=("/bin/sh",), env=env))


def test_a_script_with_files_and_secrets_on_busybox(root: Path) -> None:
    # Its folder outlives a script only on a disk: here each has a /run of its own
    script = GuestScript(
        'echo "$1 $LEVEL $TOKEN"; cat "$BUILD_FILES/two/three"; seq 1 3000\n', arguments=("a b",),
        env={"LEVEL": "it's"}, secrets={"TOKEN": "to'ken"}, files={"two/three": b"content\n"}, timeout=60,
    )  # fmt: skip
    (root / "var/tmp").mkdir(parents=True)
    text = scripts.linux_script(script, "/var/tmp/build-1", scripts.pack(script.files, windows=False))
    sealed = scripts.seal(script.secrets, windows=False)
    shown = "\n".join(execute(root, text, BUILD_SECRETS=sealed)) + "\n"
    wanted = "a b it's to'ken\ncontent\n" + "".join(f"{number}\n" for number in range(1, 3001))
    end = ending(shown)
    assert end is not None
    assert (end.exit_code, end.late, end.size) == (0, False, len(wanted))
    assert end.end == wanted.encode()[-2700:]
    pieces, total, begin = [], 1, 0
    while begin < total:
        part = scripts.linux_window("/var/tmp/build-1", 10, len(wanted) - 20, begin)
        total, letters = window("\n".join(execute(root, part)) + "\n") or (0, "")
        pieces.append(letters)
        begin += scripts.WINDOW
    assert len(pieces) > 1
    assert unpacked("".join(pieces)) == wanted.encode()[10:-10]
    assert sorted(path.name for path in (root / "var/tmp/build-1").iterdir()) == ["output"]


@pytest.mark.parametrize(("text", "code", "late"), [("exit 7\n", 7, False), ("sleep 30 & sleep 30\n", 143, True)])
def test_how_a_script_ends_is_told(root: Path, text: str, code: int, late: bool) -> None:
    whole = scripts.linux_script(GuestScript(text, timeout=1), "/run/build-1", scripts.Payload())
    told = execute(root, f"({whole}) || echo it ended with $?\n")
    end = ending("\n".join(told) + "\n")
    assert end is not None
    assert end.late is late
    assert end.exit_code in (code, 124)


@contextmanager
def device_of(root: Path) -> Iterator[str]:
    """A loop device with the machine's filesystem on it."""
    image = root.parent / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "64m"], check=True)
    command = ["losetup", "--find", "--show", image]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def look(device: str) -> subprocess.CompletedProcess[str]:
    operations = applicable(all_operations(), {"ID": "debian"})
    script = deep_script(verify_script(operations), device)
    return subprocess.run(["sh", "-eu", "-c", script.text], capture_output=True, text=True, check=False)


def test_a_captured_disk_is_looked_at_in_its_own_root(root: Path) -> None:
    plant(root, PLANTED)
    # Followed on this host, it would lead to files of ours
    (root / "etc/ssh/ssh_host_link_key").symlink_to("/etc/hostname")
    with device_of(root) as device:
        before = look(device)
    assert before.returncode == FOUND
    assert "/var/lib/waagent/ovf-env.xml: is still there" in before.stdout
    (root.parent / "disk.raw").unlink()
    execute(root, render_script(applicable(all_operations(), {"ID": "debian"})))
    with device_of(root) as device:
        after = look(device)
    assert (after.returncode, after.stdout) == (0, f"looking at {device}\n"), after.stderr


def test_a_disk_that_can_not_be_looked_at_is_not_one_that_is_not_generalized(tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(1 << 20))
    command = ["losetup", "--find", "--show", empty]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        found = look(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert found.returncode not in (0, FOUND)
    assert "no filesystem with an operating system" in found.stderr
