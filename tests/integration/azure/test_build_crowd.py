"""200 builds at once by one `build apply`: its memory, and what it asks of Azure, whose limits hold."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.azure import Fault, Simulator
from tests.azure.catalogue import Size
from tests.integration.azure import crowd

CROWD = 200
MIB = 1024 * 1024
SPEC = """\
name: "web-{{{{ matrix.number }}}}"
matrix: {{number: [{numbers}]}}
os: {{family: linux, distribution: debian, release: "12"}}
source: {{marketplace: {{publisher: Debian, offer: debian-12, sku: 12-gen2}}}}
machine: {{azure: {{location: westeurope}}}}
prepare:
  - run: echo {{{{ matrix.number }}}} > /etc/number
publish:
  to:
    - gallery:
        resourceGroup: images
        gallery: corp
        definition: "web-{{{{ matrix.number }}}}"
        regions: [westeurope]
"""
# A bucket that is smaller than anybody could know
SMALL_BUCKET = "HighCostSnapshotCreateHydrate3Min"
# Somebody else empties a bucket, after so many seconds
DRAINED = ((100, "writes"), (160, "reads"), (200, "UpdateVMSubscriptionMaximum"), (300, "writes"), (500, "reads"))
# What is refused without having been announced
STORMS = (
    Fault("PUT Microsoft.Compute/virtualMachines", "throttle", nth=50, times=4, retry_after=20),
    Fault("GET Microsoft.Compute/operations", "throttle", nth=500, times=8, retry_after=5),
    Fault("PUT Microsoft.Compute/galleries/images/versions", "throttle", nth=100, times=3, retry_after=17),
)


def a_whole_region(azure: Simulator) -> None:
    """As many sizes as a region of Azure has, and room for everybody."""
    for number in range(1000):
        azure.catalogue.sizes[f"standard_x{number}"] = Size(f"Standard_X{number}", "standardXFamily", 2, 8)
    azure.catalogue.region_cores = 2 * CROWD
    azure.catalogue.quotas["standarddsv5family"] = 2 * CROWD


def test_two_hundred_builds_at_once(tmp_path: Path) -> None:
    numbers = [f"{number:03}" for number in range(CROWD)]
    (tmp_path / "build.yaml").write_text("specs: ['*.image.yaml']\n")
    (tmp_path / "web.image.yaml").write_text(SPEC.format(numbers=", ".join(f"'{number}'" for number in numbers)))
    # Its traffic is not kept: others check what calls look like. Longer replication would only be looked at longer
    with Simulator(latencies={"versions.put": 100}) as azure:
        azure.traffic.keep_bodies = False
        a_whole_region(azure)
        azure.throttle.sizes[SMALL_BUCKET] = 150
        for storm in STORMS:
            azure.faults.add(storm)
        for seconds, name in DRAINED:
            azure.clock.after(seconds, partial(azure.throttle.drain, name))
        done = crowd.apply(azure, tmp_path, CROWD, "--parallel", str(CROWD))

        assert done.exit_code == 0, done.errors[-4000:]
        for number in numbers:
            version = azure.resource(f"images/web-{number}/versions/1.0.0")
            assert version.provisioning == "Succeeded"
            assert version.hidden["facts"].tree.text("/etc/number") == f"{number}\n"
        assert done.peak < 500 * MIB

        # Every refusal was absorbed, nobody came before the time that it told, and without others there is none
        stormed = len(azure.faults.fired)
        assert stormed == sum(storm.times for storm in STORMS)
        assert set(azure.throttle.refusals) <= {SMALL_BUCKET} | {name for _, name in DRAINED}
        assert done.throttled == azure.throttle.refused + stormed
        # (calls that were on their way when a bucket was emptied)
        assert azure.throttle.refused <= CROWD / 2
        assert azure.throttle.early == {}

        # What Azure allows at 25 reads and 10 writes a second
        assert done.calls <= 95 * CROWD
        assert done.seconds <= 1000
        azure.clock.advance(azure.cloud.seconds("groups.delete"))
        groups = {group.name for group in azure.state.of_type("Microsoft.Resources/resourceGroups")}
        assert groups == {"images", "build-checkpoints-westeurope"}
