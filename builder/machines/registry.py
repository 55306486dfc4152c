"""The machines that exist, by the name that specs use."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from builder.errors import BuildError
from builder.machines.base import Machine
from builder.model.spec import ImageSpec
from builder.records.store import Store


@lru_cache
def _store(path: Path) -> Store:
    return Store(path)


def _local(store: Store, *, offline: bool) -> Machine:
    from builder.machines.local.machine import LocalMachine

    return LocalMachine(store)


def _azure(store: Store, *, offline: bool) -> Machine:
    from builder.machines.azure.machine import AzureMachine
    from builder.machines.azure.reading import Cache

    return AzureMachine(store, cache=Cache(), offline=offline)


MACHINES: dict[str, Callable[..., Machine]] = {"azure": _azure, "local": _local}


class Machines:
    """The machines of one plan: what they read for one image, they need not read again for another.

    `store` is the folder of the project's local store. `offline`: no cloud is asked anything.
    """

    def __init__(self, store: Path, *, offline: bool = False) -> None:
        self._store = store
        self._offline = offline
        self._made: dict[str, Machine] = {}

    def __call__(self, image: ImageSpec) -> Machine:
        """The machine that makes an image. Raises BuildError for one that this version doesn't have."""
        kind = image.machine.kind
        make = MACHINES.get(kind)
        if make is None:
            raise BuildError(
                f"machine {kind} can't build in this version of build",
                code="machine-unsupported",
                where=image.place(*image.machine.path),
                hint=f"it has: {', '.join(MACHINES)}",
            )
        if kind not in self._made:
            self._made[kind] = make(_store(self._store), offline=self._offline)
        return self._made[kind]


def machine_for(image: ImageSpec, store: Path) -> Machine:
    """The machine that makes an image, for one use. Raises BuildError as `Machines` does."""
    return Machines(store)(image)
