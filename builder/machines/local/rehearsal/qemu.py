"""The virtual machine: which accelerator works here, the throw-away disks, QEMU's command line.

The machine looks like Azure's where guests look: asset tag, UUID, a disc with ovf-env.xml, one network card, disks
by LUN. What it can't be is Hyper-V: disks and network are virtio.
"""

from __future__ import annotations

import functools
import json
import shlex
import shutil
import struct
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import process
from builder.errors import BuildError
from builder.machines.local.rehearsal.deployment import (
    CHASSIS_ASSET_TAG,
    GUEST_ADDRESS,
    INSTANCE_METADATA,
    WIRE_SERVER,
    Deployment,
)

EMULATOR = "qemu-system-x86_64"
EMULATOR_PACKAGE = "qemu-system-x86"
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
FIRMWARE_PACKAGE = "ovmf"
RELAY = Path(__file__).with_name("relay.py")
HOST_PLUGIN_PORT = 32526
# The user network must contain both services' addresses: QEMU forwards no others
NETWORK = "160.0.0.0/4"

# A boot sector that writes 0x10 to the debug exit device (mov al, 0x10; out 0xf4, al; hlt), which ends QEMU with
# status 2 * 0x10 + 1
PROBE_SECTOR = b"\xb0\x10\xe6\xf4\xf4".ljust(510, b"\0") + b"\x55\xaa"
PROBE_STATUS = 33
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Accelerator:
    """How QEMU runs the guest's instructions."""

    name: str
    options: tuple[str, ...]


KVM = Accelerator("KVM", ("-accel", "kvm", "-cpu", "max"))
# Multi-threaded emulation is the one setting that clearly pays (1.6 times faster with two processors)
TCG = Accelerator("TCG", ("-accel", "tcg,thread=multi", "-cpu", "max"))


@functools.cache
def accelerator() -> Accelerator:
    """KVM where it really runs a guest, else TCG. Found out once per process.

    /dev/kvm says little: in nested virtual machines it may exist while QEMU aborts when the guest starts.
    """
    emulator = process.find_program(EMULATOR, package=EMULATOR_PACKAGE, why="start the image in a virtual machine")
    if not Path("/dev/kvm").exists():
        return TCG
    with tempfile.TemporaryDirectory(prefix="build-probe-") as folder:
        sector = Path(folder) / "boot"
        sector.write_bytes(PROBE_SECTOR)
        drive = json.dumps({"driver": "raw", "node-name": "boot", "file": {"driver": "file", "filename": str(sector)}})
        command = [emulator, "-nodefaults", "-no-user-config", "-display", "none", "-m", "64", *KVM.options]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-blockdev", drive]
        command += ["-device", "ide-hd,drive=boot"]
        try:
            process.run(command, timeout=PROBE_SECONDS, ok=(PROBE_STATUS,))
        except process.CommandFailed:
            return TCG
    return KVM


@dataclass(frozen=True)
class Disk:
    """A disk of the artifact, never written to. `format` is QEMU's name, `size` the virtual size in bytes."""

    path: Path
    format: str
    size: int


def open_disk(path: Path) -> Disk:
    """What kind of disk a file is: a fixed VHD (as raw bytes before its footer), qcow2, or raw.

    Raises BuildError for a VHD that isn't fixed.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(32)
        file.seek(max(0, length - 512))
        footer = file.read(512)
    if head.startswith(b"QFI\xfb"):
        return Disk(path, "qcow2", struct.unpack_from(">Q", head, 24)[0])
    if footer.startswith(b"conectix"):
        size, kind = struct.unpack_from(">Q", footer, 48)[0], struct.unpack_from(">I", footer, 60)[0]
        if kind != 2 or size != length - 512:
            raise BuildError(f"{path.name} is a VHD, but not a fixed one", code="disk-format")
        return Disk(path, "raw", size)
    return Disk(path, "raw", length // 512 * 512)


@dataclass(frozen=True)
class Hardware:
    """What the virtual machine is made of: the OS disk and data disks, and the LUNs of the data disks alone."""

    disks: Sequence[Disk]
    luns: Sequence[int]
    generation: int
    memory_mib: int
    cpus: int


def create_overlays(disks: Sequence[Disk], folder: Path) -> list[Path]:
    """An empty layer per disk that takes what the guest writes."""
    tool = process.find_program("qemu-img", package="qemu-utils", why="keep the image unchanged while it is rehearsed")
    overlays = []
    for index, disk in enumerate(disks):
        overlay = folder / f"overlay-{index}.qcow2"
        process.run([tool, "create", "-q", "-f", "qcow2", overlay, str(disk.size)])
        overlays.append(overlay)
    return overlays


def _file(path: Path) -> dict[str, Any]:
    return {"driver": "file", "filename": str(path)}


def _json(**values: object) -> str:
    return json.dumps({name.replace("_", "-"): value for name, value in values.items()})


def _disk_options(index: int, disk: Disk, overlay: Path, lun: int) -> list[str]:
    """A disk and the layer over it, on the controller that Azure uses: OS disk on the first, data on the second."""
    base: dict[str, Any] = {"driver": disk.format, "node-name": f"base{index}", "read-only": True}
    base |= {"file": {**_file(disk.path), "read-only": True}}
    if disk.format == "raw":
        # Without the footer of a VHD, which would move the end of the disk, where a partition table's copy is
        base |= {"size": disk.size}
    # What is thrown away need not reach the disk
    cache = {"no-flush": True}
    layer = _json(driver="qcow2", node_name=f"disk{index}", backing=f"base{index}", file=_file(overlay), cache=cache)
    device: dict[str, Any] = {"driver": "scsi-hd", "drive": f"disk{index}", "scsi-id": 0, "lun": lun}
    device |= {"bus": "os.0", "bootindex": 1} if index == 0 else {"bus": "data.0"}
    return ["-blockdev", json.dumps(base), "-blockdev", layer, "-device", json.dumps(device)]


def require_firmware() -> None:
    """Raise BuildError when generation 2 images can't be started on this host."""
    if not (FIRMWARE.exists() and FIRMWARE_VARIABLES.exists()):
        raise BuildError(
            "the UEFI firmware for virtual machines is not installed; it is needed to start a generation 2 image",
            code="program-missing",
            hint=f"apt-get install {FIRMWARE_PACKAGE}",
        )


def _firmware_options(generation: int, folder: Path) -> list[str]:
    """Generation 1 starts by BIOS, generation 2 by UEFI with a variable store of its own."""
    if generation == 1:
        # Without graphics the BIOS speaks on the serial console: "No bootable device" is then seen
        return ["-machine", "q35,graphics=off"]
    require_firmware()
    variables = folder / "firmware-variables.fd"
    shutil.copyfile(FIRMWARE_VARIABLES, variables)
    return [
        *("-blockdev", _json(driver="raw", node_name="firmware", read_only=True, file=_file(FIRMWARE))),
        *("-blockdev", _json(driver="raw", node_name="variables", file=_file(variables))),
        *("-machine", "q35,graphics=off,pflash0=firmware,pflash1=variables"),
    ]


def _network_options(deployment: Deployment, fabric: Path) -> list[str]:
    """The guest's own network: the fabric's addresses lead to our socket, and nothing else leads out of it.

    `restrict` keeps the guest from this host's loopback services and from the internet: a rehearsal must not depend on
    either. QEMU chooses the port that leads to the guest's ssh server.
    """
    relay = shlex.join([sys.executable, "-I", "-S", str(RELAY), str(fabric)]).replace(",", ",,")
    services = ((WIRE_SERVER, 80), (WIRE_SERVER, HOST_PLUGIN_PORT), (INSTANCE_METADATA, 80))
    network = [
        f"user,id=network,net={NETWORK},host=168.63.129.1,dns=168.63.129.2,dhcpstart={GUEST_ADDRESS}",
        f"restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-{GUEST_ADDRESS}:22",
        *(f"guestfwd=tcp:{address}:{port}-cmd:{relay}" for address, port in services),
    ]
    card = f"virtio-net-pci,netdev=network,mac={deployment.hardware_address},romfile="
    return ["-netdev", ",".join(network), "-device", card]


def command_line(
    hardware: Hardware,
    overlays: Sequence[Path],
    deployment: Deployment,
    *,
    folder: Path,
    media: Path | None,
    fabric: Path,
    monitor: int,
) -> list[str]:
    """QEMU's command line. The serial console is standard output, `monitor` a connected socket that QEMU inherits.

    `media` None leaves the disc drive out.
    """
    emulator = process.find_program(EMULATOR, package=EMULATOR_PACKAGE, why="start the image in a virtual machine")
    command = [
        emulator,
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-sandbox", "on,obsolete=deny,resourcecontrol=deny"),
        *accelerator().options,
        *_firmware_options(hardware.generation, folder),
        *("-boot", "strict=on,menu=off"),
        *("-m", str(hardware.memory_mib), "-smp", str(hardware.cpus)),
        *("-uuid", deployment.vm_id),
        *("-smbios", "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine"),
        *("-smbios", f"type=3,manufacturer=Microsoft Corporation,asset={CHASSIS_ASSET_TAG}"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-scsi-pci,id=os", "-device", "virtio-scsi-pci,id=data"),
        *_network_options(deployment, fabric),
    ]
    for index, (disk, overlay) in enumerate(zip(hardware.disks, overlays, strict=True)):
        command += _disk_options(index, disk, overlay, 0 if index == 0 else hardware.luns[index - 1])
    if media is not None:
        disc = _json(driver="raw", node_name="disc", read_only=True, file={**_file(media), "read-only": True})
        command += ["-blockdev", disc, "-device", "scsi-cd,bus=os.0,scsi-id=0,lun=2,drive=disc"]
    return command
