"""The generalize script on machines that carry everything, under three shells, and what the verifier says of it."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.disk.mounts import private_mounts
from builder.disk.tree import GuestTree
from builder.guest.generalize_script import render_script
from builder.guest.operation import Operation
from builder.guest.operations import all_operations, applicable, selected
from builder.guest.verifier import ALWAYS, verify
from builder.model.run import GuestScript
from tests.integration.guest.roots import flags_of, run
from tests.planted import BASE, GROUP, KEY, NOTHING_TO_FIND, PLANTED, family_of, plant, write

SHELLS = ("dash", "bash", "busybox")
MakeRoot = Callable[[str], Path]


def generalize(
    root: Path, operations: tuple[Operation, ...], keep: tuple[str, ...] = (), users: tuple[str, ...] = ()
) -> list[str]:
    work = root.parent / "work"
    work.mkdir(exist_ok=True)
    return run(root, work, GuestScript(render_script(operations, keep, users), interpreter=("/bin/sh", "-u")))


def of(*names: str) -> tuple[Operation, ...]:
    return tuple(item for item in all_operations() if item.id in names)


@pytest.mark.parametrize("distribution", ["debian", "rhel"])
@pytest.mark.parametrize("shell", SHELLS)
def test_everything_that_is_planted_goes(make: MakeRoot, shell: str, distribution: str) -> None:
    root = make(shell)
    plant(root, PLANTED, distribution=distribution)
    operations = applicable(all_operations(), {"ID": distribution})
    tree = GuestTree(root)
    before = {finding.operation for finding in verify(tree, operations)}
    assert {item.id for item in operations} - NOTHING_TO_FIND <= before

    lines = generalize(root, operations)

    assert verify(tree, operations) == []
    assert [line.split(":")[0] for line in lines if line.endswith(" files")] == [item.id for item in operations]
    assert (root / "etc/machine-id").read_text() == "uninitialized\n"
    assert stat.S_IMODE((root / "etc/machine-id").stat().st_mode) == 0o444
    for path in (
        "/etc/nginx/nginx.conf",
        "/etc/ssh/sshd_config",
        "/etc/fstab",
        "/etc/hosts",
        "/etc/dhcp/dhclient.conf",
    ):
        assert (root / path[1:]).read_text() == BASE[path], path
    assert stat.S_IMODE((root / "etc/shadow").stat().st_mode) == 0o640
    assert (root / "tmp").is_dir()
    assert (root / "var/log/syslog").read_text() == ""


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - NOTHING_TO_FIND))
def test_each_operation_removes_what_the_verifier_finds_without_it(make: MakeRoot, name: str) -> None:
    root = make("dash")
    plant(root, [name], distribution=family_of(name))
    assert name in {finding.operation for finding in verify(GuestTree(root), of(name))}
    generalize(root, of(name))
    assert verify(GuestTree(root), of(name)) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_kept_stays_and_the_rest_goes(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, [item.id for item in selected() if item.id in PLANTED])
    keep = ("/var/lib/waagent/0A1B.prv", "/home/with space/*", "/var/log/azure", "/etc/hostname", "/etc/shadow")
    operations = applicable(selected(keep), {"ID": "debian"})
    generalize(root, operations, keep, users=("azureuser",))
    for path in (
        "/var/lib/waagent/0A1B.prv", "/home/with space/.ssh/known_hosts", "/home/with space/.bash_history",
        "/var/log/azure/agent/x.log", "/etc/hostname", "/home/azureuser/notes",
    ):  # fmt: skip
        group = next(files for files in PLANTED.values() if path in files)
        assert (root / path[1:]).read_text() == group[path], path
    assert "azureuser" in (root / "etc/passwd").read_text()
    assert not (root / "var/lib/waagent/ovf-env.xml").exists()
    assert verify(GuestTree(root), operations, keep, users=("azureuser",)) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_only_the_provisioned_user_goes(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, ["provisioned-user", "cloud-init-sudoers"])
    write(root, {"/etc/cloud/cloud.cfg": "system_info:\n   default_user:\n     name: app\n"})
    (root / "etc/sudoers.d/waagent").write_text("azure ALL=(ALL) NOPASSWD: ALL\nroot ALL=(ALL) ALL\n* ALL=(ALL) ALL\n")
    lines = generalize(root, of("provisioned-user"), users=("app",))
    names = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    assert names == ["root", "daemon", "postgres", "app", "nobody"]
    assert not (root / "home/azureuser").exists()
    assert (root / "etc/group").read_text() == GROUP.replace(",azureuser", "").replace("azureuser:x:1000:\n", "")
    assert "azureuser" not in (root / "etc/shadow").read_text()
    assert (root / "home/app/work").exists()
    assert "provisioned-user: app is a user of the spec: left alone" in lines


@pytest.mark.parametrize("shell", SHELLS)
def test_links_lead_nowhere(make: MakeRoot, shell: str) -> None:
    """A user of the image, or a hostile image, must not make generalize delete what no operation lists."""
    root = make(shell)
    plant(root, [])
    safe = {
        f"/srv/safe/{name}": "safe\n" for name in (".bash_history", "authorized_keys", "share/fish/fish_history", "x")
    }
    write(root, safe)
    links = {
        "/home/eve": "/srv/safe",
        "/home/app/.ssh": "/srv/safe",
        "/home/app/.local": "/srv/safe",
        "/tmp/etc": "/etc",
        "/var/lib/waagent": "/srv/safe",
        "/var/lib/dhcp": "../../srv/safe",
        "/var/log/escape": "/etc/nginx/nginx.conf",
        "/etc/fstab.bak": "/etc/fstab",
        "/etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
        "/var/lib/dbus/machine-id": "/etc/machine-id",
        "/etc/hostname": "/srv/safe/x",
    }
    for path, target in links.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).symlink_to(target)
    operations = applicable(all_operations(), {"ID": "debian"})
    generalize(root, tuple(item for item in operations if item.id != "user-account"))
    for path, text in safe.items():
        assert (root / path[1:]).read_text() == text, path
    assert (root / "etc/nginx/nginx.conf").read_text() == BASE["/etc/nginx/nginx.conf"]
    assert (root / "etc/fstab").read_text() == BASE["/etc/fstab"]
    assert (root / "etc/resolv.conf").is_symlink()
    assert (root / "var/lib/dbus/machine-id").is_symlink()
    assert not (root / "home/app/.ssh").is_symlink()
    assert not (root / "tmp/etc").is_symlink()
    # What a link hides from the script is not hidden from the verifier
    paths = {finding.path for finding in verify(GuestTree(root), operations)}
    assert {"/var/lib/waagent/x", "/home/eve/.bash_history", "/home/app/.local/share/fish/fish_history"} <= paths


def test_homes_elsewhere_are_homes_too(make: MakeRoot) -> None:
    root = make("dash")
    plant(root, [])
    shutil.move(root / "home", root / "var/home")
    (root / "home").symlink_to("var/home")
    write(root, {"/var/home/app/.bash_history": "x\n", "/var/home/app/.ssh/id": KEY})
    generalize(root, of("shell-history", "ssh-userdir"))
    assert verify(GuestTree(root), of("shell-history", "ssh-userdir")) == []
    assert not (root / "var/home/app/.ssh").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_keys_of_the_specs_users_stay_in_the_homes_that_they_have(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, [])
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write("www-data:x:33:33::/var/www/:/bin/sh\n")
    write(root, {"/var/www/.ssh/authorized_keys": "ours\n", "/var/www/.ssh/id_rsa": KEY, "/home/app/.ssh/x": "x\n"})
    keep = ("~nobody-of-that-name/.ssh/authorized_keys", "~www-data/.ssh/authorized_keys")
    operations = of("ssh-userdir")
    assert [item.path for item in verify(GuestTree(root), operations, keep)] == [
        "/home/app/.ssh/x", "/var/www/.ssh/id_rsa",
    ]  # fmt: skip
    generalize(root, operations, keep)
    assert (root / "var/www/.ssh/authorized_keys").read_text() == "ours\n"
    assert not (root / "var/www/.ssh/id_rsa").exists() and not (root / "home/app/.ssh").exists()
    assert verify(GuestTree(root), operations, keep) == []


def at_home_in_the_root_folder(root: Path) -> None:
    write(root, {"/etc/passwd": BASE["/etc/passwd"].replace(":root:/root:", ":root:/:")})
    write(root, {f"/.ssh/{name}": KEY for name in ("authorized_keys", "id_ed25519")})
    write(root, {"/.ash_history": "secret\n", "/.local/share/fish/fish_history": "secret\n", "/.profile": "kept\n"})


@pytest.mark.parametrize("shell", SHELLS)
def test_the_root_folder_is_a_home_too(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, [])
    at_home_in_the_root_folder(root)
    operations, keep = of("shell-history", "ssh-userdir"), ("~root/.ssh/authorized_keys",)
    assert [item.path for item in verify(GuestTree(root), operations, keep)] == [
        "/.ash_history", "/.local/share/fish/fish_history", "/.ssh/id_ed25519",
    ]  # fmt: skip
    generalize(root, operations, keep)
    assert verify(GuestTree(root), operations, keep) == []
    assert [path.name for path in (root / ".ssh").iterdir()] == ["authorized_keys"]
    assert (root / ".profile").exists() and not (root / ".ash_history").exists()
    generalize(root, operations)
    assert not (root / ".ssh").exists()


@pytest.fixture
def flags(tmp_path: Path) -> Iterator[Callable[[str, Path], None]]:
    """Sets flags of files by chattr, and takes them off at the end, for else nobody could remove them."""

    def put(letters: str, path: Path) -> None:
        subprocess.run(["chattr", f"+{letters}", path], check=True)

    yield put
    subprocess.run(["chattr", "-R", "-f", "-ia", tmp_path], check=False, capture_output=True)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_flags_stand_in_no_way_and_stay_with_what_stays(
    make: MakeRoot, shell: str, flags: Callable[[str, Path], None]
) -> None:
    root = make(shell)
    plant(root, ["root-password", "machine-id", "ssh-userdir", "shell-history", "logs"])
    write(root, {"/home/app/.ssh/id": KEY, "/home/app/.bash_history": "x\n"})
    write(root, {f"/var/log/{name}": "x\n" for name in ("audit.log", "a b.log", "audit.log.1", "plain.log")})
    for letters, path in (
        ("i", "etc/shadow"), ("i", "etc/machine-id"), ("i", "home/app/.ssh/id"), ("i", "home/app/.ssh"),
        ("a", "home/app/.bash_history"), ("a", "var/log/audit.log"), ("ia", "var/log/a b.log"),
        ("i", "var/log/audit.log.1"),
    ):  # fmt: skip
        flags(letters, root / path)
    operations = of("root-password", "machine-id", "ssh-userdir", "shell-history", "logs")
    lines = generalize(root, operations)
    assert verify(GuestTree(root), operations) == []
    assert "machine-id: /etc/machine-id is no longer immutable or append-only (-i)" in lines
    paths = ("etc/shadow", "var/log/audit.log", "var/log/a b.log", "etc/machine-id", "var/log/plain.log")
    assert [flags_of(root / path) for path in paths] == [{"i"}, {"a"}, {"i", "a"}, set(), set()]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_is_kept_keeps_its_flags_among_what_goes(
    make: MakeRoot, shell: str, flags: Callable[[str, Path], None]
) -> None:
    root = make(shell)
    plant(root, [])
    write(root, {"/root/.ssh/id_rsa": KEY, "/root/.ssh/kept/id": "kept"})
    for path in ("id_rsa", "kept/id", "kept", ""):
        flags("i", root / "root/.ssh" / path)
    lines = generalize(root, of("ssh-userdir"), ["/root/.ssh/kept"])
    assert [path.name for path in (root / "root/.ssh").iterdir()] == ["kept"]
    assert [flags_of(root / "root/.ssh" / path) for path in ("kept/id", "kept", "")] == [{"i"}, {"i"}, set()]
    assert any("/root/.ssh and the folders in it, where they stay, are no longer immutable" in line for line in lines)


def test_without_chattr_it_says_what_may_be_in_the_way(make: MakeRoot, flags: Callable[[str, Path], None]) -> None:
    from builder.errors import BuildError

    root = make("busybox")
    plant(root, ["machine-id"])
    flags("i", root / "etc/machine-id")
    with pytest.raises(BuildError) as caught:
        generalize(root, of("machine-id"))
    assert "machine-id: is /etc/machine-id immutable or append-only? There is no chattr" in (caught.value.detail or "")


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_spec_wrote_through_a_linked_folder_stays(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, [])
    shutil.move(root / "home", root / "var/home")
    (root / "home").symlink_to("var/home")
    write(root, {"/var/a [1]/x.log.gz": "ours\n", "/var/log/b.log": "theirs\n"})
    shutil.move(root / "var/a [1]", root / "var/log/a [1]*\\")
    (root / "srv").mkdir(exist_ok=True)
    (root / "srv/logs").symlink_to("../var/log/a [1]*\\")
    write(root, {f"/var/home/app/.ssh/{name}": f"{name}\n" for name in ("authorized_keys", "other")})
    keep = ("/home/app/.ssh/authorized_keys", "/srv/logs/*.gz")
    operations = of("ssh-userdir", "logs")
    generalize(root, operations, keep)
    assert (root / "home/app/.ssh/authorized_keys").read_text() == "authorized_keys\n"
    assert (root / "srv/logs/x.log.gz").read_text() == "ours\n"
    assert not (root / "home/app/.ssh/other").exists()
    assert (root / "var/log/b.log").read_text() == ""
    assert verify(GuestTree(root), operations, keep) == []


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mounts an empty filesystem at a folder until the test ends."""
    private_mounts()
    with ExitStack() as stack:

        def put(folder: Path) -> None:
            folder.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
            stack.callback(lambda: subprocess.run(["umount", folder], check=True))

        yield put


@pytest.mark.parametrize("shell", SHELLS)
def test_filesystems_of_their_own_are_cleaned_and_scanned(
    make: MakeRoot, shell: str, mount: Callable[[Path], None]
) -> None:
    root = make(shell)
    plant(root, [])
    for folder in ("var/log/audit", "var/log/journal/x", "srv/d"):
        mount(root / folder)
    write(root, {
        "/var/log/audit/audit.log": "x\n", "/var/log/audit/audit.log.1": "x\n", "/var/log/journal/x/system": "x\n",
        "/srv/d/id_rsa": KEY,
    })  # fmt: skip
    tree, operations = GuestTree(root), of("logs")
    assert {item.path for item in verify(tree, operations)} == {
        "/var/log/audit/audit.log", "/var/log/audit/audit.log.1", "/var/log/journal/x/system", "/srv/d/id_rsa",
    }  # fmt: skip
    generalize(root, operations)
    assert [(item.path, item.operation) for item in verify(tree, operations)] == [("/srv/d/id_rsa", ALWAYS)]
    assert (root / "var/log/audit/audit.log").read_text() == ""
    assert list((root / "var/log/journal/x").iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_hooks_of_the_distribution_run_and_their_failure_is_ours(make: MakeRoot, shell: str) -> None:
    from builder.errors import BuildError

    root = make(shell)
    plant(root, [])
    write(
        root, {"/etc/cloud/clean.d/README": "not a program\n", "/etc/cloud/clean.d/10-x": "#!/bin/sh\ntouch /etc/ran\n"}
    )
    (root / "etc/cloud/clean.d/10-x").chmod(0o755)
    assert "cloud-init-clean-hooks: 1 files" in generalize(root, of("cloud-init-clean-hooks"))
    assert (root / "etc/ran").exists()
    write(root, {"/etc/cloud/clean.d/10-x": "#!/bin/sh\nexit 3\n"})
    with pytest.raises(BuildError) as caught:
        generalize(root, of("cloud-init-clean-hooks", "machine-id"))
    assert "10-x failed" in (caught.value.detail or "")


@pytest.mark.parametrize("shell", SHELLS)
def test_twice_changes_nothing_more(make: MakeRoot, shell: str) -> None:
    root = make(shell)
    plant(root, PLANTED)
    operations = applicable(all_operations(), {"ID": "debian"})
    generalize(root, operations)
    first = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    generalize(root, operations)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == first


def test_without_systemd_the_machine_id_goes(make: MakeRoot) -> None:
    root = make("busybox")
    plant(root, ["machine-id"])
    (root / "usr/lib/systemd/systemd").unlink()
    assert verify(GuestTree(root), of("machine-id")) != []
    generalize(root, of("machine-id"))
    assert not (root / "etc/machine-id").exists()
    assert verify(GuestTree(root), of("machine-id")) == []
