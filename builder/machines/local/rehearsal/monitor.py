"""QEMU's control connection (QMP): that the machine exists, and which port of ours leads to its ssh server."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from typing import Any

from builder.errors import BuildError

GREETING_SECONDS = 60.0


class MonitorClosed(BuildError):
    """QEMU ended before it could start the machine."""


class Monitor:
    """One end of a socket pair whose other end QEMU was given."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(GREETING_SECONDS)
        self._lines = connection.makefile("rb")
        self._connection = connection

    def close(self) -> None:
        """Close our end; QEMU goes on."""
        self._lines.close()
        self._connection.close()

    def greet(self) -> None:
        """Wait until QEMU has built the machine. Raises MonitorClosed when it ends instead."""
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Run a command and return its value."""
        request = json.dumps({"execute": command, "arguments": arguments})
        with suppress(BrokenPipeError):  # the read below says that QEMU has ended
            self._connection.sendall(request.encode())
        while True:
            message = self._read()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise BuildError(f"QEMU refuses {command}: {message['error']['desc']}", code="qemu-failed")

    def forwarded_port(self) -> int:
        """The port of loopback that QEMU chose for the guest's ssh server."""
        table = self.execute("human-monitor-command", **{"command-line": "info usernet"})
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", table)
        if found is None:
            raise BuildError("QEMU forwards no port to the guest", code="qemu-failed", detail=table)
        return int(found[1])

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except (TimeoutError, ConnectionResetError):
            line = b""
        if not line:
            raise MonitorClosed("QEMU could not start the virtual machine", code="qemu-failed")
        message: dict[str, Any] = json.loads(line)
        return message
