"""Small guest roots to run scripts in: this host's programs with dash or bash as sh, or busybox alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from builder.machines.local.sandbox import HostGifts, Sandbox
from builder.model.run import GuestFacts, GuestScript

GNU = (
    "awk", "bash", "cat", "chattr", "chmod", "chown", "chpasswd", "cp", "cut", "dash", "dirname", "echo", "env",
    "false", "find", "grep", "head", "id", "ln", "ls", "lsattr", "mkdir", "mv", "nologin", "printf", "python3",
    "readlink", "rm", "rmdir", "sed", "sh", "sort", "stat", "tail", "test", "touch", "tr", "true", "useradd",
    "userdel", "usermod", "wc",
)  # fmt: skip


def gnu_root(root: Path, shell: str) -> None:
    """A root with copies of this host's programs and the libraries that they need."""
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "dev", "proc", "sys", "run", "tmp", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "lib64").symlink_to("usr/lib")
    for name in GNU:
        found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None or name in ("sh", "python3"):
            continue
        real = Path(found).resolve()
        shutil.copy2(real, root / "usr/bin" / name)
        listing = subprocess.run(["ldd", real], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+\.so\S*)", listing):
            target = root / "usr/lib" / Path(library).name
            if not target.exists():
                shutil.copy2(Path(library).resolve(), target)
    (root / "usr/sbin/nologin").symlink_to("../bin/false")
    (root / "usr/bin/sh").symlink_to(shell)


def busybox_root(root: Path) -> None:
    """A root with busybox and its applets, nothing else."""
    found = shutil.which("busybox")
    assert found is not None, "busybox is not installed (apt-get install busybox-static)"
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "tmp", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy2(found, root / "bin/busybox")
    applets = subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")


def make_root(root: Path, shell: str) -> None:
    """A root whose sh is dash, bash or busybox."""
    if shell == "busybox":
        busybox_root(root)
    else:
        gnu_root(root, shell)


def run(root: Path, work: Path, script: GuestScript) -> list[str]:
    """Run a script in a root as prepare steps are run; returns the lines that it printed."""
    lines: list[str] = []
    facts = GuestFacts("linux", "test", "1", "x64", "")
    Sandbox(root, facts=facts, gifts=HostGifts(), work=work).execute(
        script, lambda text: lines.extend(text.splitlines())
    )
    return lines


def flags_of(path: Path) -> set[str]:
    """Which of the flags that forbid a change a file has, as chattr calls them: immutable (i), append-only (a)."""
    listing = subprocess.run(["lsattr", "-d", path], check=True, capture_output=True, text=True).stdout
    return set(listing.split()[0]) & {"i", "a"}
