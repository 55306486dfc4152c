"""What real Azure was asked, asked of the simulator: the answers have the same form."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.azure import Simulator
from tests.azure.answers import Json
from tests.azure.blobs import Blobs
from tests.azure.catalogue import MarketplaceImage, Size
from tests.integration.azure.recordings import Entry, Recording, keys, of_the_cli, of_the_sdk, poll_kind

RECORDED_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
# The kinds that a builder uses
KINDS = re.compile(
    r"/providers/Microsoft\.(Compute/(disks|snapshots|images|galleries|virtualMachines)"
    r"|Network/(virtualNetworks|networkInterfaces|networkSecurityGroups|publicIPAddresses)|Resources/deployments)/",
    re.IGNORECASE,
)
OUTSIDE = re.compile(
    r"/extensions/|/galleries/[^/]+/applications|virtualNetworkPeerings|/diskEncryptionSets/|performMaintenance"
    r"|convertToManagedDisks|/reimage|simulateEviction|/capture(\?|$)|/providers/Microsoft\.(Authorization|Insights)"
    r"|virtualNetworks/[^/]+/providers",
    re.IGNORECASE,
)
# What a body names that isn't simulated; a request that needs it can't be replayed
NEEDS = re.compile(
    r"Microsoft\.Storage/storageAccounts|diskEncryptionSet|\"vhd\"|virtualMachineScaleSets|natGateways|loadBalancers"
    r"|serviceEndpointPolic|privateEndpoints/|applicationSecurityGroups|publicIPPrefixes|ddosProtectionPlan",
    re.IGNORECASE,
)
# What answers hold that stands for the subscription's policies of that day, or for what came before in its history;
# members that recordings of 2023 and before leak and those of 2024 don't have (isArmResource, ...), or that the OpenAPI
# of their own version doesn't know (ipamPoolPrefixAllocations); and a gallery's sharingProfile "Private", which only
# api-version 2020-09-30 shows unasked
IGNORED_KEYS = re.compile(
    r"^\.(tags|identity|kind|systemData)|azsecpack|\.resources$|^\.resources\[\]|securityProfile\.|ipConfigurations\[\]"
    r"|\.extensions|isArmResource|ipamPoolPrefixAllocations|colocationConstraints|faultDomain|\.sharingProfile\.permissions|\.sharingProfile$|\.publicIPAddress|\.ipAddress$|\.dnsSettings|\.ipTags|\.tier$|natGateway|\.expireTime"
)

# Azure fills these in at once at one time, and by the end of the operation at another
EARLY_KEYS = {".properties.creationData.sourceUniqueId", ".properties.publicNetworkAccess"}


def outcome(request: urllib.request.Request) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), _body(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), _body(error.read())


def _body(raw: bytes) -> Any:
    return json.loads(raw) if raw else None


class Replay:
    """One recording against one simulator. `differences` are sentences."""

    def __init__(self, azure: Simulator, recording: Recording) -> None:
        self.azure = azure
        self.recording = recording
        self.differences: list[str] = []
        self.replayed = 0
        self._without: set[str] = set()
        self._deployment = ""
        azure.cloud.subscriptions[RECORDED_SUBSCRIPTION] = "Recorded"
        self._prepare()

    def call(self, method: str, url: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        target = re.sub(r"^https?://[^/]+", self.azure.endpoint, url)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": "Bearer simulated", "Content-Type": "application/json"}
        return outcome(urllib.request.Request(target, data=data, headers=headers, method=method))

    def _prepare(self) -> None:
        """What the recording found when it began: groups, images of the marketplace, sizes."""
        for entry in self.recording.entries:
            group = re.search(r"/resourcegroups/([^/?]+)", entry.url, re.IGNORECASE)
            if group:
                location = self._location(group[1])
                url = f"/subscriptions/{RECORDED_SUBSCRIPTION}/resourceGroups/{group[1]}?api-version=2024-07-01"
                self.call("PUT", f"https://x{url}", {"location": location})
            for body in (entry.body, entry.answer):
                self._learn(body)

    def _location(self, group: str) -> str:
        for entry in self.recording.entries:
            if f"/{group}/".lower() in entry.url.lower() and isinstance(entry.body, dict) and "location" in entry.body:
                return str(entry.body["location"]).replace(" ", "").lower()
        return "eastus"

    def _learn(self, value: Any) -> None:
        catalogue = self.azure.catalogue
        if isinstance(value, list):
            for item in value:
                self._learn(item)
        if not isinstance(value, dict):
            return
        if "vmSize" in value and str(value["vmSize"]).lower() not in catalogue.sizes:
            name = str(value["vmSize"])
            catalogue.sizes[name.lower()] = Size(name, "recordedFamily", 1, 2, data_disks=64)
        if {"publisher", "offer", "sku", "version"} <= set(value):
            names = [str(value[key]) for key in ("publisher", "offer", "sku")]
            if catalogue.find(*names, "latest", location="eastus") is None:
                system = "Windows" if "windows" in names[1].lower() else "Linux"
                version = str(value.get("exactVersion", value["version"])).replace("latest", "1.0.0")
                generation = "V2" if "gen2" in names[2].lower() else "V1"
                catalogue.add(MarketplaceImage(names[0], names[1], names[2], version, system, generation))
        for item in value.values():
            self._learn(item)

    def run(self) -> None:
        entries = self.recording.entries
        for place, entry in enumerate(entries):
            if entry.method in ("PUT", "POST", "PATCH", "DELETE") and self._replayable(entry):
                self._replay(entry, entries[place + 1 :])

    def _replayable(self, entry: Entry) -> bool:
        if not KINDS.search(entry.url) or OUTSIDE.search(entry.url):
            return False
        if entry.method in ("PUT", "PATCH") and not isinstance(entry.body, dict):
            # Its recorder did not keep the body
            self._without.add(entry.path.lower())
            return False
        needs = entry.body is not None and NEEDS.search(json.dumps(entry.body)) is not None
        if entry.status >= 400 or needs or any(path in entry.path.lower() for path in self._without):
            self._without.add(entry.path.lower())
            self._without |= _deployed(entry)
            return False
        if any(path in json.dumps(entry.body).lower() for path in self._without):
            self._without.add(entry.path.lower())
            self._without |= _deployed(entry)
            return False
        return True

    def _differs(self, entry: Entry, what: str, recorded: Any, simulated: Any) -> None:
        if recorded != simulated:
            where = entry.path.partition("/providers/")[2]
            self.differences.append(f"{entry.method} {where}: {what}: Azure {recorded!r}, simulator {simulated!r}")

    def _replay(self, entry: Entry, later: tuple[Entry, ...]) -> None:
        # The recorder of azure-cli gives all deployments one name
        self._deployment = f"mock-deployment-{self.replayed}"
        url = entry.url.replace("mock-deployment", self._deployment)
        status, headers, body = self.call(entry.method, url, entry.body)
        self.replayed += 1
        sent = {name.lower(): value for name, value in headers.items()}
        self._differs(entry, "status", entry.status, status if status == entry.status else f"{status} {body}")
        if status != entry.status:
            self._without.add(entry.path.lower())
            return
        for name in ("azure-asyncoperation", "location"):
            self._differs(entry, name, poll_kind(entry.headers.get(name)), poll_kind(sent.get(name)))
        # Of one restart the recordings disagree
        if self.recording.complete_headers and not entry.path.endswith("/restart"):
            self._differs(entry, "retry-after", entry.headers.get("retry-after"), sent.get("retry-after"))
        self._differs(entry, "provisioningState", _state(entry.answer), _state(body))
        missing = {key for key in keys(entry.answer) - keys(body) if not IGNORED_KEYS.search(key)} - EARLY_KEYS
        self._differs(entry, "keys of the first answer that are missing", set(), missing)
        self._poll(entry, later, sent)
        self._read_back(entry, later)

    def _poll(self, entry: Entry, later: tuple[Entry, ...], sent: dict[str, str]) -> None:
        for name in ("azure-asyncoperation", "location"):
            url, recorded_url = sent.get(name), entry.headers.get(name)
            if not url or not recorded_url:
                continue
            self.azure.clock.advance(7200)
            operation = recorded_url.partition("?")[0].rpartition("/")[2]
            polls = [e for e in later if operation in e.url and poll_kind(e.url) == poll_kind(recorded_url)]
            _status, _headers, body = self.call("GET", url)
            if polls:
                last = polls[-1]
                finished = not isinstance(last.answer, dict) or last.answer.get("status") not in (
                    "InProgress",
                    "Running",
                    "Accepted",
                )
                if finished and isinstance(last.answer, dict):
                    self._differs(entry, "keys of the poll", set(last.answer), set(body or {}))
                    self._differs(entry, "poll", last.answer.get("status"), (body or {}).get("status"))
                elif finished:
                    self._differs(entry, "poll", last.answer, body)

    def _read_back(self, entry: Entry, later: tuple[Entry, ...]) -> None:
        """The last GET before the resource is changed again."""
        found = None
        for candidate in later:
            same = candidate.path.lower() == entry.path.lower()
            if (
                candidate.method == "GET"
                and same
                and candidate.status == 200
                and _state(candidate.answer) == "Succeeded"
            ):
                found = candidate
            if candidate.method != "GET" and KINDS.search(candidate.url):
                break
        if found is None or entry.method == "DELETE":
            return
        status, _headers, body = self.call("GET", found.url.replace("mock-deployment", self._deployment))
        self._differs(entry, "status of the GET", 200, status)
        missing = {key for key in keys(found.answer) - keys(body) if not IGNORED_KEYS.search(key)}
        self._differs(entry, "keys of the GET that are missing", set(), missing)


def _deployed(entry: Entry) -> set[str]:
    """The ends of the ids of what a template would have made."""
    properties = entry.body.get("properties") or {} if isinstance(entry.body, dict) else {}
    resources = properties.get("template", {}).get("resources", []) if isinstance(properties, dict) else []
    return {f"/{resource['type'].rpartition('/')[2]}/{resource['name']}".lower() for resource in resources}


def _state(body: Any) -> Any:
    properties: Json = body.get("properties") or {} if isinstance(body, dict) else {}
    return properties.get("provisioningState")


def replay(recordings: Iterator[Recording], blobs: Blobs) -> tuple[int, list[str]]:
    replayed, differences = 0, []
    for recording in recordings:
        if not any(entry.method == "PUT" and KINDS.search(entry.url) for entry in recording.entries):
            continue
        with Simulator(blobs=blobs, throttle=False) as azure:
            one = Replay(azure, recording)
            one.run()
        replayed += one.replayed
        differences += [f"{recording.name}: {difference}" for difference in one.differences]
    return replayed, differences


def test_recordings_of_the_cli(blobs: Blobs) -> None:
    replayed, differences = replay(of_the_cli(), blobs)

    assert differences == []
    assert replayed > 60


def test_recordings_of_the_sdk(blobs: Blobs) -> None:
    replayed, differences = replay(of_the_sdk(), blobs)

    assert differences == []
    assert replayed > 150


COMPUTE = "https://x/subscriptions/s/providers/Microsoft.Compute/locations/l"
POLLS = (
    (f"{COMPUTE}/DiskOperations/1?p=2", "Microsoft.Compute/DiskOperations"),
    (f"{COMPUTE}/operations/1?p=2&monitor=true", "Microsoft.Compute/operations monitor"),
    ("https://x/subscriptions/s/operationresults/abc?api-version=2024-07-01", "operationresults"),
    ("https://x/g/providers/Microsoft.Resources/deployments/d/operationStatuses/1", "operationStatuses"),
    (None, ""),
)  # fmt: skip


@pytest.mark.parametrize(("url", "kind"), POLLS, ids=[kind for _url, kind in POLLS])
def test_poll_kind(url: str | None, kind: str) -> None:
    assert poll_kind(url) == kind
