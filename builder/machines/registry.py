"""The machines that exist, by the name that specs use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from builder.errors import BuildError
from builder.machines.base import Machine
from builder.model.spec import ImageSpec


@lru_cache
def _local(store: Path) -> Machine:
    from builder.machines.local.machine import LocalMachine
    from builder.records.store import Store

    return LocalMachine(Store(store))


MACHINES = {"local": _local}


def machine_for(image: ImageSpec, store: Path) -> Machine:
    """The machine that makes an image. Raises BuildError for one that this version doesn't have yet."""
    make = MACHINES.get(image.machine.kind)
    if make is None:
        raise BuildError(
            f"machine {image.machine.kind} can't build in this version of build",
            code="machine-unsupported",
            where=image.place(*image.machine.path),
            hint=f"it has: {', '.join(MACHINES)}",
        )
    return make(store)
