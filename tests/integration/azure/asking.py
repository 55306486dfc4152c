"""A plain client for tests: one call, one answer, nothing hidden by an SDK."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.azure import Simulator
from tests.azure.answers import Json

GROUP = "g"
LOCATION = "westeurope"
API = {"Microsoft.Network": "2024-01-01", "Microsoft.Compute": "2024-07-01"}
SPECIAL = {
    "disks": "2024-03-02",
    "diskEncryptionSets": "2024-03-02",
    "snapshots": "2024-03-02",
    "galleries": "2023-07-03",
}
DEBIAN = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}
WINDOWS = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-g2",
    "version": "latest",
}


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The error's code, or nothing."""
        return str(self.body["error"]["code"]) if isinstance(self.body, dict) and "error" in self.body else ""


class Asking:
    """`ask("PUT", "disks/d1", {...})`: paths are below a group's Microsoft.Compute unless they say more."""

    def __init__(self, azure: Simulator) -> None:
        self.azure = azure

    def __call__(self, method: str, path: str, body: Any = None, *, token: str = "t", version: str = "") -> Got:
        url = path if path.startswith("http") else self.azure.endpoint + self._path(path, version)
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            connection.request(
                method, f"{parts.path}?{parts.query}", json.dumps(body) if body is not None else None, headers
            )
            answer = connection.getresponse()
            raw = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Got(answer.status, found, json.loads(raw) if raw else None)
        finally:
            connection.close()

    def _path(self, path: str, version: str) -> str:
        path, _, query = path.partition("?")
        query = f"&{query}" if query else ""
        if path.startswith("/"):
            return f"{path}?api-version={version or '2024-07-01'}{query}"
        if not path.startswith("Microsoft."):
            path = f"Microsoft.Compute/{path}"
        provider, collection = path.split("/")[:2]
        api = version or SPECIAL.get(collection, API[provider])
        return f"{self.group}/providers/{path}?api-version={api}{query}"

    @property
    def group(self) -> str:
        return f"/subscriptions/{self.azure.subscription}/resourceGroups/{GROUP}"

    def id(self, path: str) -> str:
        return f"{self.group}/providers/{path if path.startswith('Microsoft.') else f'Microsoft.Compute/{path}'}"

    def done(self, method: str, path: str, body: Any = None) -> Json:
        """Asks, waits on the clock for the operation's end, and returns its status document."""
        got = self(method, path, body)
        assert got.status < 300, got
        url = got.headers.get("azure-asyncoperation")
        if url is None:
            return {"status": "Succeeded"}
        self.azure.clock.run_until(lambda: self(method="GET", path=url).body["status"] != "InProgress")
        found: Json = self("GET", url).body
        return found

    def network(self, *interfaces: str) -> None:
        self("PUT", self.group, {"location": LOCATION})
        spaces = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
        subnet = {"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}
        self.done(
            "PUT",
            "Microsoft.Network/virtualNetworks/v",
            {"location": LOCATION, "properties": {**spaces, "subnets": [subnet]}},
        )
        for name in interfaces:
            reference = {"subnet": {"id": self.id("Microsoft.Network/virtualNetworks/v/subnets/s")}}
            properties = {"ipConfigurations": [{"name": "i", "properties": reference}]}
            self.done(
                "PUT", f"Microsoft.Network/networkInterfaces/{name}", {"location": LOCATION, "properties": properties}
            )

    def machine_body(
        self, image: Json = DEBIAN, *, size: str = "Standard_D2s_v5", interface: str = "nic", **more: Any
    ) -> Json:
        profile: Json = {"computerName": "vm", "adminUsername": "someone", "adminPassword": "S3cret-of-ours"}
        disk = {"createOption": "FromImage"}
        return {
            "location": LOCATION,
            "properties": {
                "hardwareProfile": {"vmSize": size},
                "storageProfile": {"imageReference": image, "osDisk": disk},
                "osProfile": profile,
                "networkProfile": {
                    "networkInterfaces": [{"id": self.id(f"Microsoft.Network/networkInterfaces/{interface}")}]
                },
                **more,
            },
        }

    def machine(self, image: Json = DEBIAN, name: str = "vm") -> None:
        """A running VM with a network."""
        self.network("nic")
        assert self.done("PUT", f"virtualMachines/{name}", self.machine_body(image))["status"] == "Succeeded"

    def command(self, script: str, **properties: Any) -> Json:
        """Runs a script by a v2 run command and returns its instance view."""
        body = {"location": LOCATION, "properties": {"source": {"script": script}, **properties}}
        assert self.done("PUT", "virtualMachines/vm/runCommands/c", body)["status"] == "Succeeded"
        found: Json = self("GET", "virtualMachines/vm/runCommands/c?$expand=instanceView").body["properties"][
            "instanceView"
        ]
        return found
