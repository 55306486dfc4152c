"""What the examples of `examples/azure` speak of, in a simulated subscription.

`python -m tests.integration.azure.examples_world` runs one in real time, sped up, for trying the command line by hand:
it prints the variables to set, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from tests.azure import Clock, Simulator
from tests.azure.guests import Scripted
from tests.integration.azure.connection import connected
from tests.integration.azure.windows_answers import FACTS, answer_all, marker
from tests.integration.azure.world import LOCATION, World
from tests.unit.guest.windows.test_inventory import TOLD

UBUNTU = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
ROCKY_PLAN = ("resf", "rockylinux-x86_64", "9-base")
WORKER = "[Unit]\nDescription=worker\n[Service]\nExecStart=/srv/worker\n[Install]\nWantedBy=multi-user.target\n"
CLIENT = "12345678-1234-4234-8234-123456789012"


def furnish(azure: Simulator) -> World:
    """A running application server with two data disks; accepted terms; Windows guests that answer."""
    world = World(azure, connected(azure), "production")
    world.group("production")
    world.vm("app-1", image=UBUNTU, luns=(0, 1))
    tree = azure.resource("virtualMachines/app-1").hidden["facts"].tree
    (tree.path / "srv/application").write_text("version 7\n", encoding="utf-8")
    (tree.path / "etc/systemd/system/app-worker.service").write_text(WORKER, encoding="utf-8")
    azure.catalogue.accepted_terms.add(ROCKY_PLAN)
    answer_all(azure, TOLD)
    azure.guests.answer(Scripted(marker("what this machine is"), output=FACTS))
    return world


def variables(azure: Simulator) -> dict[str, str]:
    """The environment of a service principal that works there."""
    return {
        "AZURE_CLOUD": azure.secure_endpoint,
        "AZURE_CA_BUNDLE": str(azure.certificate),
        "AZURE_SUBSCRIPTION_ID": azure.subscription,
        "AZURE_TENANT_ID": azure.tenant,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": "not-so-secret",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.azure.examples_world")
    parser.add_argument("--speed", type=float, default=60.0, help="how many times faster than real time")
    given = parser.parse_args()
    with Simulator(clock=Clock(speed=given.speed)) as azure:
        furnish(azure)
        for name, value in variables(azure).items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.write(f"# {LOCATION}, {given.speed:g} times as fast\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
