"""What stands in a resource group: read once for all images of a plan that look there, anew by those of an apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.destinations.galleries import Once

if TYPE_CHECKING:
    from builder.azure.connection import Azure

Bodies = list[dict[str, Any]]


class Listings:
    """Lists of resources. `kept`: for one look at the world, in which each list is asked for once."""

    def __init__(self, *, kept: bool = False) -> None:
        self._kept = kept
        self._known: Once[Bodies] = Once()

    def of(self, azure: Azure, group: ResourceId, kind: str) -> Bodies:
        """All resources of a kind in a group; they are shared and not to be changed. Raises AzureError."""
        if not self._kept:
            return azure.list(group, kind)
        return self._known.of(f"{group}/{kind}", lambda: azure.list(group, kind))
