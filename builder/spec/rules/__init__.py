"""What the schema can't say: rules about an image as a whole, its files, and the images of a project together.

Every rule is a function that yields findings; its docstring states the reason. Rules run on what the schema accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from builder.errors import Diagnostic
from builder.model.spec import ImageSpec

Rule = Callable[[ImageSpec], Iterator[Diagnostic]]


def check_image(image: ImageSpec) -> list[Diagnostic]:
    """What the rules find in one image."""
    return [finding for rule in image_rules() for finding in rule(image)]


def image_rules() -> tuple[Rule, ...]:
    """Every rule about one image, in the order in which they are documented."""
    return ()


def check_images(images: Sequence[ImageSpec], *, complete: bool) -> list[Diagnostic]:
    """What the rules find in the images of a project together. `complete`: no image is missing for being invalid."""
    return []
