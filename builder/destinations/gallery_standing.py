"""What stands in a gallery. Three reads tell nearly everything: the gallery, the definition, its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.destinations import azure_manifests as manifests
from builder.destinations import gallery_versions as versions
from builder.destinations.gallery_definition import identifier_key
from builder.model.version import is_version

if TYPE_CHECKING:
    from builder.azure.connection import Azure

DEFINITIONS = "Microsoft.Compute/galleries/images"
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


def look(azure: Azure, definition: ResourceId, image: str) -> Standing:
    """What stands, as far as it concerns an image. Raises AzureError."""
    from builder.azure.errors import NotFound

    missing: list[str] = []

    def gallery() -> Mapping[str, Any] | None:
        try:
            return azure.get(definition.parent)
        except NotFound as error:
            missing.append(error.azure_code)
            return None

    def listed(place: ResourceId, kind: str) -> list[dict[str, Any]]:
        try:
            return azure.list(place, kind)
        except NotFound:
            return []

    found, body, bodies = manifests.side_by_side(
        gallery, lambda: azure.find(definition), lambda: listed(definition, VERSIONS)
    )
    named = {str(body["name"]): body for body in bodies if is_version(str(body["name"]))}
    for name, version in named.items():
        # Lists don't say how far the replicas of a version came: whether a failed one was whole before
        if versions.provisioning(version) == versions.FAILED and manifests.is_of(version.get("tags"), image):
            named[name] = azure.find(definition.child("versions", name), expand="ReplicationStatus") or version
    others = listed(definition.parent, DEFINITIONS) if found is not None and body is None else []
    identifiers = {identifier_key(other["properties"]): str(other["name"]) for other in others}
    return Standing("ResourceGroupNotFound" not in missing, found, body, named, identifiers)
