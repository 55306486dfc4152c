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

# A guest's file may be made to be slow to search: no pattern here can go beyond its line
_GRUB_LINE = re.compile(r"^[ \t]*linux(?:16|efi)?[ \t]+\S+(.*)$", re.MULTILINE)
_GRUB_SET = re.compile(r"^[ \t]*set[ \t]+(\w+)=(\"[^\"\n]*\"|'[^'\n]*'|\S*)[ \t]*$", re.MULTILINE)
_ENTRY_LINE = re.compile(r"^options[ \t]+(.*)$", re.MULTILINE)
_EXTLINUX_LINE = re.compile(r"^[ \t]*append[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)
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


def boot_lines(tree: GuestTree) -> tuple[BootLine, ...]:
    """The lines of all entries that start by themselves (not those for repairs), without duplicates."""
    found = [*_grub(tree), *_entries(tree), *_extlinux(tree)]
    usual = [line for line in found if not _RESCUE & set(line.parameters)]
    return tuple(dict.fromkeys(usual or found))


def _text(tree: GuestTree, path: str) -> str:
    return tree.read_text(path, SMALL) if tree.is_file(path) else ""


def _variables(tree: GuestTree) -> dict[str, str]:
    """What `grub2-editenv list` would show, over what the configuration sets."""
    found: dict[str, str] = {}
    for path in GRUB_CONFIGS:
        found |= {name: value.strip("\"'") for name, value in _GRUB_SET.findall(_text(tree, path))}
    for path in GRUB_VARIABLES:
        for line in _text(tree, path).splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[name] = value
    return found


def _line(path: str, text: str, variables: Mapping[str, str]) -> BootLine:
    known = _VARIABLE.sub(lambda match: variables.get(match[1], ""), text)
    return BootLine(path, tuple(word.strip("\"'") for word in known.split()))


def _grub(tree: GuestTree) -> Iterator[BootLine]:
    for path in GRUB_CONFIGS:
        text = _text(tree, path)
        variables = _variables(tree) if "$" in text else {}
        for parameters in _GRUB_LINE.findall(text):
            yield _line(path, parameters, variables)


def _entries(tree: GuestTree) -> Iterator[BootLine]:
    variables = _variables(tree)
    for path in tree.glob(ENTRIES):
        if "rescue" not in path.rsplit("/", 1)[1]:
            for parameters in _ENTRY_LINE.findall(_text(tree, path)):
                yield _line(path, parameters, variables)


def _extlinux(tree: GuestTree) -> Iterator[BootLine]:
    for path in EXTLINUX:
        for parameters in _EXTLINUX_LINE.findall(_text(tree, path)):
            yield _line(path, parameters, {})
