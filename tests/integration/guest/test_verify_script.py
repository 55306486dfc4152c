"""The check that runs inside a guest says what the verifier says of its disk, under three shells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.disk.tree import GuestTree
from builder.errors import BuildError
from builder.guest.generalize_script import render_script
from builder.guest.operation import Operation
from builder.guest.operations import all_operations, applicable, selected
from builder.guest.verifier import verify
from builder.guest.verify_script import verify_script
from builder.machines.local.sandbox import HostGifts, Sandbox
from builder.model.run import GuestFacts, GuestScript
from tests.integration.guest.roots import run
from tests.planted import BASE, KEY, NOTHING_TO_FIND, PLANTED, family_of, plant, write

SHELLS = ("dash", "bash", "busybox")
MakeRoot = Callable[[str], Path]


def told(
    root: Path, operations: tuple[Operation, ...], keep: tuple[str, ...] = (), users: tuple[str, ...] = ()
) -> set[tuple[str, str]]:
    """The paths and operations of what the script finds."""
    work = root.parent / "work"
    work.mkdir(exist_ok=True)
    lines: list[str] = []
    sandbox = Sandbox(root, facts=GuestFacts("linux", "test", "1", "x64", ""), gifts=HostGifts(), work=work)
    try:
        sandbox.execute(verify_script(operations, keep, users), lambda text: lines.extend(text.splitlines()))
    except BuildError as error:
        assert error.message == "ended with exit code 1", error.detail
        assert lines
    found = set()
    for line in lines:
        path, _, rest = line.partition(": ")
        found.add((path, rest.rpartition("(")[2].rstrip(")").removeprefix("operation ")))
    return found


def seen(
    root: Path, operations: tuple[Operation, ...], keep: tuple[str, ...] = (), users: tuple[str, ...] = ()
) -> set[tuple[str, str]]:
    return {(finding.path, finding.operation) for finding in verify(GuestTree(root), operations, keep, users)}


def files(root: Path, found: set[tuple[str, str]]) -> set[int | str]:
    """The files that findings are about: one may be reached by several links. A line break ends a line of a script."""
    tree = GuestTree(root)
    paths = {path for path, _ in found if path not in ("/tmp/odd", "name") and "\n" not in path}
    there = {path for path in paths if tree.exists(path) or tree.is_link(path)}
    return {tree.lstat(path).st_ino for path in there} | (paths - there)


@pytest.mark.parametrize("distribution", ["debian", "rhel"])
@pytest.mark.parametrize("shell", SHELLS)
def test_it_finds_what_the_verifier_finds(make: MakeRoot, shell: str, distribution: str) -> None:
    root = make(shell)
    plant(root, PLANTED, distribution=distribution)
    operations = applicable(all_operations(), {"ID": distribution})
    before = told(root, operations)
    assert {operation for _, operation in before} >= {item.id for item in operations} - NOTHING_TO_FIND
    assert files(root, before) == files(root, seen(root, operations))
    work = root.parent / "work"
    run(root, work, GuestScript(render_script(operations), interpreter=("/bin/sh", "-u")))
    assert told(root, operations) == set()


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - NOTHING_TO_FIND))
def test_each_operation_is_looked_for(make: MakeRoot, name: str) -> None:
    root = make("dash")
    plant(root, [name], distribution=family_of(name))
    operations = tuple(item for item in all_operations() if item.id == name)
    found = told(root, operations)
    assert name in {operation for _, operation in found}
    assert files(root, found) == files(root, seen(root, operations))


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_kept_and_who_is_wanted_is_no_finding(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, PLANTED)
    keep = ("/etc/ssh/*", "~app/.ssh/id_ed25519", "/var/log")
    users = ("app", "azureuser")
    assert files(root, told(root, selected(), keep, users)) == files(root, seen(root, selected(), keep, users))


BAD: dict[str, tuple[str, str]] = {
    "a key": ("/srv/some.pem", KEY),
    "a key of the root folder": ("/.ssh/id_rsa", KEY),
    "no password": ("/etc/shadow", "root:*:1::::::\nanna::1::::::\n"),
    "open account": ("/etc/passwd", BASE["/etc/passwd"] + "anna::1002:1002::/home/anna:/bin/sh\n"),
    "another root": ("/etc/passwd", BASE["/etc/passwd"] + " toor:x:+00:0::/root:/bin/sh\n"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_root_folder_is_a_home_too(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, [])
    write(root, {"/etc/passwd": BASE["/etc/passwd"].replace(":root:/root:", ":root:/:")})
    write(root, {"/.ssh/authorized_keys": "x\n", "/.ssh/id_ed25519": KEY, "/.ash_history": "x\n"})
    keep = ("~root/.ssh/authorized_keys",)
    found = told(root, selected(), keep)
    assert found == seen(root, selected(), keep)
    assert found >= {("/.ssh/id_ed25519", "ssh-userdir"), ("/.ash_history", "shell-history")}
    assert "/.ssh/authorized_keys" not in {path for path, _ in found}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("shell", SHELLS)
def test_what_must_never_be_there_is_found(make: MakeRoot, shell: str, what: str) -> None:
    root = make(shell)
    plant(root, [])
    path, text = BAD[what]
    write(root, {path: text})
    assert (path, "checked always") in told(root, ())
    assert told(root, ()) == seen(root, ())
