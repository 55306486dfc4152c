"""What a Windows disk is: its registry, read from NTFS by ntfs-3g's programs without mounting it.

Sources of the keys: Azure's pages "Prepare a Windows VHD" and "Generalize a VM", Microsoft's "Windows Setup States".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from builder import process
from builder.disk.mounts import loop_device
from builder.disk.volumes import Volume
from builder.errors import BuildError
from builder.guest.inspection.outputs import write_output
from builder.guest.inspection.registry import Hive, HiveBroken
from builder.guest.inspection.rules import DiskFinding, Wanted

PACKAGE = "ntfs-3g"
HIVES = {"SOFTWARE": "Windows/System32/config/SOFTWARE", "SYSTEM": "Windows/System32/config/SYSTEM"}
ANSWER_FILES = ("Windows/Panther/unattend.xml", "Windows/System32/Sysprep/unattend.xml")
# A hive of a well-used server has 200 MB
LARGEST_HIVE = 1024**3

STATE = r"Microsoft\Windows\CurrentVersion\Setup\State"
GENERALIZED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
UNDEPLOYABLE = "IMAGE_STATE_UNDEPLOYABLE"
# What is on its way from one state to another, or to audit mode, begins so ("Windows Setup Installation States")
UNFINISHED = ("IMAGE_STATE_SPECIALIZE_", "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT")
VERSION = r"Microsoft\Windows NT\CurrentVersion"
PENDING = (
    r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    r"Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
)
AGENT_SERVICES = ("RdAgent", "WindowsAzureGuestAgent")
# Services by the values of Start with which they work: 0 boot, 1 system, 2 automatic, 3 on demand, 4 off
OFF = 4
DRIVERS = ("vmbus", "storvsc", "netvsc")
# What the system disk hangs on must be there before anything is read from it ("Prepare for VMware agentless migration")
BOOT_DRIVERS = ("vmbus", "storvsc")
HIBERNATION = "hiberfil.sys"


@dataclass(frozen=True)
class WindowsFacts:
    """What was read. `services` are values of Start by name (None: no such service); the rest as the registry has it.

    `sysprep` is GeneralizationState of SysprepStatus: 7 when Sysprep may run or has run well.
    """

    product: str
    build: str
    image_state: str
    sysprep: int | None
    services: Mapping[str, int | None]
    remote_desktop_denied: int | None
    clock_is_universal: int | None
    pending: tuple[str, ...]
    routes: int
    answer_files: tuple[str, ...]
    unclean: tuple[str, ...]
    hibernated: bool = False


def find_windows(volumes: tuple[Volume, ...], folder: Path) -> WindowsFacts | None:
    """Look at the NTFS filesystems for Windows; None when none has it. Needs root.

    `folder` is for copies of the hives. Raises HiveBroken for a registry that can't be read, BuildError when ntfs-3g
    is not installed.
    """
    for volume in volumes:
        if volume.content is None or volume.content.type != "ntfs":
            continue
        for program in ("ntfscat", "ntfsls"):
            process.find_program(program, package=PACKAGE, why="read a Windows disk")
        with loop_device(volume.raw, offset=volume.start, size=volume.size, read_only=True) as device:
            if _find(device, HIVES["SYSTEM"]):
                return _read(device, folder)
    return None


def _find(device: Path, path: str) -> str:
    """The path as it is written on the disk, "" when there is none. Windows doesn't mind its case, ntfscat does."""
    found = ""
    for name in path.split("/"):
        listing = process.run(["ntfsls", "-f", "-p", f"{found}/", device], ok=range(256)).output.splitlines()
        real = next((item for item in listing if item.lower() == name.lower()), None)
        if real is None:
            return ""
        found = f"{found}/{real}"
    return found


def _read(device: Path, folder: Path) -> WindowsFacts:
    hives = {}
    for name, path in HIVES.items():
        target = folder / name
        try:
            write_output(["ntfscat", "-f", device, _find(device, path) or path], target, limit=LARGEST_HIVE)
        except process.CommandFailed as error:
            raise HiveBroken(f"{path} can't be read", code="hive-broken", detail=error.tail) from error
        hives[name] = Hive(target)
    current = control_set(hives["SYSTEM"])
    if not hives["SYSTEM"].has(current):
        raise HiveBroken(f"the hive SYSTEM has no {current}, with which Windows starts", code="hive-broken")
    answers = tuple(path for path in ANSWER_FILES if _find(device, path))
    return replace(facts_of(hives["SOFTWARE"], hives["SYSTEM"], answers), hibernated=_is_hibernated(device))


def _is_hibernated(device: Path) -> bool:
    """Whether Windows would resume instead of starting; when it has resumed, the file's beginning is overwritten."""
    path = _find(device, HIBERNATION)
    if not path:
        return False
    # The file is as large as the machine's memory
    beginning = process.run(["sh", "-c", 'ntfscat -f "$1" "$2" | head -c 4', "sh", device, path]).output
    return beginning.lower() == "hibr"


def control_set(system: Hive) -> str:
    """The key of the control set with which Windows starts the next time."""
    number = system.number("Select", "Default") or system.number("Select", "Current") or 1
    return f"ControlSet{number:03}"


def facts_of(software: Hive, system: Hive, answer_files: tuple[str, ...] = ()) -> WindowsFacts:
    """What the two hives tell."""
    current = control_set(system)
    services = rf"{current}\Services"
    names = (*DRIVERS, *AGENT_SERVICES, "TermService", "cdrom")
    return WindowsFacts(
        product=software.text(VERSION, "ProductName"),
        build=software.text(VERSION, "CurrentBuild"),
        image_state=software.text(STATE, "ImageState"),
        sysprep=system.number(r"Setup\Status\SysprepStatus", "GeneralizationState"),
        services={name: system.number(rf"{services}\{name}", "Start") for name in names},
        remote_desktop_denied=system.number(rf"{current}\Control\Terminal Server", "fDenyTSConnections"),
        clock_is_universal=system.number(rf"{current}\Control\TimeZoneInformation", "RealTimeIsUniversal"),
        pending=tuple(path.rsplit("\\", 1)[1] for path in PENDING if software.has(path)),
        routes=system.count(rf"{services}\Tcpip\Parameters\PersistentRoutes"),
        answer_files=answer_files,
        unclean=tuple(name for name, hive in (("SOFTWARE", software), ("SYSTEM", system)) if hive.unclean),
    )


def check_windows(facts: WindowsFacts, wanted: Wanted) -> list[DiskFinding]:
    """The findings for a Windows disk."""
    return [*_state(facts, wanted), *(finding for check in CHECKS for finding in check(facts))]


Findings = Iterator[DiskFinding]


def state_of(facts: WindowsFacts) -> str:
    """In a word: "generalized", "specialized" or "unfinished"."""
    if facts.image_state == UNDEPLOYABLE or facts.image_state.startswith(UNFINISHED):
        return "unfinished"
    return "generalized" if facts.image_state == GENERALIZED else "specialized"


def _state(facts: WindowsFacts, wanted: Wanted) -> Findings:
    message = f"ImageState is {facts.image_state or 'not set'}"
    if facts.sysprep is not None:
        message += f", GeneralizationState {facts.sysprep}"
    if facts.image_state == UNDEPLOYABLE:
        yield DiskFinding("windows-undeployable", STATE, message)
    elif facts.image_state.startswith(UNFINISHED):
        yield DiskFinding("windows-unfinished", STATE, message)
    elif facts.image_state == GENERALIZED and wanted == "specialized":
        yield DiskFinding("windows-generalized", STATE, message)
    elif facts.image_state != GENERALIZED and wanted == "generalized":
        yield DiskFinding("windows-not-generalized", STATE, message)
    elif facts.image_state != GENERALIZED and wanted == "auto":
        yield DiskFinding("windows-specialized", STATE, message)


def _is_off(start: int | None) -> str:
    """Why a service with this value of Start does not run, "" when it does."""
    if start is None:
        return "it is not there"
    return f"it is switched off (Start is {start})" if start >= OFF else ""


def _drivers(facts: WindowsFacts) -> Findings:
    for name in DRIVERS:
        start = facts.services[name]
        if message := _is_off(start):
            yield DiskFinding("windows-drivers", rf"Services\{name}", message)
        elif start and name in BOOT_DRIVERS:
            message = f"Start is {start}, and must be 0: Windows would look for it on the disk that needs it"
            yield DiskFinding("windows-drivers", rf"Services\{name}", message, remedy="set its Start to 0")


def _agent(facts: WindowsFacts) -> Findings:
    for name in AGENT_SERVICES:
        if message := _is_off(facts.services[name]):
            yield DiskFinding("windows-agent", rf"Services\{name}", message)


def _remote_desktop(facts: WindowsFacts) -> Findings:
    # Not set means denied: a client's Windows has it so
    if facts.remote_desktop_denied != 0:
        yield DiskFinding("windows-remote-desktop", "Terminal Server", "fDenyTSConnections is not 0")
    if message := _is_off(facts.services["TermService"]):
        yield DiskFinding("windows-remote-desktop", r"Services\TermService", message)


def _settings(facts: WindowsFacts) -> Findings:
    if facts.clock_is_universal != 1:
        yield DiskFinding("windows-clock", "TimeZoneInformation", "RealTimeIsUniversal is not 1")
    if message := _is_off(facts.services["cdrom"]):
        yield DiskFinding("windows-cdrom", r"Services\cdrom", message)
    if facts.pending:
        yield DiskFinding("windows-pending-restart", "SOFTWARE", ", ".join(facts.pending))
    if facts.routes:
        yield DiskFinding("windows-routes", r"Tcpip\Parameters\PersistentRoutes", f"there are {facts.routes}")


def _files(facts: WindowsFacts) -> Findings:
    for path in facts.answer_files:
        yield DiskFinding("windows-answer-file", path.replace("/", "\\"), "it is there")
    if facts.hibernated:
        message = "Windows is hibernated, or was shut down with fast startup"
        yield DiskFinding("windows-unclean", HIBERNATION, message)
    if facts.unclean:
        yield DiskFinding("windows-unclean", ", ".join(facts.unclean), "there are changes in the hive's log only")


CHECKS: tuple[Callable[[WindowsFacts], Findings], ...] = (_drivers, _agent, _remote_desktop, _settings, _files)


def unreadable(error: BuildError) -> DiskFinding:
    """The finding for a registry that can't be read."""
    return DiskFinding("windows-unreadable", r"Windows\System32\config", error.message)
