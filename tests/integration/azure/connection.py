"""The gateway of builder, connected to a simulator: its endpoint, its credential, its clock."""

from __future__ import annotations

import threading
from collections.abc import Callable

from builder.azure.clouds import Cloud
from builder.azure.connection import Azure, make
from tests.azure import Clock, Simulator


class OnTheClock:
    """The simulator's clock as the gateway takes one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now().timestamp()

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> None:
        self._clock.sleep(seconds)


def reaching(azure: Azure) -> Callable[..., Azure]:
    """In place of `connect`: any subscription, with the identity, the clock and the counts of this connection."""

    def connect(subscription: str | None = None, **_: object) -> Azure:
        return azure if subscription in (None, azure.subscription) else Azure(subscription, azure._pipeline)

    return connect


def connected(azure: Simulator, subscription: str | None = None) -> Azure:
    """A connection of its own: limits and counts are not shared with others."""
    cloud = Cloud(
        "Simulated", azure.endpoint, azure.secure_endpoint, "https://management.azure.com", "core.windows.net",
        custom=True,
    )  # fmt: skip
    return make(subscription or azure.subscription, cloud, azure.credential, OnTheClock(azure.clock))
