"""What still needs a version of a gallery or a managed image: virtual machines and scale sets made from it.

A scale set can't grow once its image is gone, and a virtual machine can't be reimaged. Only the subscription that the
version is in is looked at: others can't be listed without a right there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.destinations.azure_manifests import side_by_side
from builder.errors import BuildError

if TYPE_CHECKING:
    from builder.azure.connection import Azure

MACHINES = "Microsoft.Compute/virtualMachines"
SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets"
# What is said of each, and where its model names the image
_KINDS = (
    (MACHINES, "virtual machine", ("properties", "storageProfile")),
    (SCALE_SETS, "scale set", ("properties", "virtualMachineProfile", "storageProfile")),
)


def users_of_images(azure: Azure, subscription: str) -> dict[str, str]:
    """What uses an image, by the image's id in lower case: the first that was found, and how many more. Two calls.

    Raises BuildError ("usage-unreadable") for who may not list them, AzureError for what else goes wrong.
    """
    from builder.azure.errors import AzureError

    place = ResourceId(subscription)
    try:
        lists = side_by_side(*(lambda kind=kind: azure.list(place, kind) for kind, _, _ in _KINDS))
    except AzureError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        raise BuildError(
            "versions are deleted only when nothing uses them, and that can't be seen: the signed-in identity may not "
            f"list virtual machines and scale sets of subscription {subscription}",
            code="usage-unreadable",
            hint="give it the role Reader on the subscription, or remove `retain`",
            detail=error.message,
        ) from error
    found: dict[str, list[str]] = {}
    for (_, word, path), items in zip(_KINDS, lists, strict=True):
        for item in items:
            for image in _images(item, path):
                found.setdefault(image, []).append(f"{word} {item['name']}")
    return {image: names[0] + (f" and {len(names) - 1} more" if names[1:] else "") for image, names in found.items()}


def _images(item: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The exact image that a machine was made from: "latest" of a definition is no version, unless Azure says which."""
    node: Any = item
    for key in path:
        node = node.get(key) or {}
    reference = node.get("imageReference") or {}
    id = str(reference.get("id") or "").lower().rstrip("/")
    if not id:
        return
    definition, versions, version = id.partition("/versions/")
    if versions and version != "latest":
        yield id
    elif reference.get("exactVersion"):
        yield f"{definition}/versions/{reference['exactVersion']}"
    elif "/galleries/" not in id:
        yield id


class Usage:
    """What uses images, asked once for each subscription: for the length of a plan."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def of(self, azure: Azure, subscription: str) -> Mapping[str, str]:
        """As `users_of_images`, from what was asked before."""
        with self._lock:
            if subscription not in self._known:
                self._known[subscription] = users_of_images(azure, subscription)
            return self._known[subscription]
