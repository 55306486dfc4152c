"""The destinations that exist, by the name that specs use."""

from __future__ import annotations

from collections.abc import Callable

from builder.destinations.base import Destination
from builder.destinations.directory import Directory
from builder.destinations.surroundings import Surroundings
from builder.model.spec import Choice, ImageSpec

Make = Callable[[Choice, ImageSpec, Surroundings], Destination]


def _directory(choice: Choice, image: ImageSpec, surroundings: Surroundings) -> Destination:
    return Directory(choice, image)


def _gallery(choice: Choice, image: ImageSpec, surroundings: Surroundings) -> Destination:
    from builder.destinations.gallery import Gallery

    return Gallery(choice, image, surroundings)


def _managed_image(choice: Choice, image: ImageSpec, surroundings: Surroundings) -> Destination:
    from builder.destinations.managed_image import ManagedImage

    return ManagedImage(choice, image, surroundings)


def _blob(choice: Choice, image: ImageSpec, surroundings: Surroundings) -> Destination:
    from builder.destinations.blob import Blob

    return Blob(choice, image)


def _snapshots(choice: Choice, image: ImageSpec, surroundings: Surroundings) -> Destination:
    from builder.destinations.snapshot import Snapshots

    return Snapshots(choice, image, surroundings)


DESTINATIONS: dict[str, Make] = {
    "directory": _directory,
    "gallery": _gallery,
    "managedImage": _managed_image,
    "snapshot": _snapshots,
    "blob": _blob,
}


def destinations_for(image: ImageSpec, surroundings: Surroundings) -> list[Destination]:
    """Where an image is published. Nothing is asked yet."""
    return [DESTINATIONS[choice.kind](choice, image, surroundings) for choice in image.publish.to]
