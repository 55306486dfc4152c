"""The destinations that exist, by the name that specs use."""

from __future__ import annotations

from collections.abc import Callable

from builder.destinations.base import Destination
from builder.destinations.directory import Directory
from builder.errors import BuildError
from builder.model.spec import Choice, ImageSpec

DESTINATIONS: dict[str, Callable[[Choice, ImageSpec], Destination]] = {"directory": Directory}


def destinations_for(image: ImageSpec) -> list[Destination]:
    """Where an image is published. Raises BuildError for a kind of destination that this version can't serve yet."""
    found = []
    for choice in image.publish.to:
        make = DESTINATIONS.get(choice.kind)
        if make is None:
            raise BuildError(
                f"publishing to {choice.kind} is not possible in this version of build",
                code="destination-unsupported",
                where=image.place(*choice.path),
                hint=f"it can publish to: {', '.join(DESTINATIONS)}",
            )
        found.append(make(choice, image))
    return found
