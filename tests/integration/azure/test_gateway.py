"""The gateway on the simulator: every way in which Azure carries out a write, and what may go wrong on the way."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest

from builder.azure.connection import Azure
from builder.azure.errors import AzureError, NotFound, Remedy
from builder.azure.ids import ResourceId, compute, group_id, network
from builder.azure.operations import OperationTimeout, Progress, wait_all
from builder.azure.pipeline import ConnectionLost
from builder.errors import BuildError, Interrupted
from tests.azure import Fault, Simulator
from tests.azure.answers import Json
from tests.integration.azure.asking import DEBIAN, LOCATION
from tests.integration.azure.connection import connected

EMPTY_DISK: Json = {"location": LOCATION, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}
GALLERY: Json = {"location": LOCATION, "properties": {"description": "x"}}
PUT_DISK = "PUT Microsoft.Compute/disks"


@pytest.fixture
def gateway(azure: Simulator) -> Azure:
    """Connected, with a resource group `g`."""
    found = connected(azure)
    found.put(group(found), {"location": LOCATION}).wait()
    return found


def group(gateway: Azure) -> ResourceId:
    return group_id(gateway.subscription, "g")


def of(gateway: Azure, *path: str) -> ResourceId:
    return compute(gateway.subscription, "g", *path)


def machine(gateway: Azure, name: str = "v") -> ResourceId:
    """A running VM on a network of its own."""
    net = network(gateway.subscription, "g", "virtualNetworks", "n")
    subnet = net.child("subnets", "s")
    interface = network(gateway.subscription, "g", "networkInterfaces", f"{name}-nic")
    gateway.put(net, {"location": LOCATION, "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
        "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]}}).wait()  # fmt: skip
    gateway.put(interface, {"location": LOCATION, "properties": {"ipConfigurations": [
        {"name": "c", "properties": {"subnet": {"id": str(subnet)}}}]}}).wait()  # fmt: skip
    found = of(gateway, "virtualMachines", name)
    gateway.put(found, {"location": LOCATION, "properties": {
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "storageProfile": {"imageReference": DEBIAN, "osDisk": {"createOption": "FromImage", "name": f"{name}-os"}},
        "osProfile": {"computerName": name, "adminUsername": "build", "adminPassword": "Long-enough-1!"},
        "networkProfile": {"networkInterfaces": [{"id": str(interface)}]}}}).wait()  # fmt: skip
    return found


def test_a_write_yields_the_resource_as_it_is_at_the_end(gateway: Azure) -> None:
    disk = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).wait()
    changed = gateway.patch(of(gateway, "disks", "d"), {"tags": {"a": "b"}}).wait()
    gallery = gateway.put(of(gateway, "galleries", "corp"), GALLERY).wait()

    assert disk["properties"]["diskState"] == "Unattached"
    assert (changed["tags"], changed["properties"]["provisioningState"]) == ({"a": "b"}, "Succeeded")
    assert gallery["properties"]["provisioningState"] == "Succeeded"


def test_actions_yield_their_result(azure_with_blobs: Simulator) -> None:
    gateway = connected(azure_with_blobs)
    gateway.put(group(gateway), {"location": LOCATION}).wait()
    disk = of(gateway, "disks", "d")
    gateway.put(disk, EMPTY_DISK).wait()
    access = gateway.post(disk, "beginGetAccess", {"access": "Read", "durationInSeconds": 3600}).wait()

    assert access["accessSAS"].startswith("http")
    assert gateway.post(disk, "endGetAccess").wait() == {}


def test_a_machine_from_its_network_to_its_end(gateway: Azure) -> None:
    vm = machine(gateway)
    assert gateway.get(vm)["properties"]["provisioningState"] == "Succeeded"
    assert "instanceView" in gateway.get(vm, expand="instanceView")["properties"]
    assert gateway.post(vm, "deallocate").wait() == {}
    # Answered at once, without an operation
    assert gateway.post(vm, "generalize").wait() == {}
    assert gateway.delete(vm).wait() == {}
    assert gateway.find(vm) is None


def test_a_deleted_group_is_followed_by_its_location_alone(azure: Simulator, gateway: Azure) -> None:
    before = azure.clock.elapsed
    assert gateway.delete(group(gateway)).wait() == {}

    assert gateway.find(group(gateway)) is None
    assert azure.clock.elapsed - before <= 1.1 * azure.cloud.seconds("groups.delete")


def test_what_is_not_there_is_deleted_already(gateway: Azure) -> None:
    assert gateway.delete(of(gateway, "disks", "none")).wait() == {}
    assert gateway.delete(group_id(gateway.subscription, "none")).wait() == {}
    assert gateway.delete(compute(gateway.subscription, "none", "disks", "d")).wait() == {}


def test_what_is_not_there_is_not_found(gateway: Azure) -> None:
    for id in (of(gateway, "disks", "none"), compute(gateway.subscription, "none", "disks", "d")):
        assert gateway.find(id) is None
        with pytest.raises(NotFound, match=f"Azure refused to read {id.short}"):
            gateway.get(id)


def test_a_wrong_subscription_is_no_absence(gateway: Azure) -> None:
    with pytest.raises(NotFound) as caught:
        gateway.find(compute("99999999-9999-4999-8999-999999999999", "g", "disks", "d"))
    assert "AZURE_SUBSCRIPTION_ID" in (caught.value.hint or "")


def test_lists(gateway: Azure) -> None:
    wait_all([gateway.put(of(gateway, "disks", f"d{number}"), EMPTY_DISK) for number in range(3)])
    everywhere = ResourceId(gateway.subscription)
    publishers = f"/subscriptions/{gateway.subscription}/providers/Microsoft.Compute/locations/{LOCATION}/publishers"

    assert [disk["name"] for disk in gateway.list(group(gateway), "Microsoft.Compute/disks")] == ["d0", "d1", "d2"]
    assert len(gateway.list(everywhere, "Microsoft.Compute/disks")) == 3
    assert len(gateway.list(group(gateway), "Microsoft.Resources/resources")) == 3
    assert [found["name"] for found in gateway.list(everywhere, "Microsoft.Resources/resourceGroups")] == ["g"]
    assert "Debian" in [found["name"] for found in gateway.list(publishers, "Microsoft.Compute/locations/publishers")]
    query = {"$filter": f"location eq '{LOCATION}'"}
    skus = gateway.read(f"{everywhere}/providers/Microsoft.Compute/skus", kind="Microsoft.Compute/skus", query=query)
    assert skus["value"]


def test_calls_are_counted_by_operation(azure: Simulator, gateway: Azure) -> None:
    before, mark = gateway.calls.counts(), len(azure.traffic.pairs)
    gateway.list(group(gateway), "Microsoft.Compute/disks")
    gateway.find(of(gateway, "disks", "d"))
    found = gateway.calls.counts() - before

    assert found == Counter({"LIST Microsoft.Compute/disks": 1, "GET Microsoft.Compute/disks": 1})
    assert found == azure.traffic.counts(mark)
    assert azure.traffic.writes(mark) == []


@pytest.mark.parametrize("seconds", [0.5, 3, 45, 240, 1800, 4 * 3600])
def test_an_end_is_seen_within_a_tenth_of_the_length(azure: Simulator, gateway: Azure, seconds: float) -> None:
    azure.cloud.latencies["galleries.put"] = seconds
    before, began = gateway.calls.total, azure.clock.elapsed
    gateway.put(of(gateway, "galleries", "corp"), GALLERY).wait()

    assert seconds <= azure.clock.elapsed - began <= seconds + max(1.0, 0.1 * seconds) + 1e-3
    assert gateway.calls.total - before <= 92


def test_progress_is_told(azure: Simulator, gateway: Azure) -> None:
    seen: list[Progress] = []
    gateway.put(of(gateway, "galleries", "corp"), GALLERY).wait(on_progress=seen.append)

    assert [progress.status for progress in seen[-2:]] == ["InProgress", "Succeeded"]
    assert seen[-1].seconds >= azure.cloud.seconds("galleries.put")


def test_operations_side_by_side_take_as_long_as_the_longest(azure: Simulator, gateway: Azure) -> None:
    began = azure.clock.elapsed
    gallery, *disks = wait_all(
        [gateway.put(of(gateway, "galleries", "corp"), GALLERY)]
        + [gateway.put(of(gateway, "disks", f"d{number}"), EMPTY_DISK) for number in range(10)]
    )

    assert gallery["name"] == "corp"
    assert [disk["name"] for disk in disks] == [f"d{number}" for number in range(10)]
    assert azure.clock.elapsed - began <= 1.1 * azure.cloud.seconds("galleries.put") + 1


def test_side_by_side_the_first_error_comes_after_all_have_ended(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "fail", code="AllocationFailed", name="d1"))
    operations = [gateway.put(of(gateway, "disks", f"d{number}"), EMPTY_DISK) for number in range(3)]
    with pytest.raises(AzureError) as caught:
        wait_all([*operations, gateway.put(of(gateway, "galleries", "corp"), GALLERY)])

    assert caught.value.azure_code == "AllocationFailed"
    assert gateway.get(of(gateway, "galleries", "corp"))["properties"]["provisioningState"] == "Succeeded"


def test_a_failed_operation_says_why(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "fail", code="SkuNotAvailable", message="not in this zone"))
    with pytest.raises(AzureError, match="Azure failed to make disks/d: SkuNotAvailable: not in this zone") as caught:
        gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).wait()

    assert (caught.value.status, caught.value.remedy) == (200, Remedy.CHANGE)
    assert "machine.azure.size" in (caught.value.hint or "")


def test_a_fault_inside_azure_is_begun_again(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "fail", code="InternalServerError", times=2))

    assert gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).wait()["properties"]["diskState"] == "Unattached"
    assert gateway.calls.counts()[PUT_DISK] == 3


def test_a_fault_inside_azure_that_stays_is_told(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "fail", code="InternalServerError", times=99))
    with pytest.raises(AzureError, match="InternalServerError"):
        gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).wait()

    assert gateway.calls.counts()[PUT_DISK] == 3


ABSORBED = (
    Fault(PUT_DISK, "drop", times=2),
    Fault(PUT_DISK, "lose"),
    Fault(PUT_DISK, "throttle", retry_after=17, times=3),
    Fault(PUT_DISK, "refuse", status=503, code="ServerBusy", times=2),
    Fault(PUT_DISK, "refuse", status=500, code="InternalServerError"),
    Fault(PUT_DISK, "refuse", status=429, code="RetryableErrorDueToAnotherOperation"),
    Fault(PUT_DISK, "refuse", code="AnotherOperationInProgress", times=5),
    Fault(PUT_DISK, "refuse", code="ResourceGroupBeingDeleted", times=3),
    Fault(PUT_DISK, "refuse", code="MissingSubscriptionRegistration"),
    Fault("GET Microsoft.Compute/DiskOperations", "drop", times=20),
    Fault("GET Microsoft.Compute/DiskOperations", "throttle", retry_after=5, times=4),
    Fault("GET Microsoft.Compute/DiskOperations", "refuse", status=502, code="BadGateway", times=3),
    Fault("GET Microsoft.Compute/DiskOperations", "refuse", status=404, code="NotFound", times=99),
)


@pytest.mark.parametrize("fault", ABSORBED, ids=[f"{fault.kind}-{fault.code}-{fault.times}" for fault in ABSORBED])
def test_what_passes_is_absorbed(azure: Simulator, gateway: Azure, fault: Fault) -> None:
    azure.faults.add(fault)
    made = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).wait()

    assert made["properties"]["diskState"] == "Unattached"
    assert len(azure.faults.fired) >= min(fault.times, 2)


def test_retry_after_of_a_refusal_is_waited_in_full(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "throttle", retry_after=60))
    gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)
    tries = [pair.moment for pair in azure.traffic.pairs if pair.operation == PUT_DISK]

    assert 60 <= tries[1] - tries[0] <= 66.5
    assert gateway.calls.throttled == 1


FINAL = (
    Fault(PUT_DISK, "refuse", times=99, code="OperationNotAllowed", message="exceeding approved quota"),
    Fault(PUT_DISK, "refuse", times=99, status=403, code="AuthorizationFailed"),
    Fault(PUT_DISK, "refuse", times=99, status=403, code="RequestDisallowedByPolicy"),
)


@pytest.mark.parametrize("fault", FINAL, ids=[fault.code for fault in FINAL])
def test_what_only_a_change_helps_is_asked_once(azure: Simulator, gateway: Azure, fault: Fault) -> None:
    azure.faults.add(fault)
    with pytest.raises(AzureError) as caught:
        gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)

    assert (caught.value.azure_code, len(azure.faults.fired)) == (fault.code, 1)
    assert caught.value.hint


def test_patience_ends(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "refuse", status=500, code="InternalServerError", times=999))
    azure.faults.add(Fault("PUT Microsoft.Compute/galleries", "throttle", retry_after=60, times=999))
    azure.faults.add(Fault("PUT Microsoft.Compute/snapshots", "drop", times=999))
    began = azure.clock.elapsed
    for id, code in ((of(gateway, "disks", "d"), 500), (of(gateway, "galleries", "c"), 429)):
        with pytest.raises(AzureError) as caught:
            gateway.put(id, EMPTY_DISK)
        assert caught.value.status == code
    with pytest.raises(ConnectionLost):
        gateway.put(of(gateway, "snapshots", "s"), EMPTY_DISK)

    assert azure.clock.elapsed - began < 2100


def test_reads_never_register_a_provider(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault("GET Microsoft.Compute/disks", "refuse", code="MissingSubscriptionRegistration"))
    mark = len(azure.traffic.pairs)
    with pytest.raises(AzureError, match="MissingSubscriptionRegistration"):
        gateway.get(of(gateway, "disks", "d"))

    assert azure.traffic.writes(mark) == []


@pytest.mark.parametrize("lost", ["lose", "drop"])
def test_a_script_is_never_started_twice(azure: Simulator, gateway: Azure, lost: str) -> None:
    """An answer that got lost leaves open whether the script runs: then it is looked for."""
    vm = machine(gateway)
    azure.clock.advance(azure.cloud.seconds("virtualMachines.agent"))
    azure.faults.add(Fault("PUT Microsoft.Compute/virtualMachines/runCommands", lost))  # type: ignore[arg-type]
    command = vm.child("runCommands", "step-1")
    body = {"location": LOCATION, "properties": {"source": {"script": "echo hello"}, "asyncExecution": False}}
    if lost == "lose":
        assert gateway.put(command, body).wait()["properties"]["provisioningState"] == "Succeeded"
    else:
        with pytest.raises(ConnectionLost):
            gateway.put(command, body)

    assert gateway.calls.counts()["PUT Microsoft.Compute/virtualMachines/runCommands"] == 1


def test_an_operation_is_followed_by_another_process(azure: Simulator, gateway: Azure) -> None:
    begun = gateway.put(of(gateway, "galleries", "corp"), GALLERY)
    token = begun.token
    azure.clock.advance(5)
    resumed = connected(azure).resume(token)

    assert not resumed.done()
    assert resumed.wait()["properties"]["provisioningState"] == "Succeeded"
    assert resumed.done()
    assert azure.traffic.counts()["PUT Microsoft.Compute/galleries"] == 1


RESUMED = ("post", "delete", "group", "patch")


@pytest.mark.parametrize("what", RESUMED)
def test_operations_of_all_methods_can_be_resumed(azure: Simulator, gateway: Azure, what: str) -> None:
    disk = of(gateway, "disks", "d")
    vm = machine(gateway) if what == "post" else disk
    gateway.put(disk, EMPTY_DISK).wait()
    begun = {
        "post": lambda: gateway.post(vm, "deallocate"),
        "delete": lambda: gateway.delete(disk),
        "group": lambda: gateway.delete(group(gateway)),
        "patch": lambda: gateway.patch(disk, {"tags": {"a": "b"}}),
    }[what]()
    result = connected(azure).resume(begun.token).wait()

    assert result.get("tags", {}) == ({"a": "b"} if what == "patch" else {})


def test_a_failure_is_seen_by_who_resumes(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "fail", code="InternalServerError"))
    token = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK).token
    with pytest.raises(AzureError, match="Azure failed to make disks/d: InternalServerError"):
        connected(azure).resume(token).wait()


def test_a_kept_token_cannot_send_bearer_tokens_elsewhere(azure: Simulator, gateway: Azure) -> None:
    token = json.loads(gateway.put(of(gateway, "galleries", "corp"), GALLERY).token)
    for part in ("resource", "status"):
        forged = {**token, part: "https://thief.example/subscriptions/x"}
        with pytest.raises(AzureError, match="thief"):
            gateway.resume(json.dumps(forged)).wait()
    with pytest.raises(BuildError, match="can't be read"):
        gateway.resume("{}")


ELSEWHERE = ("https://127.0.0.1:{port}/x", "http://127.0.0.1/x", "http://127.0.0.1.example:{port}/x",
             "http://x@127.0.0.1:{port}/x")  # fmt: skip


@pytest.mark.parametrize("url", ELSEWHERE)
def test_addresses_that_are_not_followed(azure: Simulator, gateway: Azure, url: str) -> None:
    token = json.loads(gateway.put(of(gateway, "galleries", "corp"), GALLERY).token)
    port = azure.endpoint.rpartition(":")[2]
    with pytest.raises(AzureError, match="which is not"):
        gateway.resume(json.dumps({**token, "resource": url.format(port=port)}))


def test_addresses_of_operations_are_polled_unchanged_and_never_shown(azure: Simulator, gateway: Azure) -> None:
    operation = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)
    first = next(pair for pair in azure.traffic.pairs if pair.operation == PUT_DISK)
    operation.wait()
    polled = {pair.url for pair in azure.traffic.pairs if "DiskOperations" in pair.url}

    assert polled == {first.headers["Azure-AsyncOperation"]}
    assert len(polled.pop()) > 3000
    assert "DiskOperations" not in repr(operation)


def test_a_hanging_operation_is_left_after_a_while_and_found_again(azure: Simulator, gateway: Azure) -> None:
    azure.cloud.latencies["disks.put"] = 300
    operation = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)
    began = azure.clock.elapsed
    with pytest.raises(OperationTimeout, match="more than 100 s to make disks/d"):
        operation.wait(timeout=100)

    assert azure.clock.elapsed - began == pytest.approx(100, abs=0.01)
    assert operation.wait(timeout=250)["name"] == "d"


def test_waiting_can_be_interrupted(azure: Simulator, gateway: Azure) -> None:
    azure.faults.add(Fault(PUT_DISK, "hang"))
    stop = threading.Event()
    operation = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 5:
            stop.set()

    with pytest.raises(Interrupted):
        operation.wait(stop=stop, on_progress=watch)
    assert len(seen) == 5


def test_an_operation_that_cannot_be_looked_at_is_not_lost(azure: Simulator, gateway: Azure) -> None:
    """The others beside it are followed to their ends, and it is found again later."""
    azure.faults.add(Fault("GET Microsoft.Compute/capsOperations", "refuse", status=403, code="AuthorizationFailed"))
    gallery = gateway.put(of(gateway, "galleries", "corp"), GALLERY)
    disk = gateway.put(of(gateway, "disks", "d"), EMPTY_DISK)
    with pytest.raises(AzureError, match="AuthorizationFailed"):
        wait_all([gallery, disk])

    assert disk.ended
    assert not gallery.ended
    assert gallery.wait()["name"] == "corp"


def test_a_name_that_azure_refuses_is_not_even_sent(azure: Simulator, gateway: Azure) -> None:
    mark = len(azure.traffic.pairs)
    with pytest.raises(BuildError, match="no dash"):
        gateway.put(of(gateway, "galleries", "corp-images"), GALLERY)

    assert azure.traffic.pairs[mark:] == []
