"""Ids of Azure resources as a type: taken apart once, compared without regard to letter case, as Azure does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from builder.errors import BuildError

GROUP_KIND = "Microsoft.Resources/resourceGroups"
SUBSCRIPTION_KIND = "Microsoft.Resources/subscriptions"
# What would lead out of its place in a URL
_UNSAFE = re.compile(r"[/\\?#%\s\x00-\x1f\x7f]")
_FRAME = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)"
    r"(?:/resourceGroups/(?P<group>[^/]+))?"
    r"(?:/providers/(?P<provider>[^/]+)/(?P<rest>.+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class ResourceId:
    """An id: of a subscription, of a resource group, or of a resource in either.

    `types` and `names` go together: ("galleries", "images") and ("corp", "web"). `group` is empty for what stands in
    a subscription itself. Two ids are equal when Azure takes them for the same.
    """

    subscription: str
    group: str = ""
    provider: str = ""
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.types) != len(self.names) or bool(self.types) != bool(self.provider):
            raise _invalid(str(self), "a type or a name is missing")
        for part in (self.subscription, *([self.group] if self.group else []), self.provider or "x", *self.types,
                     *self.names):  # fmt: skip
            if not part or part in (".", "..") or _UNSAFE.search(part):
                raise _invalid(str(self), f"{part!r} can't stand in an id")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an id apart. Raises BuildError when it is none."""
        found = _FRAME.fullmatch(text.rstrip("/") if len(text) > 1 else text)
        if found is None:
            raise _invalid(text, "it doesn't begin as /subscriptions/<id>/resourceGroups/<name>")
        parts = found["rest"].split("/") if found["rest"] else []
        if len(parts) % 2 or "providers" in (part.lower() for part in parts[::2]):
            raise _invalid(text, "types and names don't alternate")
        return cls(found["subscription"], found["group"] or "", found["provider"] or "",
                   tuple(parts[::2]), tuple(parts[1::2]))  # fmt: skip

    @property
    def kind(self) -> str:
        """The type with its provider: "Microsoft.Compute/galleries/images"."""
        if self.provider:
            return f"{self.provider}/{'/'.join(self.types)}"
        return GROUP_KIND if self.group else SUBSCRIPTION_KIND

    @property
    def name(self) -> str:
        """The last name: the resource's own, the group's, or the subscription's id."""
        return self.names[-1] if self.names else self.group or self.subscription

    @property
    def parent(self) -> ResourceId:
        """What it stands in: the resource above, the group, or the subscription. A subscription is its own parent."""
        if len(self.types) > 1:
            return ResourceId(self.subscription, self.group, self.provider, self.types[:-1], self.names[:-1])
        if self.types:
            return ResourceId(self.subscription, self.group)
        return ResourceId(self.subscription)

    @property
    def group_id(self) -> ResourceId:
        """The resource group that it stands in."""
        return ResourceId(self.subscription, self.group)

    @property
    def short(self) -> str:
        """For messages: "galleries/corp/images/web", "resource group images"."""
        if self.types:
            return "/".join(part for pair in zip(self.types, self.names, strict=True) for part in pair)
        return f"resource group {self.group}" if self.group else f"subscription {self.subscription}"

    def child(self, kind: str, name: str) -> ResourceId:
        """What stands below a resource: `definition.child("versions", "1.0.0")`."""
        return ResourceId(self.subscription, self.group, self.provider, (*self.types, kind), (*self.names, name))

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription}"
        if self.group:
            text += f"/resourceGroups/{self.group}"
        if self.provider:
            pairs = zip(self.types, self.names, strict=False)
            text += f"/providers/{self.provider}/" + "/".join(part for pair in pairs for part in pair)
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceId) and str(self).lower() == str(other).lower()

    def __hash__(self) -> int:
        return hash(str(self).lower())


def compute(subscription: str, group: str, *path: str) -> ResourceId:
    """An id of Microsoft.Compute: `compute(subscription, "images", "galleries", "corp", "images", "web")`."""
    return ResourceId(subscription, group, "Microsoft.Compute", tuple(path[::2]), tuple(path[1::2]))


def network(subscription: str, group: str, *path: str) -> ResourceId:
    """An id of Microsoft.Network: `network(subscription, "g", "virtualNetworks", "net", "subnets", "build")`."""
    return ResourceId(subscription, group, "Microsoft.Network", tuple(path[::2]), tuple(path[1::2]))


def group_id(subscription: str, group: str) -> ResourceId:
    """The id of a resource group."""
    return ResourceId(subscription, group)


def _invalid(text: str, why: str) -> BuildError:
    return BuildError(
        f"{text!r} is no id of an Azure resource: {why}",
        code="azure-id",
        hint="ids look as /subscriptions/<id>/resourceGroups/<group>/providers/<provider>/<type>/<name>",
    )
