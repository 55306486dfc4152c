"""What the images of one gallery share: the gallery itself, and its definitions. Asked once for a command."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from builder.azure.ids import ResourceId
from builder.destinations.gallery_definition import identifier_key

if TYPE_CHECKING:
    from builder.azure.connection import Azure

DEFINITIONS = "Microsoft.Compute/galleries/images"
Answer = TypeVar("Answer")
Json = Mapping[str, Any]
# An error's code when a whole resource group is missing
NO_GROUP = "ResourceGroupNotFound"


class Once(Generic[Answer]):
    """Answers by subject. Thread-safe: who asks while it is asked waits for that answer; an error is no answer."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def of(self, subject: ResourceId | str, ask: Callable[[], Answer]) -> Answer:
        """The answer about something, asked now if nobody has."""
        key = str(subject).lower()
        with self._lock:
            lock = self._locks[key]
        with lock:
            if key not in self._answers:
                self._answers[key] = ask()
            return self._answers[key]


class Galleries:
    """Galleries as they were when a command first asked."""

    def __init__(self) -> None:
        self._bodies: Once[tuple[Json | None, bool]] = Once()
        self._identifiers: Once[Mapping[tuple[str, ...], str]] = Once()

    def get(self, azure: Azure, gallery: ResourceId) -> tuple[Json | None, bool]:
        """The gallery's body (None: not there), and whether its resource group is there. Raises AzureError."""
        from builder.azure.errors import NotFound

        def ask() -> tuple[Json | None, bool]:
            try:
                return azure.get(gallery), True
            except NotFound as error:
                return None, error.azure_code != NO_GROUP

        return self._bodies.of(gallery, ask)

    def identifiers(self, azure: Azure, gallery: ResourceId) -> Mapping[tuple[str, ...], str]:
        """The names of a gallery's definitions by their identifiers, which no two share. Raises AzureError."""

        def ask() -> dict[tuple[str, ...], str]:
            found = azure.list(gallery, DEFINITIONS)
            return {identifier_key(other["properties"]): str(other["name"]) for other in found}

        return self._identifiers.of(gallery, ask)
