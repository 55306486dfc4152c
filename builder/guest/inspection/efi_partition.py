"""What stands on an EFI system partition, read by mtools: no mount, no root."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder import process

FALLBACK = {"BOOTX64.EFI": "x64", "BOOTAA64.EFI": "arm64"}
# Boot entries and GRUB's settings: RHEL 8 and older have theirs here, systemd-boot's stand here always
_SETTINGS = re.compile(r"/(EFI/[^/]+/(grub\.cfg|grubenv)|loader/entries/[^/]+\.conf)", re.IGNORECASE)
_KERNELS = re.compile(r"/EFI/Linux/[^/]+\.efi|.*/(vmlinuz|linux|initrd|initramfs)[^/]*", re.IGNORECASE)
MOST_SETTINGS = 64
_TYPE = 'mtype -i "$1" -- "$2" | head -c 1048576'


@dataclass(frozen=True)
class EfiPartition:
    """What was found. `loaders` are the .efi files in upper case, `settings` the texts of GRUB's files and of entries.

    `kernels` tells whether kernels, or what they start with, stand here. `unread` says why nothing could be read,
    `wrong` what stands there instead of a FAT filesystem.
    """

    loaders: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    kernels: bool = False
    unread: str = ""
    wrong: str = ""

    @property
    def fallback_architectures(self) -> tuple[str, ...]:
        """The architectures that have a loader at EFI/BOOT."""
        names = {loader.rsplit("/", 1)[1] for loader in self.loaders if loader.startswith("/EFI/BOOT/")}
        return tuple(architecture for name, architecture in FALLBACK.items() if name in names)


def read_efi_partition(raw: Path, start: int) -> EfiPartition:
    """Look at the FAT filesystem at byte `start` of a raw disk."""
    if shutil.which("mdir", path=process.environment()["PATH"]) is None:
        return EfiPartition(unread="mdir is not installed (apt-get install mtools)")
    place = f"{raw}@@{start}"
    # Lower-case names are shown as such; firmware doesn't mind
    listing = process.run(["mdir", "-b", "-/", "-i", place, "::/"], ok=(0, 1))
    if not listing.output and "file not found" not in listing.errors.lower():
        errors = listing.errors.strip().splitlines()
        return EfiPartition(unread=f"it can't be read: {errors[-1] if errors else 'empty'}")
    paths = [line.removeprefix("::") for line in listing.output.splitlines()]
    settings = sorted(path for path in paths if _SETTINGS.fullmatch(path))[:MOST_SETTINGS]
    return EfiPartition(
        loaders=tuple(sorted(path.upper() for path in paths if path.upper().endswith(".EFI"))),
        settings={path: process.run(["sh", "-c", _TYPE, "sh", place, f"::{path}"]).output for path in settings},
        kernels=any(_KERNELS.fullmatch(path) for path in paths),
    )
