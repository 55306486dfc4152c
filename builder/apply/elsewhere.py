"""Cleans up outside of this host: everywhere that machines and destinations of a project's images leave things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from builder.destinations.base import Destination
from builder.errors import BuildError
from builder.machines.base import Machine
from builder.model.cleaning import Cleaned, Keep, Place
from builder.model.spec import ImageSpec
from builder.records.store import RUN_ID, Store

Leavers = Iterator[tuple[str, Callable[[], tuple[Place, ...]], frozenset[str]]]


@dataclass(frozen=True)
class Elsewhere:
    """What was (or would be) removed, and what could not be looked at: its name and why, each reason once."""

    cleaned: tuple[Cleaned, ...]
    missed: tuple[tuple[str, BuildError], ...]


def clean_elsewhere(
    images: Iterable[ImageSpec],
    machines: Callable[[ImageSpec], Machine],
    destinations: Callable[[ImageSpec], Sequence[Destination]],
    store: Store,
    keep: Keep,
    *,
    dry_run: bool,
) -> Elsewhere:
    """Clean every place of these images once. One that can't be looked at is in no other's way."""
    places: dict[str, Place] = {}
    built: dict[str, set[str]] = {}
    missed: dict[str, tuple[str, BuildError]] = {}
    for name, ask, builds in _leavers(images, machines, destinations):
        try:
            for place in ask():
                places.setdefault(place.name, place)
                # Nobody but the machine keeps checkpoints: where an image is only published, none of its are looked for
                built.setdefault(place.name, set()).update(builds)
        except BuildError as error:
            missed.setdefault(error.message, (name, error))
    cleaned: list[Cleaned] = []
    for place in places.values():
        try:
            cleaned += place.clean(built[place.name], keep, lambda run: _is_alive(store, run), dry_run=dry_run)
        except BuildError as error:
            missed.setdefault(error.message, (place.name, error))
    return Elsewhere(tuple(cleaned), tuple(missed.values()))


def _leavers(
    images: Iterable[ImageSpec],
    machines: Callable[[ImageSpec], Machine],
    destinations: Callable[[ImageSpec], Sequence[Destination]],
) -> Leavers:
    """What leaves things somewhere: its name for people, the question where, and the image if it is built there."""
    for image in images:
        yield f"where {image.name} is built", partial(_built_in, image, machines), frozenset({image.name})
        for destination in destinations(image):
            yield destination.name, destination.places, frozenset()


def _built_in(image: ImageSpec, machines: Callable[[ImageSpec], Machine]) -> tuple[Place, ...]:
    return machines(image).places(image)


def _is_alive(store: Store, run: str) -> bool | None:
    """Whether a run lives; None for one that this store knows nothing of."""
    return store.is_alive(run) if RUN_ID.fullmatch(run) and store.run_folder(run).is_dir() else None
