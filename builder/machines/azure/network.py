"""The network of a build: a VNet of its own without a way in, or a subnet that exists. Never a public IP."""

from __future__ import annotations

from typing import Any

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId
from builder.azure.operations import Operation
from builder.machines.azure.names import Names
from builder.machines.azure.resolved import ResolvedMachine

Json = dict[str, Any]
SPACE = "10.77.0.0/24"
SUBNET = "build"


def start_network(azure: Azure, names: Names, machine: ResolvedMachine, tags: Json) -> list[Operation]:
    """Begin a network and its security group, side by side; nothing where the machine has a subnet already.

    Azure's default rules let nothing in but other VMs of the network and the load balancer: no rule is added.
    """
    if machine.subnet:
        return []
    base = {"location": machine.location, "tags": tags}
    closed: Json = {"securityRules": [_nothing_in()]}
    space: Json = {
        "addressSpace": {"addressPrefixes": [SPACE]},
        # Azure's newer default is a private subnet, in which no package could be fetched
        "subnets": [{"name": SUBNET, "properties": {"addressPrefix": SPACE, "defaultOutboundAccess": True}}],
    }
    return [
        azure.put(names.network("networkSecurityGroups", "nsg"), {**base, "properties": closed}, read=False),
        azure.put(names.network("virtualNetworks", "net"), {**base, "properties": space}, read=False),
    ]


def _nothing_in() -> Json:
    """Not even what Azure's default rules allow: the VMs of a run need nothing of each other."""
    return {
        "name": "nothing-in",
        "properties": {
            "description": "Builds are reached by run commands alone",
            "priority": 100,
            "direction": "Inbound",
            "access": "Deny",
            "protocol": "*",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "*",
        },
    }


def start_interface(azure: Azure, names: Names, machine: ResolvedMachine, tags: Json, role: str) -> Operation:
    """Begin a network interface for the VM of this role; the network has to stand."""
    subnet = machine.subnet or str(names.network("virtualNetworks", "net").child("subnets", SUBNET))
    properties: Json = {
        "ipConfigurations": [
            {"name": "build", "properties": {"subnet": {"id": subnet}, "privateIPAllocationMethod": "Dynamic"}}
        ],
        "enableAcceleratedNetworking": machine.accelerated_networking,
    }
    if not machine.subnet:
        # On the interface, so that the network need not wait for it
        properties["networkSecurityGroup"] = {"id": str(names.network("networkSecurityGroups", "nsg"))}
    body = {"location": machine.location, "tags": tags, "properties": properties}
    return azure.put(interface_id(names, role), body, read=False)


def interface_id(names: Names, role: str) -> ResourceId:
    """The id of the interface of a role's VM."""
    return names.network("networkInterfaces", f"{role}-nic")
