"""What stands in a subscription before a build: machines, disks, images, galleries, made through Azure's own calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId, compute, group_id, network
from builder.model.spec import ImageSpec
from builder.spec.loader import load
from tests.azure import Simulator
from tests.integration.azure.connection import connected

LOCATION = "westeurope"
GROUP = "corp"
DEBIAN = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "0.20251210.2230"}
WINDOWS = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-g2",
    "version": "20348.4405.251112",
}


def image_of(folder: Path, text: str) -> ImageSpec:
    """The image called web of a spec's text, in a project of its own."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "build.yaml").write_text("{}\n")
    file = project / "image.yaml"
    file.write_text(text)
    documents = load([file]).documents
    return next(document for document in documents if document.name == "web").render("0.0.0")


@dataclass
class World:
    """A subscription. Everything is made in one group (`home`) and, unless said otherwise, one region."""

    azure: Simulator
    connection: Azure
    home: str = GROUP

    @staticmethod
    def of(azure: Simulator) -> World:
        """The world of a simulator, with its group."""
        world = World(azure, connected(azure))
        world.put(group_id(azure.subscription, GROUP), {"location": LOCATION})
        return world

    def put(self, id: ResourceId, body: Mapping[str, Any]) -> str:
        """Make something, and wait for it."""
        self.connection.put(id, dict(body)).wait()
        return str(id)

    def compute(self, *path: str) -> ResourceId:
        return compute(self.azure.subscription, self.home, *path)

    def group(self, name: str, location: str = LOCATION) -> None:
        self.put(group_id(self.azure.subscription, name), {"location": location})

    def subnet(self, name: str = "net", location: str = LOCATION) -> str:
        id = network(self.azure.subscription, self.home, "virtualNetworks", name)
        subnet = {"name": "build", "properties": {"addressPrefix": "10.0.0.0/24"}}
        spaces = {"addressPrefixes": ["10.0.0.0/16"]}
        self.put(id, {"location": location, "properties": {"addressSpace": spaces, "subnets": [subnet]}})
        return str(id.child("subnets", "build"))

    def vm(
        self,
        name: str,
        *,
        image: Mapping[str, str] = DEBIAN,
        luns: Sequence[int] = (),
        plan: Mapping[str, str] | None = None,
        specialized: bool = False,
        **properties: Any,
    ) -> str:
        """A running VM with empty data disks of 8 GiB."""
        configuration = {"name": "i", "properties": {"subnet": {"id": self.subnet()}}}
        nic = self.put(
            network(self.azure.subscription, self.home, "networkInterfaces", name),
            {"location": LOCATION, "properties": {"ipConfigurations": [configuration]}},
        )
        profile = {"computerName": name, "adminUsername": "someone", "adminPassword": "S3cret-of-ours"}
        body: dict[str, Any] = {
            "location": LOCATION,
            "properties": {
                "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
                "storageProfile": {
                    "imageReference": dict(image),
                    "osDisk": {"createOption": "FromImage", "name": f"{name}-os"},
                    "dataDisks": [
                        {"lun": lun, "createOption": "Empty", "diskSizeGB": 8, "name": f"{name}-{lun}"} for lun in luns
                    ],
                },
                "osProfile": profile,
                "networkProfile": {"networkInterfaces": [{"id": nic}]},
                **properties,
            },
        }
        if specialized:
            del body["properties"]["osProfile"]
        if plan:
            body["plan"] = dict(plan)
        return self.put(self.compute("virtualMachines", name), body)

    def generalize(self, name: str) -> None:
        id = self.compute("virtualMachines", name)
        self.connection.post(id, "deallocate").wait()
        self.connection.post(id, "generalize").wait()

    def snapshot(self, name: str, disk: str) -> str:
        creation = {"createOption": "Copy", "sourceResourceId": str(self.compute("disks", disk))}
        body = {"location": LOCATION, "properties": {"creationData": creation}}
        return self.put(self.compute("snapshots", name), body)

    def disk(self, name: str, location: str = LOCATION, **properties: Any) -> str:
        wanted = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 16, **properties}
        return self.put(self.compute("disks", name), {"location": location, "properties": wanted})

    def managed_image(self, name: str, vm: str) -> str:
        source = {"sourceVirtualMachine": {"id": str(self.compute("virtualMachines", vm))}, "hyperVGeneration": "V2"}
        return self.put(self.compute("images", name), {"location": LOCATION, "properties": source})

    def gallery(self, name: str = "corp", **properties: Any) -> None:
        self.put(self.compute("galleries", name), {"location": LOCATION, "properties": properties})

    def definition(
        self,
        name: str,
        *,
        gallery: str = "corp",
        family: str = "Linux",
        state: str = "Generalized",
        features: Mapping[str, str] | None = None,
        **properties: Any,
    ) -> ResourceId:
        id = self.compute("galleries", gallery, "images", name)
        body = {
            "osType": family,
            "osState": state,
            "hyperVGeneration": "V2",
            "architecture": "x64",
            "identifier": {"publisher": gallery, "offer": name, "sku": "s"},
            "features": [{"name": key, "value": value} for key, value in (features or {}).items()],
            **properties,
        }
        self.put(id, {"location": LOCATION, "properties": body})
        return id

    def version(
        self,
        definition: ResourceId,
        version: str,
        vm: str,
        *,
        regions: Sequence[str] = (LOCATION,),
        excluded: bool = False,
    ) -> None:
        body = {
            "storageProfile": {"source": {"virtualMachineId": str(self.compute("virtualMachines", vm))}},
            "publishingProfile": {
                "targetRegions": [{"name": region} for region in regions],
                "excludeFromLatest": excluded,
            },
        }
        self.put(definition.child("versions", version), {"location": LOCATION, "properties": body})
