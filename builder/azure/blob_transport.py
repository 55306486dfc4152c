"""The SDK's transport, but that a read of a blob is one request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.pipeline.transport import HttpTransport


class _Reading(threading.local):
    """Whether this thread reads from a blob."""

    here = False


_reading = _Reading()


@contextmanager
def reading() -> Iterator[None]:
    """The block reads a part of a blob, in this thread."""
    _reading.here = True
    try:
        yield
    finally:
        _reading.here = False


def transport(*, connection_verify: str | bool) -> HttpTransport[Any, Any]:
    """A transport of the SDK's. `connection_verify` is a file with the certificates to trust, if not the usual ones.

    With every read of a page blob the SDK asks for the list of all its pages, and goes on without when that fails.
    """
    from azure.core.exceptions import HttpResponseError
    from azure.core.pipeline.transport import RequestsTransport

    class Transport(RequestsTransport):  # type: ignore[misc]  # the SDK loads it lazily, without its type
        def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401 (the SDK's own signature)
            if _reading.here and request.query.get("comp") == "pagelist":
                raise HttpResponseError("not asked: only a part is read")
            return super().send(request, **options)

    made: HttpTransport[Any, Any] = Transport(connection_verify=connection_verify)
    return made
