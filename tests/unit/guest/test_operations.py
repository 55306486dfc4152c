"""The table of generalize operations, its choice, its script and its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builder.errors import BuildError, Place
from builder.guest import generalize, operations_reference
from builder.guest.actions import Delete, DropLines, Empty
from builder.guest.generalize_script import glob_words, render_script
from builder.guest.operation import LAST
from builder.guest.operations import all_operations, applicable, families, selected
from builder.guest.operations_table import NOT_COVERED, OPERATIONS
from builder.model.canonical import digest
from builder.model.spec import GeneralizeSpec
from tests.planted import PLANTED
from tests.unit.guest.images import entry, make_image

ROOT = Path(__file__).parents[3]


def _words(text: str) -> list[str]:
    return text.split()


VIRT_SYSPREP = _words("""
abrt-data backup-files bash-history blkid-tab ca-certificates crash-data cron-spool customize dhcp-client-state
dhcp-server-state dovecot-data firewall-rules flag-reconfiguration fs-uuids ipa-client kerberos-data
kerberos-hostkeytab logfiles lvm-system-devices lvm-uuids machine-id mail-spool net-hostname net-hwaddr net-nmconn
pacct-log package-manager-cache pam-data passwd-backups puppet-data-log rh-subscription-manager rhn-systemid rpm-db
samba-db-log script smolt-uuid ssh-hostkeys ssh-userdir sssd-db-log tmp-files udev-persistent-net user-account utmp
yum-uuid zsh-history
""")
OTHERS = {
    "waagent": "stop-service host-keys dhcp hostname root-password state logs history resolv-conf user firewall "
    "accounting",
    "cloud-init": "instance clean.d logs seed machine-id network ssh_config fstab datasource",
    "mkosi": "machine-id dbus-machine-id random-seed credential-secret machine-info package-metadata",
}


def test_every_operation_of_the_peers_has_its_place() -> None:
    theirs = {f"virt-sysprep:{name}" for name in VIRT_SYSPREP}
    theirs |= {f"{tool}:{name}" for tool, names in OTHERS.items() for name in names.split()}
    ours = {peer for item in OPERATIONS for peer in item.covers}
    assert len(VIRT_SYSPREP) == 45
    assert ours | set(NOT_COVERED) == theirs
    assert not ours & set(NOT_COVERED)


def test_what_is_removed_from_homes_has_a_name_of_its_own() -> None:
    """Daemons are at home in / and in folders of the system: `~/*` or `~/bin` would be those of the system."""
    rest = [path for item in all_operations() for action in item.actions for path in _paths(action) if "~" in path]
    assert len(rest) > 10
    for path in rest:
        first = path.removeprefix("~/").split("/")[0]
        assert re.fullmatch(r"\.[a-z_-]+", first), path
        # Folders that programs share: only what is named in them
        assert path not in ("~/.config", "~/.cache", "~/.local", "~/.local/share", "~/.local/state"), path


def _paths(action: object) -> tuple[str, ...]:
    return (*getattr(action, "paths", ()), *getattr(action, "folders", ()), *getattr(action, "roots", ()))


# The coverage table: what somebody leaves behind must be in the default set
COVERAGE = _words("""
/etc/ssh/ssh_host_ed25519_key /etc/machine-id /var/lib/dbus/machine-id /var/lib/systemd/random-seed
/var/lib/systemd/credential.secret /etc/machine-info /var/lib/cloud/data/instance-id /var/lib/waagent/0A1B.prv
/var/log/azure/agent/x.log /var/log/waagent.log /etc/hostname /etc/resolv.conf /var/lib/dhcp/dhclient.eth0.leases
/var/lib/NetworkManager/internal-1-eth0.lease /var/lib/NetworkManager/secret_key /var/lib/NetworkManager/seen-bssids
/etc/netplan/50-cloud-init.yaml /etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection
/etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/waagent /home/azureuser/notes /root/.ssh/authorized_keys
/root/.bash_history /home/app/.zsh_history /home/app/.python_history /home/app/.viminfo /home/app/.lesshst
/home/app/.wget-hsts /etc/shadow /var/log/unattended-upgrades/unattended-upgrades.log /tmp/.hidden /var/tmp/y
/var/cache/apt/archives/nginx_1_amd64.deb /var/lib/apt/lists/deb.debian.org_InRelease /var/cache/apt/pkgcache.bin
/etc/iscsi/initiatorname.iscsi /etc/ssl/private/ssl-cert-snakeoil.key /etc/lvm/devices/system.devices
""")


def test_the_coverage_table_is_in_the_default_set() -> None:
    planted = {path for item in selected() for path in PLANTED[item.id]}
    assert set(COVERAGE) <= planted


def test_the_table_is_sound() -> None:
    names = [item.id for item in OPERATIONS]
    assert len(set(names)) == len(names)
    assert set(PLANTED) == set(names)
    for item in OPERATIONS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", item.id)
        assert item.actions
        assert item.default != item.reason.startswith("off: "), item.id
        assert item.order <= LAST
        for action in item.actions:
            for path in getattr(action, "paths", ()) or getattr(action, "folders", ()):
                assert path.startswith(("/", "~/")), path
                assert path.strip("/") not in ("", "etc", "var", "usr", "home", "root", "*"), path
            if isinstance(action, DropLines):
                re.compile(action.pattern.replace("[[:space:]]", r"\s"))


def test_the_machine_id_is_last() -> None:
    assert [item.id for item in all_operations() if item.order == LAST] == ["machine-id"]
    assert all_operations()[-1].id == selected()[-1].id == "machine-id"
    # Account files are copied aside when users are removed; provisioning's record names those users
    order = [item.id for item in all_operations()]
    for before, after in (("provisioned-user", "waagent-state"), ("root-password", "passwd-backups"),
                          ("provisioned-user", "cloud-init-sudoers"), ("cloud-init-clean-hooks", "logs")):  # fmt: skip
        assert order.index(before) < order.index(after)


def test_choosing() -> None:
    names = {item.id for item in selected()}
    assert names == {item.id for item in OPERATIONS if item.default}
    assert {item.id for item in selected(skip=["ssh-userdir"])} == names - {"ssh-userdir"}
    assert {item.id for item in selected(add=["user-account"])} == names | {"user-account"}


@pytest.mark.parametrize(
    ("choice", "code", "hint"),
    [
        ({"skip": ["ssh-host-keys"]}, "unknown-operation", "did you mean 'ssh-hostkeys'?"),
        ({"add": ["qwxz"]}, "unknown-operation", "`build generalize --list` shows them all"),
        ({"skip": ["user-account"]}, "operation-off", "remove it from `skip`"),
        ({"keep": ["machine-id"]}, "keep-path", "`keep` takes paths in the image; names of operations go into `skip`"),
    ],
)
def test_a_choice_that_protects_nothing_is_an_error(choice: dict[str, list[str]], code: str, hint: str) -> None:
    with pytest.raises(BuildError) as caught:
        selected(**choice)
    assert (caught.value.code, caught.value.hint) == (code, hint)


def test_families() -> None:
    assert families({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}) == {"rhel"}
    assert families({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}) == {"debian"}
    assert families({"ID": "unheard-of"}) == frozenset()
    rhel = {item.id for item in applicable(OPERATIONS, {"ID": "rhel"})}
    assert "net-hwaddr" in rhel and "snakeoil-certificate" not in rhel
    assert "net-hwaddr" not in {item.id for item in applicable(OPERATIONS, {"ID": "debian"})}


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("/etc/a b/*.key", "'/etc/a b/'*.key"),
        ("~/.ssh", '"${home%/}"/.ssh'),
        ("/x/[!.]*", "/x/[!.]*"),
        ("/it's/$HOME", "'/it'\"'\"'s/$HOME'"),
        ("/x;reboot", "'/x;reboot'"),
    ],
)
def test_globs_are_words_of_sh(pattern: str, word: str) -> None:
    assert glob_words(pattern) == word


def test_the_script_has_a_block_for_each_operation_in_order() -> None:
    text = render_script(all_operations(), ["/keep me"], ["app"])
    assert re.findall(r"^    begin (\S+)$", text, re.MULTILINE) == [item.id for item in all_operations()]
    assert "spec_users=app\n" in text
    assert "'/keep me' | '/keep me'/*) return 0" in text


def test_what_the_script_does_has_a_version() -> None:
    """Another script makes another image: raise VERSION in builder.guest.generalize, then take the new digest here."""
    assert (generalize.VERSION, digest(render_script(all_operations()))) == (3, SCRIPT_DIGEST)


SCRIPT_DIGEST = "sha256:91570e810f8e8ae119fb234142541330f62cf6649f1c725c67ad4c08f178a75d"


def test_what_the_spec_puts_into_the_image_is_kept(tmp_path: Path) -> None:
    image = make_image(
        tmp_path,
        [
            entry(
                "files", 0, files=[{"path": "/etc/hostname", "content": "x"}, {"path": "/var/log/a[1]*", "content": ""}]
            ),
            entry("users", 1, users=[{"name": "app", "sshKeys": ["ssh-ed25519 A"]}, {"name": "eve"}]),
        ],
        generalize=GeneralizeSpec(keep=("/opt/*",), skip=("hostname",), add=("user-account",)),
    )
    step = generalize.generalize_step(image)
    assert step.inputs["keep"] == [
        "/etc/hostname", "/home/app/.ssh/authorized_keys", "/opt/*", "/var/log/a[[]1][*]", "~app/.ssh/authorized_keys",
    ]  # fmt: skip
    assert step.inputs["users"] == ["app", "eve"]
    assert step.title == "generalize (without hostname, with user-account)"
    assert "hostname" not in step.inputs["operations"] and "user-account" in step.inputs["operations"]
    # Nothing that is lost: a plan must not show it as a deletion
    assert [(change.action, change.kind, change.name) for change in step.changes] == [
        ("clear", "identity", "of this machine")
    ]
    assert json.loads(json.dumps(step.inputs)) == step.inputs
    script = generalize.script(dict(step.inputs), {"ID": "debian"})
    assert script.interpreter == ("/bin/sh", "-u")
    assert "begin iscsi-initiator\n" in script.text and "begin net-hwaddr\n" not in script.text


def test_a_specialized_image_has_no_such_step(tmp_path: Path) -> None:
    assert generalize.steps(make_image(tmp_path, generalize=None)) == []


def test_a_wrong_name_has_its_place(tmp_path: Path) -> None:
    image = make_image(
        tmp_path, generalize=GeneralizeSpec(skip=("nope",)), places={("generalize",): Place("images/web.yaml", 9, 3)}
    )
    with pytest.raises(BuildError) as caught:
        generalize.generalize_step(image)
    assert caught.value.where == Place("images/web.yaml", 9, 3)


def test_the_page_is_current() -> None:
    """Refresh it with `build generalize --list --format markdown > docs/generalize.md`."""
    assert (ROOT / "docs/generalize.md").read_text(encoding="utf-8") == operations_reference.markdown()


def test_the_schema_knows_the_operations() -> None:
    schema = json.loads((ROOT / "schemas/image.schema.json").read_text(encoding="utf-8"))
    properties = schema["properties"]["generalize"]["properties"]
    names = sorted(item.id for item in OPERATIONS)
    assert properties["skip"]["items"]["enum"] == names
    assert properties["add"]["items"]["enum"] == names


def test_actions_tell_what_they_do() -> None:
    assert Delete(("/a", "/b")).describe() == "deletes `/a`, `/b`"
    assert Empty(("/a",), folders_stay=True).describe() == "deletes the files below `/a`"
