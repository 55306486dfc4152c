"""Images that stand on images: which one an image needs, and in what order to work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.errors import BuildError
from builder.model.spec import ImageSpec

LATEST = "latest"


def base_of(image: ImageSpec) -> str | None:
    """The name of the image that this one stands on (`source: {image: ...}`), or None."""
    return str(image.source.values["name"]) if image.source.kind == "image" else None


def pinned_version(image: ImageSpec) -> str | None:
    """The version of its base that an image names; None when it follows the newest."""
    version = image.source.values.get("version") if image.source.kind == "image" else None
    return None if version in (None, LATEST) else str(version)


def bases_first(names: Iterable[str], images: Mapping[str, ImageSpec]) -> list[str]:
    """`names` and everything they stand on, every base before what stands on it; otherwise in the given order.

    A base that is not among `images` is left out: planning what stands on it tells. Raises BuildError (code
    "image-cycle") when images stand on each other in a circle.
    """
    placed: dict[str, None] = {}
    for name in names:
        pending: dict[str, None] = {}
        current: str | None = name
        # Each image has at most one base: what it stands on is a chain
        while current is not None and current in images and current not in placed:
            if current in pending:
                circle = [*pending][[*pending].index(current) :]
                raise BuildError(
                    f"images stand on each other in a circle: {' -> '.join([*circle, current])}",
                    code="image-cycle",
                    where=images[current].place("source"),
                )
            pending[current] = None
            current = base_of(images[current])
        placed.update(dict.fromkeys(reversed(pending)))
    return list(placed)


def pinned_versions(images: Iterable[ImageSpec]) -> dict[str, set[str]]:
    """The versions that active images name as their base, by the base's name."""
    pinned: dict[str, set[str]] = {}
    for image in images:
        base, version = base_of(image), pinned_version(image)
        if base is not None and version is not None and image.state == "active":
            pinned.setdefault(base, set()).add(version)
    return pinned
