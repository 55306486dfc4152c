"""What a Linux guest does by itself: at each start, and at the first one of a machine of its own."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.azure.guests import Tree

MACHINE_ID = "etc/machine-id"
HOST_NAME = "etc/hostname"
ADMINISTRATOR_ID = 1000


def start(tree: Tree) -> None:
    """systemd: a machine-id where there is none."""
    path = tree.path / MACHINE_ID
    known = path.read_text(encoding="utf-8") if path.is_file() else ""
    if re.fullmatch(r"[0-9a-f]{32}\n?", known) is None:
        path.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")


def provision(tree: Tree, computer: str, administrator: str) -> None:
    """The agent (or cloud-init): the names of the VM's osProfile, its administrator, host keys of its own."""
    (tree.path / HOST_NAME).write_text(computer + "\n", encoding="utf-8")
    for old in (tree.path / "etc/ssh").glob("ssh_host_*_key*"):
        old.unlink()
    key = tree.path / "etc/ssh/ssh_host_ed25519_key"
    key.parent.mkdir(exist_ok=True)
    key.write_text(f"private {secrets.token_hex(32)}\n", encoding="utf-8")
    key.chmod(0o600)
    key.with_suffix(".pub").write_text(f"ssh-ed25519 {secrets.token_hex(32)} root@{computer}\n", encoding="utf-8")
    if administrator:
        _administrator(tree, administrator)


def _administrator(tree: Tree, name: str) -> None:
    accounts = (tree.path / "etc/passwd").read_text(encoding="utf-8").splitlines()
    if name in {line.partition(":")[0] for line in accounts}:
        return
    taken = {int(line.split(":")[2]) for line in accounts}
    number = next(number for number in range(ADMINISTRATOR_ID, 60000) if number not in taken)
    lines = {
        "etc/passwd": f"{name}:x:{number}:{number}::/home/{name}:/bin/bash\n",
        "etc/group": f"{name}:x:{number}:\n",
        "etc/shadow": f"{name}:!:20000:0:99999:7:::\n",
        "etc/gshadow": f"{name}:!::\n",
        "etc/sudoers.d/90-cloud-init-users": f"{name} ALL=(ALL) NOPASSWD:ALL\n",
    }
    for file, line in lines.items():
        path = tree.path / file
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as text:
            text.write(line)
    (tree.path / "home" / name).mkdir(mode=0o750, exist_ok=True)
