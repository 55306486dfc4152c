"""The simulator's own promises: time, faults, limits, traffic, and what goes on inside VMs."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.azure import Clock, Fault, Simulator
from tests.azure.answers import Json
from tests.azure.blobs import Blobs, vhd_footer
from tests.azure.guests import Scripted
from tests.integration.azure.asking import DEBIAN, LOCATION, WINDOWS, Asking
from tests.integration.azure.checking import ROOT

MIB = 1 << 20
EMPTY_DISK: Json = {"location": LOCATION, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}


@pytest.fixture
def ask(azure: Simulator) -> Asking:
    return Asking(azure)


def test_state_advances_by_the_clock_and_never_by_polling(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    url = ask("PUT", "disks/d", EMPTY_DISK).headers["azure-asyncoperation"]
    polls = [ask("GET", url).body["status"] for _ in range(20)]
    azure.clock.advance(azure.cloud.seconds("disks.put") - 0.001)
    before = ask("GET", url).body["status"]
    azure.clock.advance(0.001)

    assert {*polls, before} == {"InProgress"}
    assert ask("GET", url).body["status"] == "Succeeded"
    assert ask("GET", "disks/d").body["properties"]["diskState"] == "Unattached"


def test_polling_urls_are_as_long_as_azures(ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})

    assert 3000 <= len(ask("PUT", "disks/d", EMPTY_DISK).headers["azure-asyncoperation"]) <= 3300


def test_workers_sleep_side_by_side_on_a_standing_clock() -> None:
    clock = Clock()
    ends: dict[int, float] = {}
    ready = threading.Barrier(20)

    def work(seconds: int) -> None:
        with clock.worker():
            ready.wait()
            for _ in range(3):
                clock.sleep(seconds)
            ends[seconds] = clock.elapsed

    threads = [threading.Thread(target=work, args=(seconds,)) for seconds in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert ends == {seconds: 3.0 * seconds for seconds in range(1, 21)}


FAULTS = (
    (Fault("PUT Microsoft.Compute/disks", "refuse", code="Nope"), 409, "Nope"),
    (Fault("PUT Microsoft.Compute/disks", "refuse", status=503, code="ServerBusy"), 503, "ServerBusy"),
    (Fault("PUT Microsoft.Compute/disks", "throttle", retry_after=7), 429, "TooManyRequests"),
)


@pytest.mark.parametrize(("fault", "status", "code"), FAULTS, ids=[fault.kind for fault, _, _ in FAULTS])
def test_faults_that_refuse(azure: Simulator, ask: Asking, fault: Fault, status: int, code: str) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    azure.faults.add(fault)
    got = ask("PUT", "disks/d", EMPTY_DISK)

    assert (got.status, got.code) == (status, code)
    assert got.headers.get("retry-after") == ("7" if status == 429 else None)
    assert ask("GET", "disks/d").status == 404
    assert ask("PUT", "disks/d", EMPTY_DISK).status == 202, "it strikes once"
    assert [struck for struck, _path in azure.faults.fired] == [fault]


def test_a_fault_strikes_at_its_turn_and_by_name(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    azure.faults.add(Fault("PUT Microsoft.Compute/*", "refuse", nth=2, times=2, name="d"))
    seen = [ask("PUT", f"disks/{name}", EMPTY_DISK).status for name in ("other", "d")]
    azure.clock.advance(60)
    seen += [ask("PUT", "disks/d", EMPTY_DISK).status for _ in range(2)]

    assert seen == [202, 202, 409, 409]


def test_faults_of_operations(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    azure.faults.add(Fault("PUT Microsoft.Compute/disks", "fail", code="AllocationFailed", name="failed"))
    azure.faults.add(Fault("PUT Microsoft.Compute/disks", "slow", factor=100, name="slow"))
    azure.faults.add(Fault("PUT Microsoft.Compute/disks", "hang", name="hung"))
    urls = {
        name: ask("PUT", f"disks/{name}", EMPTY_DISK).headers["azure-asyncoperation"]
        for name in ("failed", "slow", "hung")
    }
    azure.clock.advance(100)
    first = {name: ask("GET", url).body for name, url in urls.items()}
    azure.clock.advance(24 * 3600)

    assert first["failed"]["status"] == "Failed"
    assert first["failed"]["error"]["code"] == "AllocationFailed"
    assert ask("GET", "disks/failed").body["properties"]["provisioningState"] == "Failed"
    assert (first["slow"]["status"], ask("GET", urls["slow"]).body["status"]) == ("InProgress", "Succeeded")
    assert ask("GET", urls["hung"]).body["status"] == "InProgress"


@pytest.mark.parametrize(("kind", "there"), [("drop", 404), ("lose", 200)])
def test_connections_that_close(azure: Simulator, ask: Asking, kind: str, there: int) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    azure.faults.add(Fault("PUT Microsoft.Compute/disks", kind))  # type: ignore[arg-type]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask("PUT", "disks/d", EMPTY_DISK)

    assert ask("GET", "disks/d").status == there


def test_limits_refuse_with_a_wait_and_refill_with_time(azure: Simulator, ask: Asking) -> None:
    azure.throttle.sizes["CreateUpdateDisks3Min"] = 3
    ask("PUT", ask.group, {"location": LOCATION})
    answers = [ask("PUT", f"disks/d{number}", EMPTY_DISK) for number in range(4)]
    wait = int(answers[-1].headers["retry-after"])
    azure.clock.advance(wait - 1)
    early = ask("PUT", "disks/d3", EMPTY_DISK).status
    azure.clock.advance(1)

    assert [got.status for got in answers] == [202, 202, 202, 429]
    assert "CreateUpdateDisks3Min;0" in answers[-1].headers["x-ms-ratelimit-remaining-resource"]
    assert wait == 60
    assert (early, ask("PUT", "disks/d3", EMPTY_DISK).status) == (429, 202)


def test_each_machine_has_a_bucket_of_its_own(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    statuses = [ask("GET", "virtualMachines/vm").status for _ in range(40)]
    got = ask("GET", "virtualMachines/vm")

    assert statuses.count(429) >= 4
    assert "LowCostGetResource;0" in got.headers["x-ms-ratelimit-remaining-resource"]
    assert (got.status, got.headers["retry-after"]) == (429, "5")
    assert ask("GET", "virtualMachines/other").status == 404, "another machine isn't concerned"


def test_arms_own_limit_on_reads(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    statuses = [ask("GET", ask.group).status for _ in range(260)]

    assert statuses == [200] * 250 + [429] * 10
    azure.clock.advance(1)
    assert ask("GET", ask.group).headers["x-ms-ratelimit-remaining-subscription-reads"] == "24"


def test_traffic_tells_reads_from_writes(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    mark = len(azure.traffic.pairs)
    ask("GET", "disks")
    ask("GET", "disks/d")
    quiet = azure.traffic.writes(mark)
    ask("PUT", "disks/d", EMPTY_DISK)

    assert quiet == []
    assert [pair.operation for pair in azure.traffic.writes(mark)] == ["PUT Microsoft.Compute/disks"]
    assert azure.traffic.counts(mark)["GET Microsoft.Compute/disks"] == 1


def test_it_runs_by_itself() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.azure", "--speed", "1000"], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdin is not None
        shown = json.loads(process.stdout.readline())
        url = f"{shown['endpoint']}/metadata/endpoints?api-version=2022-09-01"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.loads(answer.read())
        process.stdin.close()

        assert process.wait(30) == 0
        assert found["resourceManager"] == shown["endpoint"]


REFUSED_CALLS = (
    ("without a token", {"token": ""}, 401, "AuthenticationFailed"),
    ("with an unknown api-version", {"version": "2024-07-02"}, 400, "NoRegisteredProviderFound"),
)


@pytest.mark.parametrize(("how", "options", "status", "code"), REFUSED_CALLS, ids=[row[0] for row in REFUSED_CALLS])
def test_calls_that_are_refused(ask: Asking, how: str, options: Json, status: int, code: str) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    got = ask("GET", "disks", **options)

    assert (got.status, got.code) == (status, code), how


def test_a_deleted_group_takes_everything_along(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    got = ask("DELETE", ask.group)
    poll = ask("GET", got.headers["location"])
    refused = ask("PUT", "disks/late", EMPTY_DISK)
    azure.clock.advance(azure.cloud.seconds("groups.delete"))

    assert (got.status, got.headers["retry-after"], poll.status) == (202, "15", 202)
    assert "azure-asyncoperation" not in got.headers
    assert refused.code == "ResourceGroupBeingDeleted"
    assert ask("GET", poll.headers["location"]).status == 200
    assert list(azure.state) == []


# (what is wrong, the machine that is asked for, the error)
RULES: tuple[tuple[str, Json, str], ...] = (
    ("unknown size", {"size": "Standard_None"}, "InvalidParameter"),
    ("generation", {"size": "Standard_D2_v2"}, "BadRequest"),
    ("architecture", {"size": "Standard_D2ps_v5"}, "BadRequest"),
    ("trusted launch of a first generation", {"image": {**DEBIAN, "sku": "12"},
     "securityProfile": {"securityType": "TrustedLaunch"}}, "BadRequest"),
    ("no such image", {"image": {**DEBIAN, "sku": "13"}}, "PlatformImageNotFound"),
    ("plan", {"image": {"publisher": "resf", "offer": "rockylinux-x86_64", "sku": "9-base", "version": "latest"}},
     "VMMarketplaceInvalidInput"),
    ("no such interface", {"interface": "none"}, "NotFound"),
    ("settings without type", {"securityProfile": {"uefiSettings": {"secureBootEnabled": True}}}, "BadRequest"),
)  # fmt: skip


@pytest.mark.parametrize(("what", "wanted", "code"), RULES, ids=[row[0] for row in RULES])
def test_machines_that_azure_refuses(azure: Simulator, ask: Asking, what: str, wanted: Json, code: str) -> None:
    ask.network("nic")
    got = ask("PUT", "virtualMachines/vm", ask.machine_body(**wanted))

    assert got.code == code, f"{what}: {got.body}"
    assert ask("GET", "virtualMachines/vm").status == 404


def test_quota_restrictions_and_terms(azure: Simulator, ask: Asking) -> None:
    ask.network("nic")
    azure.catalogue.quotas["standarddsv5family"] = 1
    quota = ask("PUT", "virtualMachines/vm", ask.machine_body())
    azure.catalogue.restrict(LOCATION, "Standard_D2as_v5")
    restricted = ask("PUT", "virtualMachines/vm", ask.machine_body(size="Standard_D2as_v5"))
    plan = {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}
    rocky = {"publisher": "resf", "offer": "rockylinux-x86_64", "sku": "9-base", "version": "latest"}
    wanted = {**ask.machine_body(rocky, size="Standard_B2s"), "plan": plan}
    refused = ask("PUT", "virtualMachines/vm", wanted)
    terms = (f"/subscriptions/{azure.subscription}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
             "/publishers/resf/offers/rockylinux-x86_64/plans/9-base/agreements/current")  # fmt: skip
    before = ask("GET", terms).body["properties"]["accepted"]
    ask("PUT", terms, {"properties": {"accepted": True}})

    assert (quota.code, restricted.code) == ("OperationNotAllowed", "SkuNotAvailable")
    assert (refused.code, before) == ("MarketplacePurchaseEligibilityFailed", False)
    assert ask.done("PUT", "virtualMachines/vm", wanted)["status"] == "Succeeded"


def test_what_builds_refer_to(azure: Simulator, ask: Asking) -> None:
    ask.network("nic")
    body = ask.machine_body()
    wanted = ask.id("diskEncryptionSets/des")
    body["properties"]["storageProfile"]["osDisk"]["managedDisk"] = {"diskEncryptionSet": {"id": wanted}}
    refused = ask("PUT", "virtualMachines/vm", body)
    key = {"activeKey": {"keyUrl": "https://v.vault.azure.net/keys/k/1"}}
    made = {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": key}
    ask.done("PUT", "diskEncryptionSets/des", made)
    account = f"{ask.group}/providers/Microsoft.Storage/storageAccounts/images"
    ask("PUT", account, {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"})
    identity = f"{ask.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"

    assert refused.code == "NotFound"
    assert ask.done("PUT", "virtualMachines/vm", body)["status"] == "Succeeded"
    assert len(ask("POST", f"{account}/listKeys", {}).body["keys"]) == 2
    assert ask("PUT", identity, {"location": LOCATION}).body["properties"]["clientId"]


def test_what_a_script_writes_stays_on_its_disk(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    first = ask.command("echo kept > /etc/marker; useradd -r robot; id -u robot; uname >&2")
    disk = ask("GET", "virtualMachines/vm").body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    creation = {"creationData": {"createOption": "Copy", "sourceResourceId": disk}, "incremental": True}
    ask.done("PUT", "snapshots/s", {"location": LOCATION, "properties": creation})
    ask.command("echo later > /etc/marker")
    held = azure.resource("snapshots/s")

    assert (first["exitCode"], first["executionState"], first["error"]) == (0, "Succeeded", "Linux\n")
    assert first["output"].strip().isdigit()
    assert held.hidden["facts"].tree.text("/etc/marker") == "kept\n"
    assert azure.resource("virtualMachines/vm").hidden["facts"].tree.text("/etc/marker") == "later\n"
    assert held.properties["completionPercent"] < 100
    azure.clock.advance(60)
    assert held.properties["completionPercent"] == 100


def test_a_script_cannot_leave_its_sandbox(ask: Asking, tmp_path: Path) -> None:
    ask.machine()
    view = ask.command(f"touch /usr/written && echo wrote; ls -d {tmp_path}; grep -c : /proc/net/dev; ps ax | wc -l")
    *_before, interfaces, processes = view["output"].split()

    assert "wrote" not in view["output"] and str(tmp_path) not in view["output"]
    assert int(interfaces) == 1, "only the loopback of its own"
    assert int(processes) < 10


def test_a_hanging_command_ends_by_its_timeout(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    azure.guests.answer(Scripted("never ends", hangs=True, stages=((5, "begun\n"),)))
    began = azure.clock.elapsed
    view = ask.command("never ends", timeoutInSeconds=300)

    assert (view["executionState"], view["output"]) == ("TimedOut", "begun\n")
    assert azure.clock.elapsed - began == 300 + azure.cloud.seconds("runCommands.put")


def test_a_machine_that_switches_itself_off(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    ask.command("waagent -force -deprovision+user; shutdown -P now")
    codes = [status["code"] for status in ask("GET", "virtualMachines/vm/instanceView").body["statuses"]]
    refused = ask(
        "PUT", "virtualMachines/vm/runCommands/x", {"location": LOCATION, "properties": {"source": {"script": "id"}}}
    )

    assert "PowerState/stopped" in codes
    assert refused.code == "OperationNotAllowed"


def test_a_restart_takes_the_agent_away_for_a_while(azure: Simulator, ask: Asking) -> None:
    def agent() -> str:
        body = ask("GET", "virtualMachines/vm/instanceView").body
        return str(body["vmAgent"]["statuses"][0]["displayStatus"])

    ask.machine()
    before = agent()
    ask.command("reboot")
    during = agent()
    azure.clock.advance(azure.cloud.seconds("virtualMachines.agent"))

    assert (before, during, agent()) == ("Ready", "Not Ready", "Ready")


def test_windows_is_sealed_by_sysprep_after_its_time(azure: Simulator, ask: Asking) -> None:
    ask.machine(WINDOWS)
    state = "(Get-ItemProperty 'HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Setup\\State').ImageState"
    seal = {"source": {"script": "Sysprep.exe /oobe /generalize /quit /mode:vm"}, "asyncExecution": True}
    before = ask.command(state)["output"]
    ask("PUT", "virtualMachines/vm/runCommands/seal", {"location": LOCATION, "properties": seal})
    during = ask.command(state)["output"]
    azure.clock.advance(azure.cloud.seconds("sysprep"))
    unknown = ask.command("Get-Something")

    assert (before.strip(), during.strip()) == ("IMAGE_STATE_COMPLETE", "IMAGE_STATE_UNDEPLOYABLE")
    assert ask.command(state)["output"].strip() == "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    assert (unknown["exitCode"], "no answer" in unknown["error"]) == (1, True)


def test_output_goes_to_append_blobs(azure_with_blobs: Simulator, blobs: Blobs) -> None:
    ask = Asking(azure_with_blobs)
    ask.machine()
    blobs.request("PUT", "output", {"restype": "container"})
    url = blobs.sas("output/log", "racw")
    view = ask.command("seq 1 2000; echo wrong >&2", outputBlobUri=url)
    with urllib.request.urlopen(url, timeout=30) as answer:
        whole = answer.read().decode()

    assert whole.splitlines() == [str(number) for number in range(1, 2001)]
    assert (len(view["output"]), view["error"]) == (4096, "wrong\n")
    assert "?" not in ask("GET", "virtualMachines/vm/runCommands/c").body["properties"]["outputBlobUri"]


def test_a_blob_is_imported_when_it_is_a_fixed_vhd(azure_with_blobs: Simulator, blobs: Blobs) -> None:
    ask = Asking(azure_with_blobs)
    ask("PUT", ask.group, {"location": LOCATION})
    blobs.request("PUT", "vhds", {"restype": "container"})
    size = 3 * MIB
    for name, footer in (("good", vhd_footer(size)), ("bad", bytes(512))):
        blobs.create_page_blob(f"vhds/{name}.vhd", size + 512)
        blobs.put_page(f"vhds/{name}.vhd", size, footer)
    account = f"{ask.group}/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"

    def imported(name: str) -> Json:
        uri = f"{blobs.endpoint}/vhds/{name}.vhd"
        creation = {"createOption": "Import", "sourceUri": uri, "storageAccountId": account}
        return {
            "location": LOCATION,
            "properties": {"creationData": creation, "osType": "Linux", "hyperVGeneration": "V2"},
        }

    assert ask.done("PUT", "disks/good", imported("good"))["status"] == "Succeeded"
    assert ask("GET", "disks/good").body["properties"]["diskSizeGB"] == 1
    assert ask("PUT", "disks/bad", imported("bad")).code == "InvalidVhd"


def test_a_spot_machine_is_evicted(azure: Simulator, ask: Asking) -> None:
    ask.network("nic")
    ask.done("PUT", "virtualMachines/vm", ask.machine_body(priority="Spot", evictionPolicy="Deallocate"))
    azure.evict("virtualMachines/vm")

    statuses = ask("GET", "virtualMachines/vm/instanceView").body["statuses"]
    assert "PowerState/deallocated" in [status["code"] for status in statuses]


def test_data_disks_come_and_go(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    ask.done("PUT", "disks/d", EMPTY_DISK)
    attached = {"lun": 2, "createOption": "Attach", "managedDisk": {"id": ask.id("disks/d")}}

    def change(disks: list[Json]) -> None:
        ask.done("PATCH", "virtualMachines/vm", {"properties": {"storageProfile": {"dataDisks": disks}}})
        azure.clock.advance(60)

    change([attached])
    with_disk = ask("GET", "disks/d").body
    refused = ask("DELETE", "disks/d")
    change([])
    without = ask("GET", "disks/d").body

    assert (with_disk["properties"]["diskState"], with_disk["managedBy"]) == ("Attached", ask.id("virtualMachines/vm"))
    assert refused.code == "OperationNotAllowed"
    assert (without["properties"]["diskState"], "managedBy" in without) == ("Unattached", False)


def test_a_machine_from_a_copied_disk_is_the_same_machine(azure: Simulator, ask: Asking) -> None:
    ask.machine()
    ask.network("nic", "second")
    ask.command("echo me > /etc/marker")
    disk = ask("GET", "virtualMachines/vm").body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    creation = {"creationData": {"createOption": "Copy", "sourceResourceId": disk}}
    ask.done("PUT", "disks/copy", {"location": LOCATION, "properties": creation})
    body = ask.machine_body(interface="second")
    with_profile = body["properties"]["storageProfile"] = {
        "osDisk": {"createOption": "Attach", "osType": "Linux", "managedDisk": {"id": ask.id("disks/copy")}}
    }
    refused = ask("PUT", "virtualMachines/twin", body)
    del body["properties"]["osProfile"]
    ask.done("PUT", "virtualMachines/twin", body)

    assert with_profile and (refused.code, refused.body["error"]["target"]) == ("InvalidParameter", "osProfile")
    assert azure.resource("virtualMachines/twin").hidden["facts"].tree.text("/etc/marker") == "me\n"


def test_a_directly_shared_gallery_is_seen_by_its_unique_name(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    sharing = {"sharingProfile": {"permissions": "Groups"}}
    ask.done("PUT", "galleries/gal", {"location": LOCATION, "properties": sharing})
    shared = f"/subscriptions/{azure.subscription}/providers/Microsoft.Compute/locations/{LOCATION}/sharedGalleries"
    before = ask("GET", shared, version="2023-07-03").body["value"]
    groups = [{"type": "Subscriptions", "ids": [azure.subscription]}]
    got = ask("POST", "galleries/gal/share", {"operationType": "Add", "groups": groups})
    azure.clock.advance(60)
    after = ask("GET", shared, version="2023-07-03").body["value"]

    assert (got.status, before) == (202, [])
    assert [gallery["identifier"]["uniqueId"] for gallery in after] == [f"/SharedGalleries/{azure.subscription}-GAL"]
    assert "id" not in after[0]


def test_newer_definitions_have_other_defaults(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    ask.done("PUT", "galleries/gal", {"location": LOCATION})
    seen = []
    for number, version in enumerate(("2024-03-03", "2025-03-03")):
        identifier = {"publisher": "p", "offer": "o", "sku": str(number)}
        properties = {"osType": "Linux", "osState": "Generalized", "identifier": identifier}
        body = {"location": LOCATION, "properties": properties}
        seen.append(ask("PUT", f"galleries/gal/images/d{number}", body, version=version).body["properties"])

    assert (seen[0]["hyperVGeneration"], "features" in seen[0]) == ("V1", False)
    assert seen[1]["hyperVGeneration"] == "V2"
    assert seen[1]["features"] == [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]


def test_a_deployment_fails_with_its_resource(azure: Simulator, ask: Asking) -> None:
    ask("PUT", ask.group, {"location": LOCATION})
    azure.faults.add(Fault("PUT Microsoft.Compute/disks", "fail", code="AllocationFailed", name="d2"))
    disk = {"type": "Microsoft.Compute/disks", "apiVersion": "2024-03-02", **EMPTY_DISK}
    resources = [
        {**disk, "name": "[concat(parameters('prefix'), '1')]"},
        {**disk, "name": "d2", "dependsOn": ["[resourceId('Microsoft.Compute/disks', 'd1')]"]},
        {**disk, "name": "d3", "dependsOn": ["d2"]},
    ]
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"prefix": {"type": "string", "defaultValue": "d"}},
        "resources": resources,
    }
    path = f"{ask.group}/providers/Microsoft.Resources/deployments/x"
    got = ask("PUT", path, {"properties": {"mode": "Incremental", "template": template}})
    azure.clock.advance(60)
    status = ask("GET", got.headers["azure-asyncoperation"]).body

    assert status["status"] == "Failed"
    assert status["error"]["details"][0]["code"] == "AllocationFailed"
    assert [ask("GET", f"disks/{name}").status for name in ("d1", "d2", "d3")] == [200, 200, 404]


def test_two_hundred_clients_at_once(azure: Simulator) -> None:
    azure.throttle.enforced = False
    ask = Asking(azure)
    ask("PUT", ask.group, {"location": LOCATION})
    ends: list[str] = []

    def build(number: int) -> None:
        with azure.clock.worker():
            url = ask("PUT", f"disks/d{number}", EMPTY_DISK).headers["azure-asyncoperation"]
            while (status := ask("GET", url).body["status"]) == "InProgress":
                azure.clock.sleep(10)
            ends.append(status)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert ends == ["Succeeded"] * 200
    assert len(azure.state.of_type("Microsoft.Compute/disks")) == 200


def test_a_mistake_of_the_simulator_ends_the_test() -> None:
    with pytest.raises(AssertionError, match="the simulator itself failed"), Simulator() as azure:
        ask = Asking(azure)
        ask("PUT", ask.group, {"location": LOCATION})
        assert ask("PUT", "disks/d", {"location": LOCATION, "properties": {"creationData": {"createOption": "Upload",
                   "uploadSizeBytes": 512 + (20 << 20)}, "diskSizeGB": "four"}}).status == 500  # fmt: skip
