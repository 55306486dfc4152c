"""Unit tests start no program and open no connection: what needs either is an integration test."""

from __future__ import annotations

import platform
import socket
import subprocess
from collections.abc import Iterator

import pytest

# azure-identity's modules ask this as they load, and Python starts a program for the answer that it then keeps
platform.platform()


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every attempt to start a program or to connect fail."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a unit test must not do this: {arguments}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    # Sockets within the process (socketpair) are fine: they reach nobody else
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    yield
