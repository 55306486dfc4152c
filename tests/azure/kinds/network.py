"""Virtual networks, subnets, security groups, interfaces; public addresses so that they can be seen and refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from tests.azure.answers import Answer, ArmError, Call, Json, bad_request, copy, without_nulls
from tests.azure.operations import NETWORK
from tests.azure.resources import Manner, accept, lister, merge, new_body, new_uuid, reader, remove
from tests.azure.router import Handler, resource_routes
from tests.azure.state import Resource, same, segment_after

NETWORKS = "Microsoft.Network/virtualNetworks"
SUBNETS = "Microsoft.Network/virtualNetworks/subnets"
SECURITY = "Microsoft.Network/networkSecurityGroups"
INTERFACES = "Microsoft.Network/networkInterfaces"
ADDRESSES = "Microsoft.Network/publicIPAddresses"

MANNER = Manner(NETWORK, creating="Updating", retry_after=3, delete_retry_after=10)
# Recorded: an interface says Succeeded at once, and sends no Retry-After
INTERFACE_MANNER = Manner(NETWORK, creating="Succeeded", updating="Succeeded", delete_retry_after=10)

ADDRESS_MANNER = Manner(NETWORK, creating="Updating", retry_after=1, delete_retry_after=10)

# The rules that every security group has, in Azure's words: (name, priority, access, direction, source, destination)
DEFAULT_RULES = (
    ("AllowVnetInBound", 65000, "Allow", "Inbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Allow", "Inbound", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Deny", "Inbound", "*", "*"),
    ("AllowVnetOutBound", 65000, "Allow", "Outbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Allow", "Outbound", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Deny", "Outbound", "*", "*"),
)


def _etag() -> str:
    return f'W/"{new_uuid()}"'


def _start(call: Call, resource_type: str) -> tuple[Resource, bool]:
    """The resource as it was, or a new one, with the frame of the request."""
    found = call.cloud.state.find(call.path)
    body = new_body(call, resource_type, call.path, keys=("sku", "zones"))
    body["etag"] = _etag()
    guid = found.properties.get("resourceGuid") if found else None
    body["properties"] = {"provisioningState": "Updating", "resourceGuid": guid or new_uuid()}
    resource = found or Resource(call.path, resource_type, body)
    resource.body = body
    return resource, found is None


def put_network(call: Call) -> Answer:
    given = without_nulls(call.properties)
    old = call.cloud.state.find(call.path)
    spaces = given.get("addressSpace", {}).get("addressPrefixes", [])
    if not spaces:
        raise bad_request("The address space of the virtual network is empty.", code="InvalidRequestFormat")
    resource, new = _start(call, NETWORKS)
    subnets = [_inline_subnet(call, resource.id, subnet, spaces) for subnet in given.get("subnets", [])]
    kept = {subnet.id.lower() for subnet in subnets}
    if old is not None and "subnets" in given:
        for subnet in call.cloud.state.of_type(SUBNETS, below=resource.id):
            if subnet.id.lower() not in kept:
                _subnet_unused(call, subnet)
                call.cloud.state.delete(subnet.id)
    resource.properties.update(
        {"addressSpace": {"addressPrefixes": spaces}, "virtualNetworkPeerings": [], "enableDdosProtection": False}
    )
    answer = accept(
        call, resource, MANNER, call.cloud.seconds("virtualNetworks.put"), lambda: _settled(subnets), new=new
    )
    answer.body = view_network(call, resource)
    return answer


def _inline_subnet(call: Call, network: str, given: Json, spaces: list[str]) -> Resource:
    path = f"{network}/subnets/{given['name']}"
    subnet = call.cloud.state.find(path) or Resource(path, SUBNETS, {})
    _fill_subnet(call, subnet, given.get("properties", {}), spaces)
    return call.cloud.state.put(subnet)


def _fill_subnet(call: Call, subnet: Resource, given: Json, spaces: list[str]) -> None:
    prefixes = given.get("addressPrefixes") or [given.get("addressPrefix", "")]
    for prefix in prefixes:
        try:
            inside = any(ipaddress.ip_network(prefix).subnet_of(ipaddress.ip_network(space)) for space in spaces)  # type: ignore[arg-type]
        except ValueError as error:
            raise bad_request(str(error), code="InvalidCIDRNotation") from error
        if not inside:
            raise bad_request(
                f"Subnet '{subnet.name}' is not valid because its IP address range is outside the IP address range"
                f" of virtual network '{segment_after(subnet.id, 'virtualNetworks')}'.",
                code="NetcfgInvalidSubnet",
            )
    kept = {
        key: copy(value)
        for key, value in given.items()
        if key in ("addressPrefix", "addressPrefixes", "networkSecurityGroup", "natGateway", "serviceEndpoints",
                   "defaultOutboundAccess", "routeTable")
    }  # fmt: skip
    subnet.body = {"name": subnet.name, "id": subnet.id, "etag": _etag(), "type": SUBNETS}
    subnet.body["properties"] = {
        "provisioningState": "Updating",
        **kept,
        "delegations": given.get("delegations", []),
        "privateEndpointNetworkPolicies": given.get("privateEndpointNetworkPolicies", "Disabled"),
        "privateLinkServiceNetworkPolicies": given.get("privateLinkServiceNetworkPolicies", "Enabled"),
    }


def _settled(resources: list[Resource]) -> None:
    for resource in resources:
        resource.properties["provisioningState"] = "Succeeded"


def put_subnet(call: Call) -> Answer:
    network = call.cloud.state.get(call.path.rpartition("/subnets/")[0])
    old = call.cloud.state.find(call.path)
    subnet = old or Resource(call.path, SUBNETS, {})
    _fill_subnet(call, subnet, without_nulls(call.properties), network.properties["addressSpace"]["addressPrefixes"])
    subnet.body["location"] = network.location
    manner = MANNER if old is None else Manner(NETWORK, creating="Updating")
    answer = accept(call, subnet, manner, call.cloud.seconds("subnets.put"), lambda: None, new=old is None)
    del subnet.body["location"]
    answer.body = view_subnet(call, subnet)
    return answer


def view_network(call: Call, network: Resource) -> Json:
    body: Json = copy(network.body)
    subnets = call.cloud.state.of_type(SUBNETS, below=network.id)
    body["properties"]["subnets"] = [view_subnet(call, subnet) for subnet in subnets]
    if call.api_version < "2021":
        # A member that later versions no longer have
        body["properties"]["enableVmProtection"] = False
    return body


def view_subnet(call: Call, subnet: Resource) -> Json:
    body: Json = copy(subnet.body)
    used = [{"id": config["id"]} for config in _configurations_in(call, subnet)]
    if used:
        body["properties"]["ipConfigurations"] = used
    return body


def _configurations_in(call: Call, subnet: Resource) -> list[Json]:
    return [
        config
        for interface in call.cloud.state.of_type(INTERFACES)
        for config in interface.properties.get("ipConfigurations", [])
        if same(config["properties"].get("subnet", {}).get("id"), subnet.id)
    ]


def _subnet_unused(call: Call, subnet: Resource) -> None:
    used = _configurations_in(call, subnet)
    if used:
        raise bad_request(
            f"Subnet {subnet.name} is in use by {used[0]['id']} and cannot be deleted."
            " In order to delete the subnet, delete all the resources within the subnet.",
            code="InUseSubnetCannotBeDeleted",
        )


def put_security_group(call: Call) -> Answer:
    resource, new = _start(call, SECURITY)
    rules = []
    for rule in without_nulls(call.properties).get("securityRules", []):
        path = f"{resource.id}/securityRules/{rule['name']}"
        rules.append(
            {
                "name": rule["name"],
                "id": path,
                "etag": resource.body["etag"],
                "type": f"{SECURITY}/securityRules",
                "properties": {"provisioningState": "Succeeded", **rule.get("properties", {})},
            }
        )
    resource.properties["securityRules"] = rules
    resource.properties["defaultSecurityRules"] = [_default_rule(resource, *rule) for rule in DEFAULT_RULES]
    return accept(call, resource, MANNER, call.cloud.seconds("networkSecurityGroups.put"), lambda: None, new=new)


def _default_rule(
    group: Resource, name: str, priority: int, access: str, direction: str, source: str, destination: str
) -> Json:
    return {
        "name": name,
        "id": f"{group.id}/defaultSecurityRules/{name}",
        "etag": group.body["etag"],
        "type": f"{SECURITY}/defaultSecurityRules",
        "properties": {
            "provisioningState": "Succeeded",
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            "sourceAddressPrefix": source,
            "destinationAddressPrefix": destination,
            "access": access,
            "priority": priority,
            "direction": direction,
        },
    }


def put_address(call: Call) -> Answer:
    resource, new = _start(call, ADDRESSES)
    given = without_nulls(call.properties)
    resource.body.setdefault("sku", {"name": "Basic", "tier": "Regional"}).setdefault("tier", "Regional")
    resource.properties.update(
        {
            "publicIPAddressVersion": given.get("publicIPAddressVersion", "IPv4"),
            "publicIPAllocationMethod": given.get("publicIPAllocationMethod", "Dynamic"),
            "idleTimeoutInMinutes": given.get("idleTimeoutInMinutes", 4),
            "ipTags": [],
            "ddosSettings": {"protectionMode": "VirtualNetworkInherited"},
        }
    )

    def finish() -> None:
        if resource.properties["publicIPAllocationMethod"] == "Static":
            resource.properties["ipAddress"] = "203.0.113.7"

    return accept(call, resource, ADDRESS_MANNER, call.cloud.seconds("publicIPAddresses.put"), finish, new=new)


def put_interface(call: Call) -> Answer:
    resource, new = _start(call, INTERFACES)
    given = without_nulls(call.properties)
    configurations = given.get("ipConfigurations", [])
    if not configurations:
        raise bad_request(
            f"Network interface {resource.id} must have one or more IP configurations.",
            code="NetworkInterfaceMustHaveIpConfiguration",
        )
    resource.body["kind"] = "Regular"
    resource.properties.update(
        {
            "ipConfigurations": [
                _configuration(call, resource, config, first=place == 0) for place, config in enumerate(configurations)
            ],
            "dnsSettings": {
                "dnsServers": given.get("dnsSettings", {}).get("dnsServers", []),
                "appliedDnsServers": [],
                "internalDomainNameSuffix": "simulated.ax.internal.cloudapp.net",
            },
            "enableAcceleratedNetworking": given.get("enableAcceleratedNetworking", False),
            "vnetEncryptionSupported": False,
            "enableIPForwarding": given.get("enableIPForwarding", False),
            "disableTcpStateTracking": False,
            "hostedWorkloads": [],
            "tapConfigurations": [],
            "nicType": "Standard",
            "allowPort25Out": True,
            "auxiliaryMode": "None",
        }
    )
    if "networkSecurityGroup" in given:
        call.cloud.state.get(given["networkSecurityGroup"]["id"])
        resource.properties["networkSecurityGroup"] = {"id": given["networkSecurityGroup"]["id"]}
    answer = accept(
        call, resource, INTERFACE_MANNER, call.cloud.seconds("networkInterfaces.put"), lambda: None, new=new
    )
    answer.body = view_interface(call, resource)
    return answer


def _configuration(call: Call, interface: Resource, given: Json, *, first: bool) -> Json:
    properties = given.get("properties", {})
    subnet = _subnet_of(call, properties)
    taken = [config["properties"].get("privateIPAddress") for config in _configurations_in(call, subnet)]
    network = ipaddress.ip_network(
        subnet.properties.get("addressPrefix") or subnet.properties["addressPrefixes"][0], strict=False
    )
    # Azure keeps the first four addresses of a subnet
    free = next(str(host) for place, host in enumerate(network.hosts()) if place >= 3 and str(host) not in taken)
    shown: Json = {
        "provisioningState": "Succeeded",
        "privateIPAddress": properties.get("privateIPAddress", free),
        "privateIPAllocationMethod": properties.get("privateIPAllocationMethod", "Dynamic"),
        "subnet": {"id": subnet.id},
        "primary": properties.get("primary", first),
        "privateIPAddressVersion": properties.get("privateIPAddressVersion", "IPv4"),
    }
    if "publicIPAddress" in properties:
        address = call.cloud.state.get(properties["publicIPAddress"]["id"])
        shown["publicIPAddress"] = {"id": address.id}
    return {
        "name": given["name"],
        "id": f"{interface.id}/ipConfigurations/{given['name']}",
        "etag": interface.body["etag"],
        "type": f"{INTERFACES}/ipConfigurations",
        "properties": shown,
    }


def _subnet_of(call: Call, properties: Json) -> Resource:
    wanted = properties.get("subnet", {}).get("id", "")
    subnet = call.cloud.state.find(wanted)
    if subnet is None or subnet.type != SUBNETS:
        raise ArmError(
            400,
            "InvalidResourceReference",
            f"Resource {wanted} referenced by resource {call.path} was not found."
            " Please make sure that the referenced resource exists, and that both resources are in the same region.",
        )
    return subnet


def view_interface(call: Call, interface: Resource) -> Json:
    body: Json = copy(interface.body)
    machine = interface.hidden.get("machine")
    if machine is not None:
        body["properties"]["virtualMachine"] = {"id": machine}
        body["properties"]["primary"] = True
        body["properties"]["macAddress"] = "00-0D-3A-37-79-1F"
    return body


def patch_tags(call: Call) -> Answer:
    """Network resources are patched by tags alone, at once."""
    resource = call.cloud.state.get(call.path)
    resource.body = merge(resource.body, {"tags": without_nulls(call.document).get("tags", {})})
    return Answer(200, copy(resource.body))


def _interface_free(interface: Resource) -> None:
    machine = interface.hidden.get("machine")
    if machine is not None:
        raise bad_request(
            f"Network Interface {interface.id} is used by existing resource {machine}. In order to delete the network"
            " interface, it must be dissociated from the resource.",
            code="NicInUse",
        )


def _deleter(check: Callable[[Call, Resource], None]) -> Handler:
    def delete(call: Call) -> Answer:
        resource = call.cloud.state.find(call.path)
        if resource is not None and not resource.location:
            # A subnet has no location of its own; its operation runs where its network is
            resource.hidden["location"] = call.cloud.state.get(call.path.rpartition("/subnets/")[0]).location
            resource.body["location"] = resource.hidden["location"]
        return remove(call, MANNER, call.cloud.seconds("network.delete"), check=lambda resource: check(call, resource))

    return delete


def _check_network(call: Call, network: Resource) -> None:
    for subnet in call.cloud.state.of_type(SUBNETS, below=network.id):
        _subnet_unused(call, subnet)


def _check_security(call: Call, group: Resource) -> None:
    users = [r for r in (*call.cloud.state.of_type(INTERFACES), *call.cloud.state.of_type(SUBNETS))
             if same(r.properties.get("networkSecurityGroup", {}).get("id"), group.id)]  # fmt: skip
    if users:
        raise bad_request(
            f"Network security group {group.id} cannot be deleted because it is in use by: {users[0].id}.",
            code="InUseNetworkSecurityGroupCannotBeDeleted",
        )


def _check_address(call: Call, address: Resource) -> None:
    for interface in call.cloud.state.of_type(INTERFACES):
        for config in interface.properties["ipConfigurations"]:
            if same(config["properties"].get("publicIPAddress", {}).get("id"), address.id):
                raise bad_request(
                    f"Public IP address {address.id} can not be deleted since it is still allocated to resource"
                    f" {config['id']}.",
                    code="PublicIPAddressCannotBeDeleted",
                )


ROUTES = (
    *resource_routes(
        NETWORKS,
        {"PUT": put_network, "PATCH": patch_tags, "GET": reader(view_network), "DELETE": _deleter(_check_network)},
        list_group=lister(NETWORKS, view_network),
        list_subscription=lister(NETWORKS, view_network),
    ),
    *resource_routes(
        SUBNETS,
        {"PUT": put_subnet, "GET": reader(view_subnet), "DELETE": _deleter(_subnet_unused)},
        list_group=lister(SUBNETS, view_subnet),
    ),
    *resource_routes(
        SECURITY,
        {"PUT": put_security_group, "PATCH": patch_tags, "GET": reader(), "DELETE": _deleter(_check_security)},
        list_group=lister(SECURITY),
        list_subscription=lister(SECURITY),
    ),
    *resource_routes(
        INTERFACES,
        {
            "PUT": put_interface,
            "PATCH": patch_tags,
            "GET": reader(view_interface),
            "DELETE": _deleter(lambda _call, interface: _interface_free(interface)),
        },
        list_group=lister(INTERFACES, view_interface),
        list_subscription=lister(INTERFACES, view_interface),
    ),
    *resource_routes(
        ADDRESSES,
        {"PUT": put_address, "PATCH": patch_tags, "GET": reader(), "DELETE": _deleter(_check_address)},
        list_group=lister(ADDRESSES),
        list_subscription=lister(ADDRESSES),
    ),
)
