"""Names in Azure: what each kind of resource allows, as a table.

Rules: Azure's documentation of naming restrictions, and the gallery's troubleshooting pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.errors import BuildError


@dataclass(frozen=True)
class NameRule:
    """What a name must match as a whole, at most how long it is, and the same in words."""

    pattern: str
    longest: int
    words: str

    def fits(self, name: str) -> bool:
        """Whether a name follows the rule."""
        return len(name) <= self.longest and re.fullmatch(self.pattern, name, re.ASCII) is not None


_ENDS = "letters, digits, dots, underscores and dashes; a letter or digit first, a letter, digit or underscore last"
_USUAL = r"[A-Za-z0-9]([\w.-]*\w)?"
_NUMBER = r"(0|[1-9][0-9]{0,9})"
NAMES: dict[str, NameRule] = {
    "Microsoft.Resources/resourceGroups": NameRule(
        r"[\w.()-]*[\w()-]", 90, "letters, digits, dots, underscores, dashes and parentheses; no dot last"
    ),
    "Microsoft.Compute/virtualMachines": NameRule(_USUAL, 64, _ENDS),
    "Microsoft.Compute/virtualMachines/runCommands": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Compute/disks": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Compute/snapshots": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Compute/images": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Compute/galleries": NameRule(
        r"[A-Za-z0-9]([\w.]*[A-Za-z0-9])?",
        80,
        "letters, digits, dots and underscores, but no dash; a letter or digit first and last",
    ),
    "Microsoft.Compute/galleries/images": NameRule(
        r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?",
        80,
        "letters, digits, dots, underscores and dashes; a letter or digit first and last",
    ),
    "Microsoft.Compute/galleries/images/versions": NameRule(
        rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}", 32, "three numbers with dots between, each at most 2147483647"
    ),
    "Microsoft.Network/virtualNetworks": NameRule(_USUAL, 64, _ENDS),
    "Microsoft.Network/virtualNetworks/subnets": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Network/networkInterfaces": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Network/networkSecurityGroups": NameRule(_USUAL, 80, _ENDS),
    "Microsoft.Storage/storageAccounts": NameRule(r"[a-z0-9]{3,}", 24, "3 to 24 small letters and digits"),
    # Parts of a definition's identifier
    "publisher": NameRule(r"[\w.-]*[\w-]", 128, "letters, digits, dots, underscores and dashes; no dot last"),
    "offer": NameRule(r"[\w.-]*[\w-]", 64, "letters, digits, dots, underscores and dashes; no dot last"),
    "sku": NameRule(r"[\w.-]*[\w-]", 64, "letters, digits, dots, underscores and dashes; no dot last"),
}
LARGEST_NUMBER = 2**31 - 1


def name_problem(kind: str, name: str) -> str | None:
    """What is wrong with a name of that kind, as a sentence, or None. Kinds without a row allow anything."""
    rule = NAMES.get(kind)
    if rule is None:
        return None
    fits = rule.fits(name)
    if fits and kind.endswith("/versions"):
        fits = all(int(number) <= LARGEST_NUMBER for number in name.split("."))
    if fits:
        return None
    return f"{name!r} is no name for {kind}: {rule.words}, at most {rule.longest} characters"


def region_name(text: object) -> str:
    """A region's name for any way of writing it: Azure may answer "West Europe" where westeurope was sent."""
    return str(text or "").replace(" ", "").lower()


def check_name(kind: str, name: str) -> str:
    """The name. Raises BuildError when Azure would refuse it."""
    problem = name_problem(kind, name)
    if problem is not None:
        raise BuildError(problem, code="azure-name")
    return name
