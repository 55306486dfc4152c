"""A bootable Debian comes out ready; broken in many ways, each is named; `--fix` mends what it says on a copy."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.disk.layers import DiskLayer
from builder.disk.system import opened_system
from builder.guest.inspection.disk_file import as_layer, look_at
from builder.guest.inspection.initramfs import module_names
from builder.guest.inspection.inspecting import inspect_disk

GRUBENV = "# GRUB Environment Block\n"
# A file name in a guest that would clear the screen of a terminal
HOSTILE = "a\x1b[2Jb.bak"


def broken(root: Path) -> None:
    """What people do to images, all at once."""
    etc = root / "etc"
    fstab = (etc / "fstab").read_text()
    first, rest = fstab.split(" ", 1)
    assert first.startswith("UUID=")
    missing = "UUID=99999999-9999-4999-8999-999999999999 /srv/gone ext4 defaults 0 2\n/swapfile none swap sw 0 0\n"
    (etc / "fstab").write_text(f"/dev/sda1 {rest}{missing}")
    menu = root / "boot/grub/grub.cfg"
    # No serial console; the root by the kernel's name
    text = menu.read_text().replace(f"root={first}", "root=/dev/sda1").replace("console=ttyS0,115200", "")
    menu.write_text(text)
    # Entries as other distributions have them
    (root / "boot/loader/entries").mkdir(parents=True)
    (root / "boot/loader/entries/own-6.1.conf").write_text("title Linux\noptions root=/dev/sda1 ro\n")
    (root / "boot/loader/entries/variable-6.1.conf").write_text("title Linux\noptions $kernelopts\n")
    (root / "boot/extlinux.conf").write_text("LABEL linux\n  APPEND root=/dev/vda1 quiet\n")
    (root / "boot/grub/grubenv").write_text(f"{GRUBENV}kernelopts=root=/dev/nvme0n1p1 ro\n".ljust(1024, "#"))
    (etc / "kernel").mkdir(exist_ok=True)
    (etc / "kernel/cmdline").write_text("root=/dev/sda1 quiet\n")
    empty_initramfs(root, next((root / "boot").glob("initrd.img-*")))
    (etc / "systemd/system/multi-user.target.wants/walinuxagent.service").unlink()
    (etc / "systemd/system/multi-user.target.wants/ssh.service").unlink()
    (etc / "systemd/system/sshd.service").unlink(missing_ok=True)
    (etc / "cloud/cloud.cfg.d/95-other.cfg").write_text("datasource_list: [ NoCloud, None ]\n")
    agent = (etc / "waagent.conf").read_text().replace("ResourceDisk.EnableSwap=n", "ResourceDisk.EnableSwap=y")
    (etc / "waagent.conf").write_text(agent)
    (etc / "udev/rules.d/70-persistent-net.rules").write_text("# nothing\n")
    (etc / "modprobe.d/hardening.conf").write_text("install udf /bin/true\n")
    (etc / "ssh/ssh_host_ed25519_key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (etc / HOSTILE).write_text("")


def empty_initramfs(root: Path, path: Path) -> None:
    """Replace an initramfs by one with a single file that is no module."""
    command = ["cpio", "-o", "-H", "newc"]
    archive = subprocess.run(command, input=b"etc/fstab\n", cwd=root, check=True, capture_output=True).stdout
    with gzip.open(path, "wb") as file:
        file.write(archive)


@pytest.fixture(scope="module")
def broken_debian(debian_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    disk = folder / "debian.qcow2"
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(debian_base), str(disk)], check=True)
    disk.chmod(0o600)
    with opened_system([DiskLayer(disk)], folder=folder, writable=True) as system:
        broken(system.root)
    return disk


def test_a_bootable_debian_is_ready_but_for_its_format(debian_base: Path) -> None:
    found = inspect_disk(debian_base)
    assert [(item.rule, item.severity) for item in found.findings] == [
        ("disk-format", "error"),
        ("left-over", "warning"),
    ]
    assert found.left_out == ()
    assert found.facts["starts as"] == "Generation 1 and Generation 2"
    assert found.facts["state"] == "generalized"
    assert found.facts["system"] == "Debian GNU/Linux 12 (bookworm) (x64)"


EXPECTED = {
    "disk-format": "qcow2",
    "fstab-device-name": "/ is mounted from /dev/sda1",
    "fstab-missing": "UUID=99999999-9999-4999-8999-999999999999 for /srv/gone",
    "boot-root-name": "root=/dev/",
    "boot-console": "no console=ttyS0",
    "driver-storage": "hv_storvsc",
    "driver-media": "udf",
    "cloud-init-datasource": "NoCloud, None",
    "agent-missing": "not enabled",
    "resource-disk": "ResourceDisk.EnableSwap=y",
    "swap-on-os-disk": "/swapfile",
    "ssh": "not enabled",
    "network-stale": "names one machine's card",
    "identity-left": "1 thing is left",
    "left-over": "things are left",
}
ENTRIES = ("boot/loader/entries/own-6.1.conf", "boot/extlinux.conf", "boot/grub/grubenv", "etc/kernel/cmdline")
MENDED = {"disk-format", "fstab-device-name", "boot-root-name", "boot-console", "driver-storage"}


def test_each_fault_is_named_and_mended_on_a_copy(
    broken_debian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = broken_debian.stat()
    target = tmp_path / "fixed.vhd"
    code = invoke(["inspect", str(broken_debian), "--fix", "--output", str(target), "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    found = {item["rule"]: item for item in report["findings"]}
    assert {name: text in found[name]["message"] for name, text in EXPECTED.items()} == dict.fromkeys(EXPECTED, True)
    assert set(found) == set(EXPECTED)
    places = [item["place"] for item in report["findings"] if item["rule"] == "boot-root-name"]
    assert places == [
        "/boot/extlinux.conf",
        "/boot/grub/grub.cfg",
        "/boot/loader/entries/own-6.1.conf",
        "/boot/loader/entries/variable-6.1.conf",
    ]
    assert set(report["fixed"]["mended"]) == MENDED
    assert report["fixed"]["failed"] == []
    assert {item["rule"] for item in report["fixed"]["findings"]} == set(EXPECTED) - MENDED
    assert code == 1, "what can't be mended remains"
    assert (broken_debian.stat().st_mtime_ns, broken_debian.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.vhd"]
    with opened_copy(target, tmp_path / "work") as root:
        fstab = (root / "etc/fstab").read_text()
        menu = (root / "boot/grub/grub.cfg").read_text()
        entries = [(root / name).read_text() for name in ENTRIES]
        again = (root / "etc/default/grub.d/95-azure-console.cfg").read_text()
    identity = fstab.split()[0]
    assert identity.startswith("UUID=")
    assert f"root={identity} ro" in menu
    assert menu.count("console=ttyS0,115200") == 1
    for text in entries:
        assert "/dev/" not in text
        assert f"root={identity}" in text
        assert "console=tty1 console=ttyS0,115200" in text
    assert "console=ttyS0,115200" in again


@pytest.fixture
def dracut_debian(debian_base: Path, tmp_path: Path) -> Path:
    """A disk whose initramfs is dracut's, by the name that Fedora gives it, and lacks Hyper-V's drivers."""
    package = tmp_path / "package"
    package.mkdir()
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", "dracut-core"]
    subprocess.run(command, cwd=package, check=True, capture_output=True)
    disk = tmp_path / "debian.qcow2"
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(debian_base), str(disk)], check=True)
    disk.chmod(0o600)
    with opened_system([DiskLayer(disk)], folder=tmp_path, writable=True) as system:
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", next(package.iterdir())], check=True, capture_output=True)
        # /lib is a link there
        unpack = ["tar", "-x", "--keep-directory-symlink", "-C", str(system.root)]
        subprocess.run(unpack, input=files.stdout, check=True)
        (system.root / "usr/sbin/update-initramfs").unlink()
        (old,) = (system.root / "boot").glob("initrd.img-*")
        empty_initramfs(system.root, old.rename(old.with_name(f"initramfs-{old.name.removeprefix('initrd.img-')}.img")))
    return disk


def test_an_initramfs_of_dracut_gets_its_drivers(
    dracut_debian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fixed.vhd"
    invoke(["inspect", str(dracut_debian), "--fix", "--output", str(target), "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    before = {item["rule"] for item in report["findings"]}
    after = {item["rule"] for item in report["fixed"]["findings"]}

    assert "driver-storage" in before
    assert report["fixed"]["failed"] == []
    assert "driver-storage" in report["fixed"]["mended"]
    assert not {rule for rule in after if rule.startswith(("driver-", "initramfs-"))}
    with opened_copy(target, tmp_path / "work") as root:
        (made,) = (root / "boot").glob("initramfs-*.img")
        with made.open("rb") as file:
            modules = module_names(file)
        settings = (root / "etc/dracut.conf.d/50-azure.conf").read_text()
    assert {"hv_vmbus", "hv_storvsc", "hv_netvsc"} <= modules
    assert "hv_storvsc" in settings, "the next kernel's initramfs has them too"


@contextmanager
def opened_copy(vhd: Path, work: Path) -> Iterator[Path]:
    work.mkdir()
    with opened_system([as_layer(look_at(vhd), work)], folder=work, writable=False) as system:
        yield system.root


def test_what_a_disk_says_cannot_drive_the_terminal(broken_debian: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["inspect", str(broken_debian)]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"a\x1b[2Jb.bak" in text


def test_an_output_that_exists_is_left_alone(
    broken_debian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    assert invoke(["inspect", str(broken_debian), "--fix", "--output", str(target)]) == 1
    assert "output-exists" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]
    assert invoke(["inspect", str(broken_debian), "--fix", "--output", str(tmp_path / "gone/x.vhd")]) == 1
    assert f"error[output-folder]: there is no folder {tmp_path / 'gone'}" in capsys.readouterr().err
