"""What stands in a gallery. Three reads tell nearly everything: the gallery, the definition, its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.destinations import azure_manifests as manifests
from builder.destinations import gallery_versions as versions
from builder.destinations.galleries import Galleries
from builder.model.version import is_version

if TYPE_CHECKING:
    from builder.azure.connection import Azure

VERSIONS = "Microsoft.Compute/galleries/images/versions"


@dataclass(frozen=True)
class Standing:
    """The bodies of gallery and definition (None: not there), and of versions by name. `group`: is it there?

    `identifiers` are the names of the gallery's definitions by their identifiers, looked at where ours is missing.
    """

    group: bool
    gallery: Mapping[str, Any] | None
    definition: Mapping[str, Any] | None
    versions: Mapping[str, Mapping[str, Any]]
    identifiers: Mapping[tuple[str, ...], str] = field(default_factory=dict)


def look(azure: Azure, definition: ResourceId, image: str, galleries: Galleries) -> Standing:
    """What stands, as far as it concerns an image. Raises AzureError."""
    from builder.azure.errors import NotFound

    def listed() -> list[dict[str, Any]]:
        try:
            return azure.list(definition, VERSIONS)
        except NotFound:
            return []

    (found, group), body, bodies = manifests.side_by_side(
        lambda: galleries.get(azure, definition.parent), lambda: azure.find(definition), listed
    )
    named = {str(body["name"]): body for body in bodies if is_version(str(body["name"]))}
    for name, version in named.items():
        # Lists don't say how far the replicas of a version came: whether a failed one was whole before
        if versions.provisioning(version) == versions.FAILED and manifests.is_of(version.get("tags"), image):
            named[name] = azure.find(definition.child("versions", name), expand="ReplicationStatus") or version
    missing = found is not None and body is None
    identifiers = galleries.identifiers(azure, definition.parent) if missing else {}
    return Standing(group, found, body, named, identifiers)
