"""Carries one connection of the guest to the fabric: standard input and output on one side, its socket on the other.

QEMU starts this file once per connection, without our packages: only the standard library may be imported. It ends when
either side closes, so it can't outlive QEMU or the fabric.
"""

import os
import selectors
import socket
import sys
from pathlib import Path


def relay(path: Path) -> None:
    """Copy bytes both ways until both directions are closed."""
    # A socket's path may have 107 bytes at most; its name alone is always short enough
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as fabric, selectors.DefaultSelector() as selector:
        fabric.connect(path.name)
        selector.register(0, selectors.EVENT_READ)
        selector.register(fabric, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    data = os.read(0, 65536)
                    if not data:
                        return
                    fabric.sendall(data)
                else:
                    data = fabric.recv(65536)
                    if not data:
                        return
                    while data:
                        data = data[os.write(1, data) :]


if __name__ == "__main__":
    relay(Path(sys.argv[1]))
