"""Where the nodes of a document stand when parts of it come from build.yaml's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from builder.errors import Place
from builder.model.spec import KeyPath
from builder.spec.document import Document, Position

# A key of the full form, by the written path of its parent, to what is written: nothing, where a short form leaves it
# out (`run: text` is `run: {command: text}`); another key, where it was misspelt; another index, after an item left out
Renames = dict[tuple[KeyPath, str | int], KeyPath]


def written_path(path: KeyPath, renames: Mapping[tuple[KeyPath, str | int], KeyPath]) -> KeyPath:
    """Where the author wrote the node that has this path in the full form."""
    written: KeyPath = ()
    for key in path:
        written += renames.get((written, key), (key,))
    return written


@dataclass(frozen=True)
class Layer:
    """A part of a YAML document, from `prefix` on, that gives a spec some of its values."""

    document: Document
    prefix: KeyPath = ()

    def has(self, path: KeyPath) -> bool:
        """Whether the node is in this layer."""
        return (*self.prefix, *path) in self.document.places


@dataclass(frozen=True)
class LayeredPlaces(Mapping[KeyPath, Place]):
    """The places of a spec's nodes: the author's document first, then the layers of defaults under it.

    Paths are those of the full form; `renames` leads to what is written. Places are made when they are asked for.
    """

    layers: tuple[Layer, ...]
    renames: Renames = field(default_factory=dict)

    def _written(self, path: KeyPath) -> KeyPath:
        return written_path(path, self.renames) if self.renames else path

    def _layer(self, path: KeyPath) -> Layer | None:
        return next((layer for layer in self.layers if layer.has(path)), None)

    def __getitem__(self, path: KeyPath) -> Place:
        written = self._written(path)
        layer = self._layer(written)
        if layer is None:
            raise KeyError(path)
        return layer.document.place((*layer.prefix, *written))

    def inside(self, path: KeyPath, at: Position | None) -> Place:
        """Where a part of a text stands, by its line and column within the text."""
        written = self._written(path)
        layer = self._layer(written)
        if layer is None:
            raise KeyError(path)
        return layer.document.place_inside((*layer.prefix, *written), at)

    def __contains__(self, path: object) -> bool:
        # Mapping's own would make a place only to throw it away
        return isinstance(path, tuple) and self._layer(self._written(path)) is not None

    def __iter__(self) -> Iterator[KeyPath]:
        seen: set[KeyPath] = set()
        for layer in self.layers:
            length = len(layer.prefix)
            for path in layer.document.places:
                if path[:length] == layer.prefix and path[length:] not in seen:
                    seen.add(path[length:])
                    yield path[length:]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def key(self, path: KeyPath) -> Place:
        """Where the key of a node stands, or the nearest thing to it."""
        written = self._written(path)
        while written and self._layer(written) is None:
            written = written[:-1]
        layer = self._layer(written) or self.layers[0]
        return layer.document.key_place((*layer.prefix, *written))

    def as_written(self, path: KeyPath) -> str | None:
        """The text of a number, boolean or null as the author wrote it."""
        written = self._written(path)
        layer = self._layer(written)
        return layer.document.written.get((*layer.prefix, *written)) if layer else None
