"""Windows disks: a real NTFS, written by ntfs-3g, with real hives, written by hivexsh."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.disk.mounts import loop_device, unmount
from builder.disk.partitions import TYPE_EFI_SYSTEM, GptPartition, write_gpt
from builder.disk.vhd import make_footer
from builder.guest.inspection.inspecting import inspect_disk
from builder.guest.inspection.rules import Inspection
from builder.guest.inspection.windows import GENERALIZED, STATE, VERSION
from tests.integration.guest.inspection.hives import Values, write_hive

MIB = 1024 * 1024
BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
SIZE = 64 * MIB
EFI = GptPartition(1, MIB, 34 * MIB, TYPE_EFI_SYSTEM)
NTFS = GptPartition(2, 36 * MIB, 26 * MIB, BASIC_DATA)
SERVICES = r"ControlSet001\Services"

SOFTWARE: Mapping[str, Values] = {
    STATE: {"ImageState": GENERALIZED},
    VERSION: {"ProductName": "Windows Server 2022 Datacenter", "CurrentBuild": "20348"},
}
SYSTEM: Mapping[str, Values] = {
    "Select": {"Current": 1},
    r"Setup\Status\SysprepStatus": {"GeneralizationState": 7},
    **{rf"{SERVICES}\{name}": {"Start": 0} for name in ("vmbus", "storvsc")},
    rf"{SERVICES}\netvsc": {"Start": 3},
    **{rf"{SERVICES}\{name}": {"Start": 2} for name in ("RdAgent", "WindowsAzureGuestAgent", "TermService")},
    rf"{SERVICES}\cdrom": {"Start": 1},
    r"ControlSet001\Control\Terminal Server": {"fDenyTSConnections": 0},
    r"ControlSet001\Control\TimeZoneInformation": {"RealTimeIsUniversal": 1},
}
BROKEN_SOFTWARE: Mapping[str, Values] = {
    STATE: {"ImageState": "IMAGE_STATE_UNDEPLOYABLE"},
    r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending": {},
}
BROKEN_SYSTEM: Mapping[str, Values] = {
    "Select": {"Current": 2},
    r"ControlSet002\Services\vmbus": {"Start": 4},
    # What is right in a control set that isn't used doesn't count
    r"ControlSet001\Services\storvsc": {"Start": 0},
    r"ControlSet002\Services\Tcpip\Parameters\PersistentRoutes": {"10.0.0.0,255.0.0.0,10.1.0.1,1": ""},
}


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk as Windows Setup lays it out: an EFI system partition with a loader, and an empty NTFS."""
    raw = tmp_path_factory.mktemp("windows") / "blank.raw"
    write_gpt(raw, SIZE, [EFI, NTFS])
    image = f"{raw}@@{EFI.start}"
    subprocess.run(
        ["mformat", "-i", image, "-T", str(EFI.size // 512), "-h", "255", "-s", "63", "-F", "::"], check=True
    )
    subprocess.run(["mmd", "-i", image, "::/EFI", "::/EFI/Boot", "::/EFI/Microsoft"], check=True)
    subprocess.run(["mcopy", "-i", image, "-", "::/EFI/Boot/bootx64.efi"], input=b"MZ", check=True)
    with loop_device(raw, offset=NTFS.start, size=NTFS.size) as device:
        subprocess.run(["mkntfs", "-Q", "-q", "-F", "-p", "0", "-H", "0", "-S", "0", str(device)],
                       check=True, capture_output=True)  # fmt: skip
    return raw


def windows_disk(blank: Path, disk: Path, files: Mapping[str, bytes]) -> Path:
    """The blank disk with files in its NTFS, as a fixed VHD."""
    shutil.copyfile(blank, disk)
    mount = disk.with_suffix(".mount")
    mount.mkdir()
    with loop_device(disk, offset=NTFS.start, size=NTFS.size) as device:
        subprocess.run(["ntfs-3g", str(device), str(mount)], check=True)
        try:
            for name, content in files.items():
                (mount / name).parent.mkdir(parents=True, exist_ok=True)
                (mount / name).write_bytes(content)
        finally:
            unmount(mount)
    with disk.open("r+b") as file:
        file.seek(SIZE)
        file.write(make_footer(SIZE, content_digest="windows"))
    return disk


def hives(folder: Path, software: Mapping[str, Values], system: Mapping[str, Values]) -> dict[str, bytes]:
    found = {}
    for name, keys in (("SOFTWARE", software), ("SYSTEM", system)):
        write_hive(folder / name, keys)
        found[f"Windows/System32/config/{name}"] = (folder / name).read_bytes()
    return found


def rules(inspection: Inspection) -> list[str]:
    return [finding.rule for finding in inspection.findings]


def test_a_generalized_windows_is_ready(tmp_path: Path, blank: Path) -> None:
    disk = windows_disk(blank, tmp_path / "disk.vhd", hives(tmp_path, SOFTWARE, SYSTEM))
    content = disk.read_bytes()
    found = inspect_disk(disk, wanted="generalized")
    assert found.findings == ()
    assert found.left_out == ()
    assert found.facts["system"] == "Windows Server 2022 Datacenter (build 20348)"
    assert found.facts["state"] == "generalized"
    assert found.facts["starts as"] == "Generation 2"
    assert disk.read_bytes() == content


def test_each_fault_has_its_name(tmp_path: Path, blank: Path) -> None:
    files = {**hives(tmp_path, BROKEN_SOFTWARE, BROKEN_SYSTEM), "Windows/Panther/unattend.xml": b"<unattend/>"}
    # Sequence numbers that differ: the rest is in the hive's log
    system = bytearray(files["Windows/System32/config/SYSTEM"])
    system[4] += 1
    files["Windows/System32/config/SYSTEM"] = bytes(system)
    found = inspect_disk(windows_disk(blank, tmp_path / "disk.vhd", files))
    assert rules(found) == [
        "windows-undeployable",
        *["windows-drivers"] * 3,
        *["windows-agent"] * 2,
        *["windows-remote-desktop"] * 2,
        "windows-pending-restart",
        "windows-clock",
        "windows-cdrom",
        "windows-routes",
        "windows-answer-file",
        "windows-unclean",
    ]
    assert not found.ready


def test_a_specialized_windows(tmp_path: Path, blank: Path) -> None:
    software = {**SOFTWARE, STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}}
    disk = windows_disk(blank, tmp_path / "disk.vhd", hives(tmp_path, software, SYSTEM))
    assert rules(inspect_disk(disk)) == ["windows-specialized"]
    assert rules(inspect_disk(disk, wanted="specialized")) == []
    assert rules(inspect_disk(disk, wanted="generalized")) == ["windows-not-generalized"]


def renamed(files: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {name.replace(old, new): content for name, content in files.items()}


def test_names_are_found_whatever_their_case(tmp_path: Path, blank: Path) -> None:
    made = {**hives(tmp_path, SOFTWARE, SYSTEM), "Windows/Panther/Unattend.xml": b"<unattend/>"}
    for old, new in (("Windows/System32", "WINDOWS/system32"), ("config/SYSTEM", "Config/system")):
        files = renamed(made, old, new)
        if new.startswith("WINDOWS"):
            files = renamed(files, "Windows/", "WINDOWS/")
        disk = windows_disk(blank, tmp_path / f"{new.replace('/', '')}.vhd", files)
        assert rules(inspect_disk(disk)) == ["windows-answer-file"]


def test_the_control_set_of_the_next_start_counts(tmp_path: Path, blank: Path) -> None:
    system = {**SYSTEM, "Select": {"Current": 2, "Default": 1}, r"ControlSet002\Services\vmbus": {"Start": 4}}
    disk = windows_disk(blank, tmp_path / "disk.vhd", hives(tmp_path, SOFTWARE, system))
    assert rules(inspect_disk(disk)) == []
    (tmp_path / "gone").mkdir()
    gone = hives(tmp_path / "gone", SOFTWARE, {**SYSTEM, "Select": {"Current": 7}})
    (finding,) = inspect_disk(windows_disk(blank, tmp_path / "gone.vhd", gone)).findings
    assert (finding.rule, "ControlSet007" in finding.message) == ("windows-unreadable", True)


@pytest.mark.parametrize(("beginning", "expected"), [(b"HIBR", ["windows-unclean"]), (b"\0\0\0\0", [])])
def test_a_hibernated_windows(tmp_path: Path, blank: Path, beginning: bytes, expected: list[str]) -> None:
    files = {**hives(tmp_path, SOFTWARE, SYSTEM), "hiberfil.sys": beginning + bytes(MIB)}
    assert rules(inspect_disk(windows_disk(blank, tmp_path / "disk.vhd", files))) == expected


def test_a_data_disk_of_windows(tmp_path: Path, blank: Path) -> None:
    (finding,) = inspect_disk(windows_disk(blank, tmp_path / "disk.vhd", {"data.txt": b"x"})).findings
    assert (finding.rule, finding.message) == (
        "root-missing", "there is neither Windows on its NTFS filesystems nor a Linux root",
    )  # fmt: skip


@pytest.mark.parametrize("damage", [b"no hive", b"regf" + bytes(8200), None])
def test_a_registry_that_cannot_be_read(tmp_path: Path, blank: Path, damage: bytes | None) -> None:
    files = hives(tmp_path, SOFTWARE, SYSTEM)
    if damage is None:
        del files["Windows/System32/config/SOFTWARE"]
    else:
        files["Windows/System32/config/SOFTWARE"] = damage
    assert rules(inspect_disk(windows_disk(blank, tmp_path / "disk.vhd", files))) == ["windows-unreadable"]


def test_bitlocker_is_named(tmp_path: Path, blank: Path) -> None:
    disk = windows_disk(blank, tmp_path / "disk.vhd", {})
    with disk.open("r+b") as file:
        file.seek(NTFS.start + 3)
        file.write(b"-FVE-FS-")
    found = inspect_disk(disk)
    assert [(item.rule, item.place) for item in found.findings] == [("root-encrypted", "partition 2")]
