"""What a Linux guest's kernels are told: the lines of GRUB, of boot entries and of extlinux.

Sources: GRUB's manual, the UAPI group's Boot Loader Specification, Syslinux's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder.disk.tree import GuestTree

GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
GRUB_VARIABLES = ("/boot/grub/grubenv", "/boot/grub2/grubenv")
ENTRIES = "/boot/loader/entries/*.conf"
EXTLINUX = ("/boot/extlinux.conf", "/boot/extlinux/extlinux.conf", "/extlinux.conf")
SMALL = 1024 * 1024
# How files that are not in the guest's tree are told apart
ON_EFI = "EFI system partition:"
NONE: Mapping[str, str] = {}

# A guest's file may be made to be slow to search: no pattern here can go beyond its line
_GRUB_LINE = re.compile(r"^[ \t]*linux(?:16|efi)?[ \t]+\S+(.*)$", re.MULTILINE)
_GRUB_SET = re.compile(r"^[ \t]*set[ \t]+(\w+)=(\"[^\"\n]*\"|'[^'\n]*'|\S*)[ \t]*$", re.MULTILINE)
_ENTRY_LINE = re.compile(r"^options[ \t]+(.*)$", re.MULTILINE)
_EXTLINUX_LINE = re.compile(r"^[ \t]*append[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)
_GRUB_LOAD = re.compile(r"^[ \t]*load_env[ \t]+-f[ \t]+\"?\$\w+/([\w.-]+)\"?[ \t]*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
# How entries for repairs are recognized: they are started by hand only
_RESCUE = frozenset({"single", "recovery", "rescue", "nomodeset", "dis_ucode_ldr"})


@dataclass(frozen=True)
class BootLine:
    """The parameters that a boot entry gives to its kernel, and the file that says so."""

    path: str
    parameters: tuple[str, ...]

    def values(self, name: str) -> tuple[str, ...]:
        """The values of `name=value`, in order; a flag has the value ""."""
        found = (word.partition("=") for word in self.parameters)
        return tuple(value for word, _, value in found if word == name)


def boot_lines(tree: GuestTree, efi_settings: Mapping[str, str] = NONE) -> tuple[BootLine, ...]:
    """The lines of all entries that start by themselves (not those for repairs), without duplicates.

    `efi_settings` are the texts of such files on the EFI system partition, by their paths there.
    """
    files = {path: text for path in _paths(tree) if (text := _text(tree, path))}
    files |= {f"{ON_EFI}{path}": text for path, text in efi_settings.items()}
    variables = _variables(tree, files)
    found = [line for path, text in files.items() for line in _lines(path, text, variables)]
    usual = [line for line in found if not _RESCUE & set(line.parameters)]
    return tuple(dict.fromkeys(usual or found))


def _paths(tree: GuestTree) -> Iterator[str]:
    yield from GRUB_CONFIGS
    yield from GRUB_VARIABLES
    yield from tree.glob(ENTRIES)
    yield from EXTLINUX


def _text(tree: GuestTree, path: str) -> str:
    return tree.read_text(path, SMALL) if tree.is_file(path) else ""


def _variables(tree: GuestTree, files: Mapping[str, str]) -> dict[str, str]:
    """What `grub2-editenv list` would show, over what the configuration sets or takes from other files in /boot."""
    found: dict[str, str] = {}
    for path, text in files.items():
        if path.lower().endswith("/grub.cfg"):
            found |= {name: value.strip("\"'") for name, value in _GRUB_SET.findall(text)}
            # Azure Linux keeps its parameters so: load_env -f $bootprefix/mariner.cfg
            for name in _GRUB_LOAD.findall(text):
                found |= _assignments(_text(tree, f"/boot/{name}"))
    for path, text in files.items():
        if path.lower().endswith("/grubenv"):
            found |= _assignments(text)
    return found


def _assignments(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in lines if equals}


def _line(path: str, text: str, variables: Mapping[str, str]) -> BootLine:
    known = _VARIABLE.sub(lambda match: variables.get(match[1], ""), text)
    return BootLine(path, tuple(word.strip("\"'") for word in known.split()))


def _lines(path: str, text: str, variables: Mapping[str, str]) -> Iterator[BootLine]:
    name = path.rsplit("/", 1)[1]
    if "/loader/entries/" in path:
        pattern, known = _ENTRY_LINE, variables
        if "rescue" in name:
            return
    elif name.lower() == "grub.cfg":
        pattern, known = _GRUB_LINE, variables
    elif name.lower() == "grubenv":
        return
    else:
        pattern, known = _EXTLINUX_LINE, NONE
    for parameters in pattern.findall(text):
        yield _line(path, parameters, known)
