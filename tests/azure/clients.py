"""How unmodified clients of the Azure SDK are pointed at a simulator, and how their waiting passes on its clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.azure.simulator import Simulator

SCOPE = "https://management.azure.com/.default"


def sdk_options(azure: Simulator, *, waits: bool = True) -> dict[str, Any]:
    """For synchronous clients."""
    from azure.core.pipeline.policies import SansIOHTTPPolicy
    from azure.core.pipeline.transport import RequestsTransport

    class AllowHttp(SansIOHTTPPolicy[Any, Any]):
        def on_request(self, request: Any) -> None:
            request.context["enforce_https"] = False

    class OnTheClock(RequestsTransport):  # type: ignore[misc, unused-ignore]
        def sleep(self, duration: float) -> None:
            azure.clock.sleep(duration)

    options: dict[str, Any] = {
        "base_url": azure.endpoint,
        "credential_scopes": [SCOPE],
        "per_call_policies": [AllowHttp()],
    }
    if waits:
        options["transport"] = OnTheClock()
    return options


def async_sdk_options(azure: Simulator) -> dict[str, Any]:
    """For clients of `.aio`."""
    from azure.core.pipeline.policies import SansIOHTTPPolicy
    from azure.core.pipeline.transport import AioHttpTransport

    class AllowHttp(SansIOHTTPPolicy[Any, Any]):
        def on_request(self, request: Any) -> None:
            request.context["enforce_https"] = False

    class OnTheClock(AioHttpTransport):  # type: ignore[misc, unused-ignore]
        async def sleep(self, duration: float) -> None:
            await asyncio.to_thread(azure.clock.sleep, duration)

    return {
        "base_url": azure.endpoint,
        "credential_scopes": [SCOPE],
        "per_call_policies": [AllowHttp()],
        "transport": OnTheClock(),
    }
