"""What all sources share: where one is looked for, how it is refused, and what Azure's features mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from builder.azure.errors import NotFound
from builder.azure.ids import ResourceId, compute
from builder.errors import BuildError, Place
from builder.machines.azure.reading import Reader
from builder.machines.azure.resolved import CONFIDENTIAL, STANDARD, TRUSTED_LAUNCH
from builder.machines.azure.rules import refusal
from builder.model.spec import GIB, ImageSpec

Json = dict[str, Any]

# A feature's word (in lower case) and the security types of VMs that it allows
SECURITY_OF_FEATURE: Mapping[str, tuple[str, ...]] = {
    "": (STANDARD,),
    "standard": (STANDARD,),
    "trustedlaunchsupported": (STANDARD, TRUSTED_LAUNCH),
    "trustedlaunch": (TRUSTED_LAUNCH,),
    "confidentialvmsupported": (STANDARD, CONFIDENTIAL),
    "confidentialvm": (CONFIDENTIAL,),
    "trustedlaunchandconfidentialvmsupported": (STANDARD, TRUSTED_LAUNCH, CONFIDENTIAL),
}


# What is there may be hidden from the one who looks
LOOK = "check the names, the subscription, and that the signed-in identity may read there"


class Allowances(TypedDict):
    """What a source allows: fields of `ResolvedSource`."""

    security: tuple[str, ...]
    controllers: tuple[str, ...]
    accelerated_networking: bool


@dataclass(frozen=True)
class Search:
    """A source that is looked for: for this image, in a region ("" where none is known yet)."""

    image: ImageSpec
    reads: Reader
    location: str

    @property
    def values(self) -> Mapping[str, Any]:
        """What the spec says of the source."""
        return self.image.source.values

    def place(self, *keys: str | int) -> Place:
        """Where a key of the source stands in the YAML."""
        return self.image.place(*self.image.source.path, *keys)

    def refuse(self, code: str, message: str, *keys: str | int, hint: str | None = None) -> BuildError:
        """The error of a broken rule about the source."""
        return refusal(code, message, self.place(*keys), hint, source=self.image.source.kind)

    def compute(self, *path: str, values: Mapping[str, Any] | None = None) -> ResourceId:
        """The id of a resource in the group (and subscription) that the source's values name."""
        named = self.values if values is None else values
        return compute(named.get("subscription") or self.reads.subscription, named["resourceGroup"], *path)

    def get(self, id: ResourceId, *keys: str | int, expand: str | None = None) -> Json:
        """A resource of the source. Raises BuildError ("source-missing") where there is none."""
        try:
            return self.reads.get(id, expand=expand)
        except NotFound as error:
            group = id.group_id
            if error.azure_code == "ResourceGroupNotFound":
                message = f"there is no {group.short} in subscription {id.subscription}"
                raise self.refuse("source-missing", message, "resourceGroup", hint=LOOK) from error
            raise self.refuse("source-missing", f"there is no {id.short} in {group.short}", *keys, hint=LOOK) from error


def allowances(features: Iterable[Mapping[str, str]] | None) -> Allowances:
    """What the features of a marketplace image or of an image definition allow."""
    named = {str(each.get("name", "")).lower(): str(each.get("value", "")) for each in features or ()}
    return {
        "security": SECURITY_OF_FEATURE.get(named.get("securitytype", "").lower(), (STANDARD,)),
        "controllers": controllers(named.get("diskcontrollertypes") or named.get("diskcontrollertype")),
        "accelerated_networking": named.get("isacceleratednetworksupported", "").lower() == "true",
    }


def controllers(text: str | None) -> tuple[str, ...]:
    """The disk controllers that Azure lists as "SCSI, NVMe"."""
    return tuple(word.strip() for word in (text or "SCSI").split(",") if word.strip())


def family(text: object) -> str:
    """`os.family` for Azure's word."""
    return str(text or "").lower()


def generation(text: object) -> int:
    """`os.generation` for Azure's word; 1 where Azure says nothing, as of old."""
    return 2 if str(text or "").upper() == "V2" else 1


def architecture(text: object) -> str:
    """`os.architecture` for Azure's word."""
    return str(text or "x64").lower()


def gib(number: object) -> int:
    """Bytes for Azure's number of GiB; 0 for none."""
    return int(number) * GIB if isinstance(number, int) else 0


def purchase_plan(found: Mapping[str, Any] | None) -> dict[str, str] | None:
    """A plan with Azure's three keys, or None."""
    if not found:
        return None
    keys = ("name", "product", "publisher", "promotionCode")
    return {key: str(found[key]) for key in keys if found.get(key)}
