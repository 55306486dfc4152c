"""Many builds at once from one process: no limit of Azure is broken, and refusals are absorbed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from builder.azure.connection import Azure
from builder.azure.errors import AzureError
from builder.azure.ids import compute, group_id
from tests.azure import Fault, Simulator
from tests.integration.azure.asking import LOCATION
from tests.integration.azure.connection import connected

EMPTY_DISK = {"location": LOCATION, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}
CROWD = 200


@pytest.fixture
def azure() -> Iterator[Simulator]:
    """Without a record of all these calls: others check what they look like."""
    with Simulator() as running:
        running.traffic.keep_bodies = False
        yield running


@pytest.fixture
def gateway(azure: Simulator) -> Azure:
    found = connected(azure)
    found.put(group_id(found.subscription, "g"), {"location": LOCATION}).wait()
    return found


def side_by_side(azure: Simulator, count: int, work: Callable[[int], object]) -> list[float]:
    """When each of `count` threads was done, in seconds on the simulator's clock, sorted. Raises the first error."""
    ready = threading.Barrier(count)
    ends: list[float] = []
    errors: list[BaseException] = []

    def run(number: int) -> None:
        with azure.clock.worker():
            ready.wait()
            try:
                work(number)
                ends.append(azure.clock.elapsed)
            except (AzureError, AssertionError, LookupError) as error:
                errors.append(error)

    began = azure.clock.elapsed
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sorted(end - began for end in ends)


def make_disk(gateway: Azure, number: int) -> None:
    disk = compute(gateway.subscription, "g", "disks", f"d{number}")
    assert gateway.put(disk, EMPTY_DISK).wait()["properties"]["diskState"] == "Unattached"


def test_two_hundred_at_once_break_no_limit(azure: Simulator, gateway: Azure) -> None:
    azure.cloud.latencies["disks.put"] = 30
    ends = side_by_side(azure, CROWD, lambda number: make_disk(gateway, number))

    assert len(ends) == CROWD
    assert (azure.throttle.refused, gateway.calls.throttled) == (0, 0)
    # 200 writes take 6 s at what Azure allows, and a poll of each takes 8 s
    assert ends[-1] <= 30 + 6 + 2 * 9


def test_a_storm_of_refusals_is_absorbed(azure: Simulator, gateway: Azure) -> None:
    """Buckets that are far too small, and that others empty too: everybody gets through, and few calls are refused."""
    azure.throttle.sizes |= {"CreateUpdateDisks3Min": 60, "GetOperation3Min": 600}
    for moment in (10, 60, 110):
        azure.clock.after(moment, lambda: azure.throttle.drain("GetOperation3Min"))
    for number in range(3):
        azure.faults.add(Fault("GET Microsoft.Compute/DiskOperations", "throttle", nth=20 + number * 50, times=3))
    ends = side_by_side(azure, 100, lambda number: make_disk(gateway, number))

    assert len(ends) == 100
    # The 40 that came when the bucket was empty, and few beyond
    assert 40 <= gateway.calls.throttled <= 60
    # The bucket fills by one in 3 s, so that 40 take 120 s however they are asked for
    assert ends[-1] <= 240


def test_one_token_serves_the_crowd(azure: Simulator) -> None:
    asked: list[str] = []
    given = azure.credential.get_token

    def get_token(*scopes: str, **options: object) -> object:
        asked.extend(scopes)
        return given(*scopes, **options)

    azure.credential.get_token = get_token  # type: ignore[method-assign]
    gateway = connected(azure)
    gateway.put(group_id(gateway.subscription, "g"), {"location": LOCATION}).wait()
    side_by_side(azure, 20, lambda number: make_disk(gateway, number))

    assert asked == ["https://management.azure.com/.default"]
