"""Rules about the images of a project together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from builder.errors import Diagnostic
from builder.model.spec import Choice, ImageSpec
from builder.spec.rules.base import finding
from builder.spec.rules.publishing import DEFAULT_SKU, NAMED_BY, identity_of
from builder.spec.schema import guess

# The key that tells the images of destinations apart; a directory keeps them apart by itself
OF_ONE_IMAGE = {"gallery": "definition", **NAMED_BY}


def names_once(images: Sequence[ImageSpec]) -> Iterator[Diagnostic]:
    """An image's name is how plans, versions and other images know it."""
    first: dict[str, ImageSpec] = {}
    for image in images:
        other = first.setdefault(image.name, image)
        if other is image:
            continue
        if other.file == image.file:
            message = f"the matrix makes two images named '{image.name}'"
            yield finding(image, ("name",), "duplicate-name", message, "write a template such as web-{{ matrix.x }}")
        else:
            message = f"'{image.name}' is already the name of the image in {other.place('name')}"
            yield finding(image, ("name",), "duplicate-name", message)


def known_bases(images: Sequence[ImageSpec], others: Collection[str] = ()) -> Iterator[Diagnostic]:
    """What an image stands on is an image of this project, which is not retired."""
    # `others`: names of the project's other images, when only some are looked at
    names = sorted({image.name for image in images} | set(others))
    by_name = {image.name: image for image in images}
    for image in images:
        name = _base(image)
        if name is None or image.state == "retired":
            continue
        base = by_name.get(name)
        if base is None:
            meant = guess(name, names, taken=(image.name,))
            rest = [other for other in names if other != image.name]
            known = "images are: " + ", ".join(rest[:10]) if rest else "there is no other image in this project"
            help = f"did you mean '{meant}'?" if meant else known
            yield finding(image, (*image.source.path, "name"), "unknown-image", f"there is no image '{name}'", help)
        elif base.state == "retired":
            yield finding(image, (*image.source.path, "name"), "retired-base", f"image '{name}' is retired")


def cycles(images: Sequence[ImageSpec]) -> Iterator[Diagnostic]:
    """No image stands on itself, however far around."""
    by_name = {image.name: image for image in images}
    told: set[str] = set()
    for image in images:
        circle = _circle(image, by_name)
        if circle and not told & set(circle):
            told |= set(circle)
            path = " -> ".join([*circle, circle[0]])
            start = by_name[circle[0]]
            message = f"images stand on each other in a circle: {path}"
            yield finding(start, (*start.source.path, "name"), "image-cycle", message)


def _circle(image: ImageSpec, by_name: Mapping[str, ImageSpec]) -> list[str]:
    seen: list[str] = []
    name: str | None = image.name
    while name is not None and name in by_name:
        if name in seen:
            circle = seen[seen.index(name) :]
            # The same circle starts with the same name, whichever image it was found from
            first = circle.index(min(circle))
            return circle[first:] + circle[:first]
        seen.append(name)
        name = _base(by_name[name])
    return []


def bases_fit(images: Sequence[ImageSpec]) -> Iterator[Diagnostic]:
    """An image has the family, architecture and generation of what it stands on: none of them can be changed."""
    by_name = {image.name: image for image in images}
    for image in images:
        base = by_name.get(_base(image) or "")
        if base is None:
            continue
        for key in ("family", "architecture", "generation"):
            mine, theirs = getattr(image.os, key), getattr(base.os, key)
            if mine != theirs:
                message = f"{key} is {mine}, but image '{base.name}' has {theirs}"
                yield finding(image, ("os", key), "base-differs", message, f"write `{key}: {theirs}`")


def own_destinations(images: Sequence[ImageSpec]) -> Iterator[Diagnostic]:
    """A definition, or a name of versions, is one image's: those of two would take each other's numbers and names.

    Both would be built, before one of them finds its version taken. A directory has a folder for each image.
    """
    first: dict[tuple[object, ...], tuple[ImageSpec, Choice]] = {}
    for image in images:
        for destination in image.publish.to:
            key = OF_ONE_IMAGE.get(destination.kind)
            if key is None:
                continue
            other, theirs = first.setdefault(identity_of(destination, image), (image, destination))
            if other.name == image.name:
                continue
            if destination.kind == "gallery":
                code, message = "shared-definition", f"image '{other.name}' is published to the same definition"
            else:
                code, message = "shared-name", f"versions of image '{other.name}' get the same names here"
            if key in destination.values or key not in theirs.values:
                help = f'write one for each image, such as `{key}: "{{{{ image.name }}}}"`'
            else:
                help = f"write another `{key}` there: {other.place(*theirs.path, key)}"
            yield finding(image, (*destination.path, key), code, message, help)


def own_identifiers(images: Sequence[ImageSpec]) -> Iterator[Diagnostic]:
    """Azure refuses a second definition with the same publisher, offer and SKU in a gallery."""
    first: dict[tuple[object, ...], tuple[object, ...]] = {}
    for image in images:
        for destination in image.publish.to:
            if destination.kind != "gallery":
                continue
            values = destination.values
            given = values.get("properties", {})
            gallery = [values.get(key, "") for key in ("subscription", "resourceGroup", "gallery")]
            stand_in = {"publisher": values["gallery"], "offer": values["definition"], "sku": DEFAULT_SKU}
            names = [given.get(key, default) for key, default in stand_in.items()]
            identifier = tuple(str(part).lower() for part in (*gallery, *names))
            definition = identity_of(destination, image)
            if first.setdefault(identifier, definition) != definition:
                path = (*destination.path, "properties", "offer")
                message = f"another definition of the gallery is {'/'.join(map(str, names))} too"
                yield finding(image, path, "shared-identifier", message, "give one of them another offer or SKU")


def outside_store(images: Sequence[ImageSpec], store: str) -> Iterator[Diagnostic]:
    """A gallery lies outside the local store, which `build gc` cleans."""
    for image in images:
        for destination in image.publish.to:
            if destination.kind == "directory" and PurePosixPath(destination.values["path"]).is_relative_to(store):
                message = f"'{destination.values['path']}' is in the local store, which is cleaned"
                yield finding(image, (*destination.path, "path"), "path-store", message, "write `path: gallery`")


def _base(image: ImageSpec) -> str | None:
    return str(image.source.values["name"]) if image.source.kind == "image" else None
