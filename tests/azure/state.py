"""What exists: resources by id, and nothing else. Ids are compared without letter case, and kept as first written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.azure.answers import ArmError, Json, not_found


@dataclass
class Resource:
    """`body` is what a GET shows; `hidden` is what Azure knows and never shows."""

    id: str
    type: str
    body: Json
    hidden: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[-1]

    @property
    def properties(self) -> Json:
        found: Json = self.body.setdefault("properties", {})
        return found

    @property
    def group(self) -> str:
        return segment_after(self.id, "resourceGroups")

    @property
    def location(self) -> str:
        found: str = self.body.get("location", "")
        return found

    @property
    def provisioning(self) -> str:
        found: str = self.properties.get("provisioningState", "")
        return found


class State:
    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}

    def put(self, resource: Resource) -> Resource:
        self._resources[resource.id.lower()] = resource
        return resource

    def find(self, resource_id: str | None) -> Resource | None:
        # Azure takes ids without their leading slash
        return self._resources.get("/" + resource_id.lower().strip("/")) if resource_id else None

    def get(self, resource_id: str) -> Resource:
        """Raises ArmError 404 in the gateway's words."""
        found = self.find(resource_id)
        if found is None:
            raise missing(resource_id)
        return found

    def delete(self, resource_id: str) -> None:
        self._resources.pop(resource_id.lower(), None)

    def under(self, prefix: str) -> list[Resource]:
        """Everything whose id is below `prefix`, in the order it was made."""
        start = prefix.lower().rstrip("/") + "/"
        return [resource for key, resource in self._resources.items() if key.startswith(start)]

    def of_type(self, resource_type: str, *, below: str = "") -> list[Resource]:
        start = below.lower().rstrip("/") + "/" if below else ""
        wanted = resource_type.lower()
        return [r for key, r in self._resources.items() if r.type.lower() == wanted and key.startswith(start)]

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))


def segment_after(resource_id: str, word: str) -> str:
    """The path segment that follows `word`: `segment_after(id, "resourceGroups")` is the group's name."""
    parts = resource_id.split("/")
    lowered = [part.lower() for part in parts]
    place = lowered.index(word.lower()) if word.lower() in lowered else -1
    return parts[place + 1] if 0 <= place < len(parts) - 1 else ""


def type_of(resource_id: str) -> str:
    """`Microsoft.Compute/galleries/images` of a resource's id."""
    tail = resource_id.rpartition("/providers/")[2].split("/")
    return "/".join([tail[0], *tail[1::2]])


def missing(resource_id: str) -> ArmError:
    """The gateway's 404. Of a nested resource it names the outermost, whatever of it is missing."""
    group = segment_after(resource_id, "resourceGroups")
    resource_type = type_of(resource_id)
    return not_found(resource_type, "/".join(resource_id.rpartition("/providers/")[2].split("/")[2::2]), group)


def same(one: str | None, other: str | None) -> bool:
    """Whether two ids name the same resource."""
    return bool(one) and bool(other) and str(one).lower().rstrip("/") == str(other).lower().rstrip("/")
