"""`--fix`: a mended copy of a disk. The disk itself is only read; what is mended is inspected again.

The bytes (format, size, footer, partition tables) are put right here; what is in the guest by scripts that run in it,
offline, with its own tools.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from builder.disk import fstab, vhd
from builder.disk.capture import write_fixed_vhd
from builder.disk.importing import import_disk
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts, require_root
from builder.disk.system import OpenedSystem, opened_system
from builder.errors import BuildError
from builder.guest.inspection.disk_file import look_at
from builder.guest.inspection.inspecting import inspect_disk
from builder.guest.inspection.layout import GIB, LARGEST
from builder.guest.inspection.linux_checks import DEVICE_NAME, SERIAL
from builder.guest.inspection.linux_facts import LinuxFacts, read_facts
from builder.guest.inspection.rules import RULES, DiskFinding, Inspection, Wanted
from builder.guest.inspection.scratch import scratch_folder
from builder.model.hardware import host_architecture
from builder.model.run import Guest, GuestScript

# Gives the guest of an opened system, with a folder for scratch: the machine's business, which is above us
OpenGuest = Callable[[OpenedSystem, Path], Guest]
# Programs of the guest run on this host's processor
IN_GUEST = frozenset({"fstab-device-name", "boot-root-name", "boot-console", "driver-storage", "driver-nvme"})
SECONDS = 900.0


@dataclass(frozen=True)
class Mended:
    """What became of a disk: the new file, the findings that it has no more, and its own inspection.

    `failed` are findings that could not be mended, with the reason.
    """

    path: Path
    mended: tuple[DiskFinding, ...]
    failed: tuple[tuple[DiskFinding, str], ...]
    inspection: Inspection


def mend(
    before: Inspection,
    target: Path,
    *,
    open_guest: OpenGuest,
    wanted: Wanted = "auto",
    on_lines: Callable[[str], None] = lambda text: None,
    stop: threading.Event | None = None,
) -> Mended:
    """Write a mended copy of an inspected disk to `target`, as a fixed VHD, and inspect that.

    Needs root. `on_lines` gets what the guest's programs print. Raises BuildError: "disk-not-mendable" for a disk that
    can't be read or is too large, "output-exists", "output-folder", "needs-root", and what the disk floor raises;
    Interrupted when `stop` is set. Then nothing is left at `target`.
    """
    require_root("mend a disk")
    source = Path(before.disk)
    file = look_at(source)
    if file.recognized is None:
        raise BuildError(
            f"{source.name} can't be mended: it can't be read", code="disk-not-mendable", hint=file.findings[0].to_do()
        )
    if file.size > LARGEST:
        too_large = f"it has {file.size // GIB:,} GiB, and Azure takes {LARGEST // GIB:,} at most"
        raise BuildError(
            f"{source.name} can't be mended: {too_large}",
            code="disk-not-mendable",
            hint=RULES["size-limit"].remedy,
        )
    check_target(target)
    private_mounts()
    failed: list[tuple[DiskFinding, str]] = []
    inside = [finding for finding in before.findings if finding.rule in IN_GUEST and finding.mendable]
    with scratch_folder(target.parent, ".build-fix-") as work:
        _make_room(work, vhd.whole_mib(file.size) + vhd.FOOTER_SIZE)
        layer = DiskLayer(work / "os.qcow2")
        import_disk(source, layer.path, recognized=file.recognized, stop=stop)
        if inside:
            failed = _mend_guest(layer, inside, open_guest, work, on_lines)
        write_fixed_vhd(layer.path, work / "disk.vhd", stop=stop)
        (work / "disk.vhd").rename(target)
    after = inspect_disk(target, wanted=wanted)
    return Mended(target, mended_of(before.findings, after.findings), tuple(failed), after)


def check_target(target: Path) -> None:
    """Whether a copy can be written there. Raises BuildError: "output-exists", "output-folder"."""
    if target.exists() or target.is_symlink():
        raise BuildError(f"{target} exists already", code="output-exists", hint="remove it, or give another --output")
    if not target.parent.is_dir():
        raise BuildError(f"there is no folder {target.parent}", code="output-folder", hint="make it first")


def mended_of(before: Sequence[DiskFinding], after: Sequence[DiskFinding]) -> tuple[DiskFinding, ...]:
    """The mendable findings that are gone. One whose message changed is the same still."""
    mended: list[DiskFinding] = []
    for rule, place in dict.fromkeys((item.rule, item.place) for item in before if item.mendable):
        old = [item for item in before if (item.rule, item.place) == (rule, place)]
        new = [item for item in after if (item.rule, item.place) == (rule, place)]
        gone = [item for item in old if item not in new]
        changed = sum(item not in old for item in new)
        mended += [item for item in gone[changed:] if item.mendable]
    return tuple(mended)


def _make_room(folder: Path, size: int) -> None:
    """Find out before the work whether the host's filesystem takes a file of `size` bytes; it need not have the room.

    Raises BuildError ("disk-not-mendable").
    """
    with TemporaryFile(dir=folder) as file:
        try:
            file.truncate(size)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            raise BuildError(
                f"the filesystem of {folder.parent} takes no file of {size // GIB:,} GiB",
                code="disk-not-mendable",
                hint="give an --output on another one (xfs takes such files)",
            ) from error


def _mend_guest(
    layer: DiskLayer,
    findings: Sequence[DiskFinding],
    open_guest: OpenGuest,
    work: Path,
    on_lines: Callable[[str], None],
) -> list[tuple[DiskFinding, str]]:
    """Run the scripts; return the findings whose script could not be run or failed."""
    failed: list[tuple[DiskFinding, str]] = []
    with opened_system([layer], folder=work, writable=True) as system:
        if system.architecture != host_architecture():
            why = f"its programs are for {system.architecture}, which this host can't run"
            return [(finding, why) for finding in findings]
        facts = read_facts(system)
        guest = open_guest(system, work)
        for rules, script in _scripts(facts):
            concerned = [finding for finding in findings if finding.rule in rules]
            if not concerned:
                continue
            try:
                guest.execute(script, on_lines)
            except BuildError as error:
                if error.code not in ("step-failed", "step-timeout"):
                    raise
                failed += [(finding, f"{error.message}\n{error.detail or ''}".rstrip()) for finding in concerned]
    return failed


def _scripts(facts: LinuxFacts) -> Iterator[tuple[frozenset[str], GuestScript]]:
    """The scripts by the rules that they satisfy. Boot entries last: making an initramfs may renew them."""
    yield frozenset({"fstab-device-name"}), fstab_script(facts)
    yield frozenset({"driver-storage", "driver-nvme"}), GuestScript(DRIVERS, timeout=SECONDS)
    yield frozenset({"boot-root-name"}), root_name_script(facts)
    terminal = SERIAL.get(facts.architecture, "ttyS0")
    words = {"CONSOLE": f"console=tty1 console={terminal},115200", "TERMINAL": terminal}
    yield frozenset({"boot-console"}), GuestScript(CONSOLE, env=words, timeout=SECONDS)


def fstab_script(facts: LinuxFacts) -> GuestScript:
    """Replaces kernel names in fstab by the UUIDs of the filesystems that they mean on this disk."""
    lines = ["set -eu"]
    for entry in facts.fstab:
        volume = fstab.find_volume(entry.device, facts.volumes)
        if DEVICE_NAME.match(entry.device) and volume and volume.content and volume.content.uuid:
            # The pattern admits no character that sed would take for something else
            old = entry.device.replace("/", r"\/")
            lines.append(rf"sed -i -E 's/^([[:space:]]*){old}([[:space:]])/\1UUID={volume.content.uuid}\2/' /etc/fstab")
    return GuestScript("\n".join(lines) + "\n", timeout=SECONDS)


def root_name_script(facts: LinuxFacts) -> GuestScript:
    """Replaces kernel names after `root=` in boot entries by the UUID of the root filesystem."""
    identity = facts.root.content.uuid if facts.root and facts.root.content else ""
    return GuestScript(ROOT_NAME, env={"ROOT": f"UUID={identity}"}, timeout=SECONDS)


# Where boot entries stand, and where what makes them new takes its parameters from
_BOOT_FILES = r"""
set -eu
files() {
    for file in /boot/grub/grub.cfg /boot/grub2/grub.cfg /boot/loader/entries/*.conf /boot/extlinux.conf \
        /boot/extlinux/extlinux.conf /extlinux.conf; do
        if [ -f "$file" ]; then printf '%s\n' "$file"; fi
    done
}
editenv=$(command -v grub2-editenv || command -v grub-editenv || true)
grubenv=
for file in /boot/grub2/grubenv /boot/grub/grubenv; do
    if [ -z "$grubenv" ] && [ -f "$file" ] && grep -q '^kernelopts=' "$file"; then grubenv=$file; fi
done
"""

ROOT_NAME = (
    _BOOT_FILES
    + r"""
[ "$ROOT" != UUID= ] || { echo 'the root filesystem has no UUID' >&2; exit 1; }
name='root=/dev/([shv]d[a-z]+[0-9]*|xvd[a-z]+[0-9]*|nvme[0-9]+n[0-9]+(p[0-9]+)?)'
files | while IFS= read -r file; do
    sed -i -E "s#(^|[[:space:]\"'])$name([[:space:]\"']|\$)#\1root=$ROOT\4#g" "$file"
done
if [ -n "$grubenv" ]; then
    old=$(sed -n 's/^kernelopts=//p' "$grubenv")
    new=$(printf '%s' "$old" | sed -E "s#(^| )$name( |\$)#\1root=$ROOT\4#g")
    "$editenv" "$grubenv" set "kernelopts=$new"
fi
if [ -f /etc/kernel/cmdline ]; then sed -i -E "s#(^| )$name( |\$)#\1root=$ROOT\4#g" /etc/kernel/cmdline; fi
"""
)

# Lines that begin with a variable take their parameters from grubenv
CONSOLE = (
    _BOOT_FILES
    + r"""
files | while IFS= read -r file; do
    case $file in
        *.cfg) line='^[[:space:]]*linux(16|efi)?[[:space:]]' ;;
        */entries/*) line='^options[[:space:]]' ;;
        *) line='^[[:space:]]*[Aa][Pp][Pp][Ee][Nn][Dd][[:space:]]' ;;
    esac
    sed -i -E "/$line/{/console=$TERMINAL|kernelopts/!s|[[:space:]]*\$| $CONSOLE|;}" "$file"
done
if [ -n "$grubenv" ]; then
    "$editenv" "$grubenv" set "kernelopts=$(sed -n 's/^kernelopts=//p' "$grubenv") $CONSOLE"
fi
if [ -f /etc/kernel/cmdline ]; then sed -i -E "1s|[[:space:]]*\$| $CONSOLE|" /etc/kernel/cmdline; fi
if [ -d /etc/default/grub.d ]; then
    printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX %s"\n' "$CONSOLE" > /etc/default/grub.d/95-azure-console.cfg
elif [ -f /etc/default/grub ]; then
    if grep -q '^GRUB_CMDLINE_LINUX=' /etc/default/grub; then
        sed -i -E "s|^(GRUB_CMDLINE_LINUX=)[\"']?([^\"']*)[\"']?\$|\1\"\2 $CONSOLE\"|" /etc/default/grub
    else
        printf 'GRUB_CMDLINE_LINUX="%s"\n' "$CONSOLE" >> /etc/default/grub
    fi
fi
"""
)

# dracut's own choice would be what this host needs: --no-hostonly takes all drivers
DRIVERS = r"""
set -eu
modules='hv_vmbus hv_storvsc hv_netvsc nvme'
if command -v update-initramfs > /dev/null; then
    for module in $modules; do
        grep -qx "$module" /etc/initramfs-tools/modules 2> /dev/null || echo "$module" >> /etc/initramfs-tools/modules
    done
    update-initramfs -u -k all
elif command -v dracut > /dev/null; then
    mkdir -p /etc/dracut.conf.d
    echo "add_drivers+=\" $modules \"" > /etc/dracut.conf.d/50-azure.conf
    made=
    for folder in /lib/modules/*/kernel; do
        kernel=${folder%/kernel}
        kernel=${kernel##*/}
        for image in "/boot/initramfs-$kernel.img" "/boot/initrd-$kernel" "/boot/initrd.img-$kernel"; do
            [ -f "$image" ] || continue
            dracut --force --no-hostonly "$image" "$kernel"
            made=$image
        done
    done
    [ -n "$made" ] || { echo 'no kernel has an initramfs in /boot that dracut could make again' >&2; exit 1; }
else
    echo 'neither initramfs-tools nor dracut is there' >&2
    exit 1
fi
"""
