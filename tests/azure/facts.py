"""What a disk holds, as far as Azure's rules ask for it; it travels from image to disk to snapshot to version."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.azure.answers import Json

if TYPE_CHECKING:
    from tests.azure.guests import Tree


@dataclass(frozen=True)
class Facts:
    """`plan` is Azure's {name, product, publisher}. `tree` are the guest's files, None for a disk that has none.

    `security` is what the image supports: "", TrustedLaunchSupported, TrustedLaunch, ConfidentialVmSupported, ...
    """

    system: str = ""
    generation: str = "V1"
    architecture: str = "x64"
    security: str = ""
    controllers: str = "SCSI, NVMe"
    plan: Json | None = None
    generalized: bool = False
    os_name: str = ""
    os_version: str = ""
    size_gib: int = 0
    tree: Tree | None = field(default=None, compare=False)

    def with_tree(self, tree: Tree | None) -> Facts:
        return replace(self, tree=tree)

    def copied(self) -> Facts:
        """The same facts with files of its own."""
        return replace(self, tree=self.tree.copy() if self.tree is not None else None)
