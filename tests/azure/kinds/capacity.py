"""What a subscription may use: VM sizes with their restrictions, and quotas with what is used of them."""

from __future__ import annotations

import re

from tests.azure.answers import Answer, Call, Json
from tests.azure.catalogue import LOCATIONS, Catalogue, Size
from tests.azure.kinds.machine_rules import used_cores
from tests.azure.resources import normal_location
from tests.azure.router import SUBSCRIPTION, Route


def list_skus(call: Call) -> Answer:
    wanted = re.search(r"location eq '([^']*)'", call.query.get("$filter", ""), re.IGNORECASE)
    locations = [normal_location(wanted[1])] if wanted else list(LOCATIONS)
    found = [
        _sku(call.cloud.catalogue, size, location)
        for location in locations
        if location in LOCATIONS
        for size in call.cloud.catalogue.sizes.values()
    ]
    return Answer(200, {"value": found})


def _sku(catalogue: Catalogue, size: Size, location: str) -> Json:
    zones = list(catalogue.zones.get(location, ()))
    series, _, version = size.name.partition("_")[2].partition("_")
    reason = catalogue.restrictions.get((location, size.name.lower()))
    restrictions: list[Json] = []
    if reason is not None:
        info = {"locations": [location]}
        restrictions.append({"type": "Location", "values": [location], "restrictionInfo": info, "reasonCode": reason})
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": f"{series}_{version}" if version else series,
        "family": size.family,
        "locations": [location],
        "locationInfo": [{"location": location, "zones": zones, "zoneDetails": []}],
        "capabilities": size.capabilities(),
        "restrictions": restrictions,
    }


def list_usages(call: Call) -> Answer:
    location = normal_location(call.parameters["location"])
    catalogue = call.cloud.catalogue
    used = used_cores(call, location)
    families = {size.family for size in catalogue.sizes.values()}
    machines = [r for r in call.cloud.state.of_type("Microsoft.Compute/virtualMachines") if r.location == location]
    rows = [
        ("cores", "Total Regional vCPUs", sum(used.values()), catalogue.region_cores),
        ("virtualMachines", "Virtual Machines", len(machines), 25000),
        ("lowPriorityCores", "Total Regional Spot vCPUs", 0, 100),
        *(
            (family, f"{family} vCPUs", used.get(family.lower(), 0), catalogue.quota(family))
            for family in sorted(families)
        ),
    ]
    return Answer(200, {"value": [_usage(*row) for row in rows]})


def _usage(name: str, shown: str, current: int, limit: int) -> Json:
    return {
        "limit": limit,
        "unit": "Count",
        "currentValue": current,
        "name": {"value": name, "localizedValue": shown},
    }


def list_sizes(call: Call) -> Answer:
    found = [
        {
            "name": size.name,
            "numberOfCores": size.cores,
            "osDiskSizeInMB": 1047552,
            "resourceDiskSizeInMB": size.temporary_disk_mib,
            "memoryInMB": int(size.memory * 1024),
            "maxDataDiskCount": size.data_disks,
        }
        for size in call.cloud.catalogue.sizes.values()
    ]
    return Answer(200, {"value": found})


_LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
ROUTES = (
    Route("GET", f"{SUBSCRIPTION}/providers/Microsoft.Compute/skus", "LIST Microsoft.Compute/skus", list_skus),
    Route("GET", f"{_LOCATION}/usages", "LIST Microsoft.Compute/locations/usages", list_usages),
    Route("GET", f"{_LOCATION}/vmSizes", "LIST Microsoft.Compute/locations/vmSizes", list_sizes),
)
