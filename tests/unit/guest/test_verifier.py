"""The verifier on planted trees, without running anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.disk.tree import GuestTree
from builder.guest.operations import all_operations, selected
from builder.guest.verifier import ALWAYS, Finding, verify
from tests.planted import KEY, NOTHING_TO_FIND, PLANTED, family_of, plant, write


def found(root: Path, *names: str, keep: tuple[str, ...] = (), users: tuple[str, ...] = ()) -> list[Finding]:
    operations = [item for item in all_operations() if item.id in names]
    return verify(GuestTree(root), operations, keep, users)


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - NOTHING_TO_FIND))
def test_what_each_operation_would_have_removed_is_named(tmp_path: Path, name: str) -> None:
    plant(tmp_path, [name], distribution=family_of(name))
    findings = [finding for finding in found(tmp_path, name) if finding.operation == name]
    assert findings
    assert all(finding.reason and finding.path.startswith("/") for finding in findings)


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - NOTHING_TO_FIND - {"user-account"}))
def test_an_ordinary_machine_has_none_of_it(tmp_path: Path, name: str) -> None:
    plant(tmp_path, [])
    if name == "machine-id":
        write(tmp_path, {"/etc/machine-id": "uninitialized\n"})
        (tmp_path / "etc/machine-id").chmod(0o444)
    if name == "flag-reconfiguration":
        write(tmp_path, {"/.unconfigured": ""})
    assert found(tmp_path, name) == []


def test_every_planted_file_of_the_default_set_is_found(tmp_path: Path) -> None:
    names = [item.id for item in selected() if family_of(item.id) == "debian"]
    plant(tmp_path, names)
    paths = {finding.path for finding in found(tmp_path, *names)}
    # Not files but their content tells: users stand in /etc/passwd, empty files hold nothing
    told_otherwise = {"/home/azureuser/notes", "/usr/sbin/make-ssl-cert"}
    assert {path for name in names for path in PLANTED[name]} - told_otherwise <= paths


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("", 0o444, "does not say `uninitialized`"),
        ("uninitialized", 0o444, "does not say `uninitialized`"),
        ("0123456789abcdef0123456789abcdef\n", 0o444, "does not say `uninitialized`"),
        ("uninitialized\n", 0o644, "has another mode than 0444"),
        ("uninitialized\n", 0o444, None),
    ],
)
def test_the_machine_id_is_exact(tmp_path: Path, content: str, mode: int, reason: str | None) -> None:
    plant(tmp_path, [])
    write(tmp_path, {"/etc/machine-id": content})
    (tmp_path / "etc/machine-id").chmod(mode)
    expected = [Finding("/etc/machine-id", "machine-id", reason)] if reason else []
    assert found(tmp_path, "machine-id") == expected


def test_keep_is_accepted(tmp_path: Path) -> None:
    plant(tmp_path, ["waagent-state", "ssh-userdir"])
    names = ("waagent-state", "ssh-userdir")
    all_of_it = ("/var/lib/waagent", "/root/.ssh", "/home/*", "/var/lib/postgresql/.ssh/id_rsa")
    assert found(tmp_path, *names, keep=all_of_it) == []
    left = found(tmp_path, *names, keep=("/var/lib/waagent/*.prv", "/home", "/root/.ssh/authorized_keys"))
    assert {finding.path for finding in left} == {
        "/var/lib/waagent/ovf-env.xml", "/var/lib/waagent/.hidden", "/var/lib/waagent/WALinuxAgent-2.9/bin/agent.egg",
        "/var/lib/postgresql/.ssh/id_rsa",
    }  # fmt: skip


def test_private_keys_are_always_found_unless_wanted(tmp_path: Path) -> None:
    plant(tmp_path, [])
    write(tmp_path, {"/etc/nginx/tls.key": KEY, "/usr/share/tests/key.pem": KEY, "/etc/ssh/ssh_host_rsa_key": KEY})
    write(tmp_path, {"/etc/machine-id": "uninitialized\n"})
    (tmp_path / "etc/machine-id").chmod(0o444)
    operations = selected(skip=["ssh-hostkeys"])
    tree = GuestTree(tmp_path)
    assert [(item.path, item.operation) for item in verify(tree, operations)] == [("/etc/nginx/tls.key", ALWAYS)]
    assert verify(tree, operations, ["/etc/nginx/tls.key"]) == []
    # Off by default is not the same as wanted
    write(tmp_path, {"/etc/pki/tls/private/localhost.key": KEY})
    assert [item.path for item in verify(tree, operations, ["/etc/nginx/*"])] == ["/etc/pki/tls/private/localhost.key"]


def test_a_file_is_told_once_whatever_leads_to_it(tmp_path: Path) -> None:
    plant(tmp_path, [])
    write(tmp_path, {"/var/mail/root": "x"})
    (tmp_path / "var/spool").mkdir(parents=True)
    (tmp_path / "var/spool/mail").symlink_to("../mail")
    assert [finding.path for finding in found(tmp_path, "mail-spool")] == ["/var/spool/mail/root"]


def test_empty_passwords_are_found(tmp_path: Path) -> None:
    plant(tmp_path, [])
    shadow = tmp_path / "etc/shadow"
    shadow.write_text(shadow.read_text().replace("app:*:", "app::"))
    assert found(tmp_path) == [Finding("/etc/shadow", ALWAYS, "lets app log in without a password")]


def test_a_finding_is_one_line_without_escape_sequences(tmp_path: Path) -> None:
    plant(tmp_path, [])
    write(tmp_path, {"/var/log/azure/\x1b[2Jé\n\udcff \u202e": "x"})
    (finding,) = [item for item in found(tmp_path, "logs") if item.reason == "is still there"]
    assert finding.path == "/var/log/azure/\x1b[2Jé\n\udcff \u202e"
    expected = r"/var/log/azure/\x1b[2Jé\n\udcff \u202e: is still there (operation logs)"
    assert finding.describe() == expected


NO_PASSWORD = "lets evil log in without a password"
ANOTHER_ROOT = "gives evil UID 0, all rights of root"


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ("evil::0:0::/root:/bin/sh", [ANOTHER_ROOT, NO_PASSWORD]),
        ("evil::1002:1002::/home/evil:/bin/sh", [NO_PASSWORD]),
        ("evil:x:0:0::/root:/bin/sh", [ANOTHER_ROOT]),
        ("evil:$6$x$y:0:0::/root:/bin/sh", [ANOTHER_ROOT]),
        # What the C library takes, too
        ("evil::0:0", [ANOTHER_ROOT, NO_PASSWORD]),
        ("  evil:x:00:0:::", [ANOTHER_ROOT]),
        ("evil:x:+0:0:::", [ANOTHER_ROOT]),
        ("evil:x:\f0:0:::", [ANOTHER_ROOT]),
        ("evil:x:1002:1002::/home/evil:/bin/sh", []),
        ("evil:*:1002:0::/root:/bin/sh", []),
        ("evil:!:1002:0::/root:/bin/sh", []),
        ("# evil::0:0::/root:/bin/sh", []),
        ("+::::::", []),
        ("", []),
    ],
)
def test_accounts_that_open_the_machine_are_found(tmp_path: Path, line: str, reasons: list[str]) -> None:
    plant(tmp_path, [])
    with (tmp_path / "etc/passwd").open("a") as passwd:
        passwd.write(line + "\n")
    # To be the spec's own does not excuse it: its step never makes such an account
    assert found(tmp_path, users=("evil",)) == [Finding("/etc/passwd", ALWAYS, reason) for reason in reasons]
    assert found(tmp_path, keep=("/etc/passwd",)) == []


@pytest.mark.parametrize("password", ["$6$x$y", "!$6$x$y", "x", ""])
def test_a_root_password_must_be_gone(tmp_path: Path, password: str) -> None:
    plant(tmp_path, [])
    shadow = tmp_path / "etc/shadow"
    shadow.write_text(shadow.read_text().replace("root:*:", f"root:{password}:"))
    reasons = [finding.reason for finding in found(tmp_path, "root-password")]
    assert "still has root's password" in reasons


def test_users_of_the_spec_are_no_findings(tmp_path: Path) -> None:
    plant(tmp_path, ["cloud-init-sudoers"])
    assert found(tmp_path, "provisioned-user") == [
        Finding("/etc/passwd", "provisioned-user", "still has the user azureuser")
    ]
    assert found(tmp_path, "provisioned-user", users=("azureuser",)) == []


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    """A hostile disk must not make the verifier read this host's files."""
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text(KEY)
    plant(root, [])
    for path in ("home/app/.ssh", "var/lib/waagent", "var/tmp"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(outside)
    os.mkfifo(root / "etc/pipe.key")
    names = ("ssh-userdir", "waagent-state", "tmp-files")
    assert [(item.path, item.operation) for item in found(root, *names)] == [("/home/app/.ssh", "ssh-userdir")]
