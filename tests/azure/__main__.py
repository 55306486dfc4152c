"""Runs a simulator by itself, in real time: `python -m tests.azure [--speed 60] [--retry-after 1]`.

Prints one JSON line with its endpoints, and ends when its standard input does. For clients that are to be measured
apart from it, and for trying things by hand.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.azure import Clock, Simulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.azure")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than real time")
    parser.add_argument("--retry-after", type=int, help="seconds to send instead of Azure's own Retry-After")
    given = parser.parse_args()
    with Simulator(clock=Clock(speed=given.speed), retry_after=given.retry_after) as azure:
        azure.traffic.keep_bodies = False
        shown = {
            "endpoint": azure.endpoint,
            "secureEndpoint": azure.secure_endpoint,
            "certificate": str(azure.certificate),
            "subscription": azure.subscription,
            "tenant": azure.tenant,
        }
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
