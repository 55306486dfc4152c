"""A disk made of packages: what is on it, and that both generations of machines start from it."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import process
from builder.disk import layers
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts
from builder.disk.system import opened_system
from builder.errors import BuildError, Interrupted
from builder.machines.local.bootstrap import identifiers, make_base, resolve
from builder.model.spec import GIB, OsSpec
from tests.integration.conftest import package_sources
from tests.integration.left_overs import Left, left_in

# Under emulation, beside other work; a start takes about 40 s on an idle machine
BOOT_SECONDS = 900.0
INPUTS = resolve(OsSpec("linux", "debian", "12"), {})
LOCAL_FILE_SYSTEMS = r"Reached target .*(local-fs|Local File Systems)"
FIRMWARE = Path("/usr/share/OVMF")
EMULATOR = [
    "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-m", "1024",
    "-accel", "tcg,thread=multi", "-serial", "stdio", "-device", "virtio-rng-pci",
]  # fmt: skip


class Seen(Exception):
    """All that a boot had to show was seen."""


def boot(layer: Path, machine: list[str], expected: list[str]) -> None:
    """Start a machine from a throw-away layer until its console has shown all that is expected, in order."""
    missing = list(expected)
    console: list[str] = []

    def line(text: str) -> None:
        console.append(text)
        if missing and re.search(missing[0], text):
            missing.pop(0)
        if not missing:
            raise Seen

    drive = ["-drive", f"if=virtio,format=qcow2,file={layer}"]
    try:
        process.stream([*EMULATOR, *machine, *drive], on_line=line, timeout=BOOT_SECONDS)
    except Seen:
        return
    except process.CommandFailed as error:
        pytest.fail(f"{missing[0]!r} was never shown: {error.message}\n" + "\n".join(console[-30:]))
    pytest.fail(f"the machine stopped before {missing[0]!r}\n" + "\n".join(console[-30:]))


@pytest.fixture
def layer(debian_base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "boot.qcow2"
    layers.create(path, backing=debian_base)
    return path


def test_a_generation_1_machine_starts_to_the_login_prompt(layer: Path, tmp_path: Path) -> None:
    private_mounts()
    with opened_system([DiskLayer(layer)], folder=tmp_path, writable=True) as system:
        # Off Azure it would look for Azure for a minute before anyone may log in
        (system.root / "etc/cloud/cloud-init.disabled").touch()
    expected = [
        r"Linux version 6\.1",
        r"Command line: .*console=ttyS0,115200",
        LOCAL_FILE_SYSTEMS,
        # The line that getty prints right above its prompt
        r"Debian GNU/Linux 12 \S+ ttyS0",
    ]
    boot(layer, ["-machine", "pc"], expected)


def test_a_generation_2_machine_starts_with_secure_boot(layer: Path, tmp_path: Path) -> None:
    variables = tmp_path / "variables.fd"
    shutil.copyfile(FIRMWARE / "OVMF_VARS_4M.ms.fd", variables)
    machine = [
        "-machine", "q35,smm=on",
        "-global", "driver=cfi.pflash01,property=secure,value=on",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.secboot.fd",
        "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
    ]  # fmt: skip
    expected = [r"[Ss]ecure ?[Bb]oot( is)? enabled", LOCAL_FILE_SYSTEMS, r"Cloud-init v\. .* running 'init-local'"]
    boot(layer, machine, expected)


def test_the_disk_holds_nothing_of_this_host_and_no_identity(debian_base: Path, tmp_path: Path) -> None:
    private_mounts()
    with opened_system([DiskLayer(debian_base)], folder=tmp_path, writable=False) as system:
        root = system.root
        assert system.os_release["VERSION_CODENAME"] == "bookworm"
        assert (root / "etc/machine-id").read_text() == "uninitialized\n"
        assert (root / "etc/hostname").read_text() == "localhost\n"
        assert [path.name for path in (root / "etc/apt/sources.list.d").iterdir()] == ["debian.sources"]
        assert not (root / "etc/apt/sources.list").exists()
        assert sorted(path.name for path in (root / "etc/apt/apt.conf.d").iterdir()) == ["01autoremove", "70debconf"]
        assert list((root / "etc/dpkg/dpkg.cfg.d").iterdir()) == []
        assert str((root / "etc/resolv.conf").readlink()) == "../run/systemd/resolve/stub-resolv.conf"
        assert list((root / "etc/ssh").glob("ssh_host_*")) == []
        assert not (root / "usr/sbin/policy-rc.d").exists()
        assert not (root / "build-finish").exists()
        assert [path for path in (root / "var/log").rglob("*") if path.is_file() and not path.is_symlink()] == []
        shadow = dict(line.split(":")[:2] for line in (root / "etc/shadow").read_text().splitlines())
        assert set(shadow.values()) <= {"*", "!", "!*"}


def test_the_agent_leaves_provisioning_to_cloud_init(debian_base: Path, tmp_path: Path) -> None:
    private_mounts()
    with opened_system([DiskLayer(debian_base)], folder=tmp_path, writable=False) as system:
        lines = (system.root / "etc/waagent.conf").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line[:1].isalpha())
        assert settings["Provisioning.Agent"] == "cloud-init"
        assert settings["ResourceDisk.Format"] == "n"
        assert settings["ResourceDisk.EnableSwap"] == "n"
        root, esp, _ = identifiers(INPUTS)
        assert [line.split()[:2] for line in (system.root / "etc/fstab").read_text().splitlines()] == [
            [f"UUID={root}", "/"],
            [f"UUID={esp}", "/boot/efi"],
        ]


def test_free_space_is_really_free(debian_base: Path) -> None:
    assert layers.virtual_size(debian_base) == 30 * GIB
    assert debian_base.stat().st_blocks * 512 < 900 * 1024 * 1024
    layers.check(debian_base)


def make(
    target: Path,
    work: Path,
    *,
    packages: list[str],
    on_line: Callable[[str], None] = lambda line: None,
    stop: threading.Event | None = None,
) -> None:
    make_base(
        resolve(OsSpec("linux", "debian", "12"), {"packages": packages}),
        target,
        work=work,
        package_sources=package_sources("bookworm"),
        on_line=on_line,
        progress=lambda doing: None,
        stop=stop,
    )


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no-such-package") as caught:
        make(tmp_path / "base.qcow2", tmp_path, packages=["no-such-package"])
    assert caught.value.code == "bootstrap-failed"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_bootstrap_leaves_nothing(tmp_path: Path) -> None:
    stop = threading.Event()

    def line(text: str) -> None:
        if text.startswith("Unpacking"):
            stop.set()

    with pytest.raises(Interrupted):
        make(tmp_path / "base.qcow2", tmp_path, packages=[], on_line=line, stop=stop)
    assert list(tmp_path.iterdir()) == []
    assert left_in(tmp_path) == Left()
