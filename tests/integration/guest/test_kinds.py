"""Scripts of the prepare kinds in real roots: what is in the image afterwards, and that doing it twice is harmless."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.guest.kinds import files, services, users
from builder.guest.kinds.packages import script as packages_script
from builder.model.run import GuestFacts, GuestScript
from tests.integration.guest.roots import run
from tests.planted import BASE, write

ACCOUNT_FILES = {path: text for path, text in BASE.items() if path.startswith("/etc/")}
RC_UPDATE = """\
#!/bin/sh
[ "$1" = add ] && mkdir -p "/etc/runlevels/$3" && ln -sf "/etc/init.d/$2" "/etc/runlevels/$3/$2"
"""
DPKG_QUERY = """\
#!/bin/sh
for name; do :; done
case $name in jq) echo installed ;; rc) echo config-files ;; gone) echo not-installed ;; *) exit 1 ;; esac
"""
FACTS = GuestFacts("linux", "debian", "12", "x64", "apt", {"ID": "debian"})


@pytest.fixture(params=["dash", "bash", "busybox"])
def root(request: pytest.FixtureRequest, make: Callable[[str], Path]) -> Path:
    root = make(request.param)
    write(root, ACCOUNT_FILES)
    return root


@pytest.fixture
def shadow_root(make: Callable[[str], Path]) -> Path:
    """A root with shadow's tools (useradd)."""
    root = make("dash")
    write(root, ACCOUNT_FILES)
    return root


def execute(root: Path, script: GuestScript) -> list[str]:
    work = root.parent / "work"
    work.mkdir(exist_ok=True)
    return run(root, work, script)


def entry(path: str, **values: str) -> dict[str, str]:
    return {"path": path, "mode": "0644", "owner": "root", "group": "root", **values}


def put(root: Path, *entries: dict[str, str], staged: dict[str, Path] | None = None) -> list[str]:
    return execute(root, files.files_script({"files": list(entries)}, FACTS, staged or {}))


def test_files_get_content_owner_and_mode(root: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 40_000)
    folder = tmp_path / "app"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/it's x").write_text("in a folder\n")
    write(root, {"/srv/target": "safe\n"})
    (root / "etc/link").symlink_to("/srv/target")
    (root / "etc/folder-link").symlink_to("/srv")
    entries = [
        entry("/etc/deep/er/a b", content="é\n", mode="0640", owner="app", group="postgres"),
        entry("/opt/big", source="images/big"),
        entry("/opt/app/bin/it's x", source="images/app/bin/it's x", folder="images/app", mode="0755", owner="1234"),
        entry("/etc/link", content="a file now\n"),
        entry("/etc/folder-link", content="a file now\n"),
        entry("/top", content=""),
    ]
    staged = {"images/big": big, "images/app/bin/it's x": folder / "bin/it's x"}
    (root / "opt/app").mkdir(parents=True)
    for _ in range(2):
        put(root, *entries, staged=staged)
    status = (root / "etc/deep/er/a b").stat()
    assert (root / "etc/deep/er/a b").read_text() == "é\n"
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 1001, 110)
    assert (root / "opt/big").read_bytes() == big.read_bytes()
    assert (root / "opt/app/bin/it's x").read_text() == "in a folder\n"
    assert (root / "opt/app/bin/it's x").stat().st_uid == 1234
    assert stat.S_IMODE((root / "opt/app/bin/it's x").stat().st_mode) == 0o755
    # A folder that was there stays as it was
    assert [(root / name).stat().st_uid for name in ("opt/app", "opt/app/bin")] == [0, 1234]
    assert (root / "etc/link").read_text() == (root / "etc/folder-link").read_text() == "a file now\n"
    assert (root / "srv/target").read_text() == "safe\n"
    assert not list(root.rglob("*.build-new*")) and not list(root.rglob(".build-new*"))


def test_a_file_may_have_the_longest_name_that_there_is(root: Path) -> None:
    put(root, entry(f"/opt/{'n' * 255}", content="x\n"))
    assert [path.name for path in (root / "opt").iterdir()] == ["n" * 255]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry("/etc/ssh", content="x"), "/etc/ssh is a folder"),
        (entry("/etc/x", content="x", owner="nobody-of-that-name"), "nobody-of-that-name"),
    ],
)
def test_a_file_that_can_not_be_put_fails_the_step(root: Path, bad: dict[str, str], message: str) -> None:
    with pytest.raises(BuildError) as caught:
        put(root, bad)
    assert caught.value.code == "step-failed"
    assert message in (caught.value.detail or "")


USERS = [
    {"name": "svc", "system": True},
    {"name": "eve", "uid": 1500, "groups": ["postgres", "shadow"], "sshKeys": ["ssh-ed25519 AAAA it's"], "sudo": True,
     "comment": "Eve E", "shell": "/bin/sh"},
    {"name": "app", "sshKeys": ["ssh-ed25519 BBBB", "ssh-ed25519 CCCC"]},
    {"name": "root", "sshKeys": ["ssh-ed25519 DDDD"]},
    {"name": "web", "home": "/srv/deep/web"},
]  # fmt: skip


def _accounts(root: Path) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split(":") for line in (root / "etc/passwd").read_text().splitlines()}


def test_users(shadow_root: Path) -> None:
    for _ in range(2):
        lines = execute(shadow_root, users.script({"users": USERS}, FACTS, {}))
    assert "user eve is there already" in lines
    accounts = _accounts(shadow_root)
    assert accounts["eve"][2:] == ["1500", "1500", "Eve E", "/home/eve", "/bin/sh"]
    assert int(accounts["svc"][2]) < 1000 and accounts["svc"][6].endswith("nologin")
    assert not (shadow_root / "home/svc").exists()
    assert (shadow_root / "srv/deep/web").is_dir()
    groups = {line.split(":")[0]: line.split(":")[3] for line in (shadow_root / "etc/group").read_text().splitlines()}
    assert groups["postgres"] == groups["shadow"] == "eve"
    shadow = {line.split(":")[0]: line.split(":")[1] for line in (shadow_root / "etc/shadow").read_text().splitlines()}
    assert shadow["eve"] == shadow["svc"] == "*"
    keys = shadow_root / "home/app/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 BBBB\nssh-ed25519 CCCC\n"
    assert (stat.S_IMODE(keys.stat().st_mode), keys.stat().st_uid) == (0o600, 1001)
    assert (stat.S_IMODE(keys.parent.stat().st_mode), keys.parent.stat().st_uid) == (0o700, 1001)
    assert (shadow_root / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 DDDD\n"
    sudo = shadow_root / "etc/sudoers.d/90-build-eve"
    assert sudo.read_text() == "eve ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert stat.S_IMODE(sudo.stat().st_mode) == 0o440


def test_a_user_that_exists_is_changed(shadow_root: Path) -> None:
    postgres = {"name": "postgres", "shell": "/bin/bash", "comment": "DB"}
    lines = execute(shadow_root, users.script({"users": [postgres]}, FACTS, {}))
    assert lines == ["changed user postgres"]
    assert _accounts(shadow_root)["postgres"][4:] == ["DB", "/var/lib/postgresql", "/bin/bash"]


def test_a_group_that_does_not_exist_is_named(shadow_root: Path) -> None:
    with pytest.raises(BuildError) as caught:
        execute(shadow_root, users.script({"users": [{"name": "eve", "groups": ["docker"]}]}, FACTS, {}))
    assert "docker" in (caught.value.detail or "")


def test_services_by_openrc(root: Path) -> None:
    """A stand-in for rc-update with its contract: it links a service into a runlevel."""
    write(root, {
        "/etc/init.d/sshd": "#!/bin/sh\n", "/etc/init.d/crond": "#!/bin/sh\n",
        "/usr/sbin/rc-update": RC_UPDATE,
        "/etc/runlevels/boot/crond": "",
    })  # fmt: skip
    for path in ("etc/init.d/sshd", "etc/init.d/crond", "usr/sbin/rc-update"):
        (root / path).chmod(0o755)
    execute(root, services.script({"enable": ["sshd"], "disable": ["crond"]}, FACTS, {}))
    assert (root / "etc/runlevels/default/sshd").is_symlink()
    assert not (root / "etc/runlevels/boot/crond").exists()
    for verb, name, message in (("enable", "nope", "no service nope"), ("mask", "sshd", "no masked services")):
        with pytest.raises(BuildError) as caught:
            execute(root, services.script({verb: [name]}, FACTS, {}))
        assert message in (caught.value.detail or "")


def test_without_a_service_manager(root: Path) -> None:
    with pytest.raises(BuildError) as caught:
        execute(root, services.script({"enable": ["x"]}, FACTS, {}))
    assert "neither systemd nor OpenRC" in (caught.value.detail or "")


def test_what_is_not_installed_is_not_removed(root: Path) -> None:
    """The list given to the manager holds only what is there, whatever the shell."""
    write(root, {
        "/usr/bin/dpkg-query": DPKG_QUERY,
        "/usr/bin/apt-get": '#!/bin/sh\necho "apt-get ran: $*" | sed "s/ -o [^ ]*//g"\n',
    })  # fmt: skip
    for name in ("dpkg-query", "apt-get"):
        (root / "usr/bin" / name).chmod(0o755)
    removing = {"upgrade": False, "install": [], "remove": ["telnet", "jq", "gone", "rc"]}
    lines = execute(root, packages_script(removing, FACTS, {}))
    assert lines == [
        "telnet is not installed: nothing to remove",
        "gone is not installed: nothing to remove",
        "apt-get ran: -q -y purge -- jq rc",
    ]
    removing["remove"] = ["telnet"]
    assert len(execute(root, packages_script(removing, FACTS, {}))) == 1
