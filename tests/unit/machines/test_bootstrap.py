"""What decides a base disk, and how it is asked for."""

import os
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.guest.apt_sources import parse_deb822
from builder.machines.local import bootstrap, bootstrap_files
from builder.machines.local.bootstrap import identifiers, image_sources, install_command, resolve
from builder.machines.local.bootstrap_files import BaseFacts, GuestFile
from builder.machines.local.distributions import DISTRIBUTIONS
from builder.model.canonical import canonical, digest
from builder.model.spec import GIB, MIB, OsSpec

BOOKWORM = OsSpec("linux", "debian", "12")


def test_the_same_request_gives_the_same_inputs_and_they_are_json() -> None:
    assert canonical(resolve(BOOKWORM, {})) == canonical(resolve(OsSpec("linux", "debian", "bookworm"), {"size": None}))


RELEASES = [
    ("debian", "11", "bullseye"),
    ("debian", "12", "bookworm"),
    ("debian", "13", "trixie"),
    ("ubuntu", "20.04", "focal"),
    ("ubuntu", "22.04", "jammy"),
    ("ubuntu", "24.04", "noble"),
]


@pytest.mark.parametrize(("distribution", "release", "suite"), RELEASES)
@pytest.mark.parametrize("architecture", ["x64", "arm64"])
def test_every_release_of_the_table_can_be_asked_for(
    distribution: str, release: str, suite: str, architecture: Any
) -> None:
    inputs = resolve(OsSpec("linux", distribution, release, architecture), {})
    assert (inputs["release"], inputs["suite"]) == (release, suite)
    assert inputs["packages"] == sorted(set(inputs["packages"]))
    assert {"cloud-init", "openssh-server", "systemd-sysv"} <= set(inputs["packages"])
    assert {"waagent", "walinuxagent"} & set(inputs["packages"])
    assert any(name.startswith(("linux-image-cloud", "linux-azure")) for name in inputs["packages"])


REFUSED: dict[str, tuple[OsSpec, dict[str, Any], str]] = {
    "no distribution": (OsSpec("linux"), {}, "os.distribution"),
    "unknown distribution": (OsSpec("linux", "gentoo", "1"), {}, "can't make gentoo"),
    "unknown release": (OsSpec("linux", "debian", "7"), {}, "doesn't know release 7 of debian"),
    "no release": (OsSpec("linux", "debian"), {}, "none given"),
    "unknown suite": (BOOKWORM, {"suite": "lenny"}, "doesn't know release lenny"),
    "arm64 by BIOS": (OsSpec("linux", "debian", "12", "arm64", 1), {}, "generation 1"),
    "half a MiB": (BOOKWORM, {"size": 30 * GIB + 512 * 1024}, "whole number of MiB"),
    "too small": (BOOKWORM, {"size": 512 * MIB}, "at least 2048"),
    "snapshot that is none": (BOOKWORM, {"snapshot": "yesterday"}, "not a snapshot"),
    "snapshot of Ubuntu": (OsSpec("linux", "ubuntu", "24.04"), {"snapshot": "20260101T000000Z"}, "not a snapshot"),
    "package that is an option": (BOOKWORM, {"packages": ["jq", "--foo"]}, "not names of packages: --foo"),
}


@pytest.mark.parametrize(("spec", "values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_made_is_refused(spec: OsSpec, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        resolve(spec, values)


@pytest.mark.parametrize(
    "values",
    [
        {"packages": ["jq"]},
        {"size": 8 * GIB},
        {"mirror": "http://mirror.example/debian"},
        {"components": ["main", "contrib"]},
        {"snapshot": "20260101T000000Z"},
        {"suite": "trixie"},
    ],
)
def test_every_value_makes_another_base(values: dict[str, Any]) -> None:
    plain, other = resolve(BOOKWORM, {}), resolve(BOOKWORM, values)
    assert digest(plain) != digest(other)
    assert not set(identifiers(plain)) & set(identifiers(other))


def test_another_way_of_making_it_makes_another_base(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resolve(BOOKWORM, {})
    bootstrap._recipe.cache_clear()
    monkeypatch.setattr(bootstrap_files, "KERNEL_PARAMETERS", {"x64": "quiet"})
    after = resolve(BOOKWORM, {})
    bootstrap._recipe.cache_clear()
    assert before["recipe"] != after["recipe"]


def test_the_image_uses_its_own_sources_and_a_mirror_that_the_spec_names() -> None:
    assert [source.uris for source in image_sources(resolve(BOOKWORM, {}))] == [
        ("http://deb.debian.org/debian",),
        ("http://deb.debian.org/debian-security",),
    ]
    noble = resolve(OsSpec("linux", "ubuntu", "24.04"), {})
    assert noble["mirror"] == "http://archive.ubuntu.com/ubuntu"
    assert image_sources(noble)[0].uris == ("http://azure.archive.ubuntu.com/ubuntu",)
    named = resolve(BOOKWORM, {"mirror": "http://mirror.example/debian"})
    assert image_sources(named)[0].uris == ("http://mirror.example/debian",)


def test_a_snapshot_is_used_whatever_the_package_sources() -> None:
    inputs = resolve(BOOKWORM, {"snapshot": "20260101T000000Z"})
    for package_sources in ("host", "image"):
        sources = parse_deb822(bootstrap.build_sources(inputs, package_sources))
        assert [source.uris for source in sources] == [
            ("http://snapshot.debian.org/archive/debian/20260101T000000Z/",),
            ("http://snapshot.debian.org/archive/debian-security/20260101T000000Z/",),
        ]
        assert all(source.options["Check-Valid-Until"] == "no" for source in sources)


def test_the_image_s_own_sources_have_all_pockets() -> None:
    sources = parse_deb822(bootstrap.build_sources(resolve(BOOKWORM, {}), "image"))
    assert [suite for source in sources for suite in source.suites] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]


def test_mmdebstrap_is_asked_for_the_suite_and_its_packages(tmp_path: Path) -> None:
    inputs = resolve(OsSpec("linux", "ubuntu", "24.04"), {"packages": ["jq"]})
    folder = tmp_path / "a folder"
    command = install_command(inputs, folder)
    options = dict(word.split("=", 1) for word in command if word.startswith("--") and "=" in word)
    assert options["--architectures"] == "amd64"
    assert options["--include"].split(",") == inputs["packages"]
    assert "jq" in inputs["packages"]
    assert "linux-azure" in inputs["packages"]
    assert command[-3:] == ["noble", str(folder / "tree"), str(folder / "build.sources")]
    # mmdebstrap splits its special hooks into words: a folder with a space stays one
    assert f"--essential-hook=tar-in '{folder}/early.tar' /" in command


def test_a_foreign_architecture_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    inputs = resolve(OsSpec("linux", "debian", "12", "arm64"), {})
    with pytest.raises(BuildError, match="can't run the programs of an arm64 image"):
        bootstrap.make_base(
            inputs,
            tmp_path / "base.qcow2",
            work=tmp_path,
            package_sources="image",
            on_line=lambda line: None,
            progress=lambda doing: None,
            stop=None,
        )
    assert list(tmp_path.iterdir()) == []


def files_of(distribution: str, architecture: str) -> dict[str, GuestFile]:
    facts = BaseFacts(DISTRIBUTIONS[distribution], architecture, "0f0e-root", "1A2B-3C4D", ())
    return {item.path: item for item in bootstrap_files.files(facts)}


@pytest.mark.parametrize("architecture", ["x64", "arm64"])
@pytest.mark.parametrize(("distribution", "links"), [("debian", ""), ("ubuntu", "/boot")])
def test_the_menu_starts_the_newest_kernel_on_the_serial_console(
    distribution: str, links: str, architecture: str
) -> None:
    guest = files_of(distribution, architecture)
    menu = guest["boot/grub/grub.cfg"].text
    terminal = bootstrap_files.SERIAL_TERMINALS[architecture]
    [linux] = [line.split() for line in menu.splitlines() if line.startswith("    linux ")]
    assert linux[1:4] == [f"{links}/vmlinuz", "root=UUID=0f0e-root", "ro"]
    assert f"console={terminal},115200" in linux
    assert f"    initrd {links}/initrd.img\n" in menu
    # initramfs-tools sleeps for all of it
    assert "rootdelay" not in menu
    assert guest["etc/grub.d/09_current_kernel"].mode == 0o755
    assert "$GRUB_CMDLINE_LINUX" in guest["etc/grub.d/09_current_kernel"].text


def test_disks_are_named_by_what_does_not_change() -> None:
    lines = files_of("debian", "x64")["etc/fstab"].text.splitlines()
    assert [line.split()[:2] for line in lines] == [["UUID=0f0e-root", "/"], ["UUID=1A2B-3C4D", "/boot/efi"]]


def test_the_machine_has_no_identity_yet() -> None:
    assert files_of("debian", "x64")["etc/machine-id"].text == "uninitialized\n"


def test_archives_hold_files_of_root_only(tmp_path: Path) -> None:
    import tarfile

    bootstrap_files.write_tar(tmp_path / "late.tar", list(files_of("debian", "x64").values()))
    with tarfile.open(tmp_path / "late.tar") as archive:
        members = archive.getmembers()
    assert all((member.uid, member.gid, member.isfile()) == (0, 0, True) for member in members)
    assert not any(member.name.startswith("/") or ".." in member.name for member in members)
