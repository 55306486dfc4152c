"""The destinations that exist, by the name that specs use."""

from __future__ import annotations

from collections.abc import Callable

from builder.destinations.base import Destination
from builder.destinations.directory import Directory
from builder.destinations.unsupported import Unsupported
from builder.model.spec import Choice, ImageSpec

DESTINATIONS: dict[str, Callable[[Choice, ImageSpec], Destination]] = {"directory": Directory}


def destinations_for(image: ImageSpec) -> list[Destination]:
    """Where an image is published. One that this version can't serve raises BuildError when it is used."""
    found: list[Destination] = []
    for choice in image.publish.to:
        make = DESTINATIONS.get(choice.kind)
        found.append(make(choice, image) if make else Unsupported(choice, tuple(DESTINATIONS)))
    return found
