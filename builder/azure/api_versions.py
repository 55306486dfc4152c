"""Which version of Azure's API is spoken, by kind of resource: pinned, so that no default of Azure's moves under us.

Those of Microsoft.Compute are what azure-mgmt-compute 38.2 sends, the oldest release that this project takes.
"""

from __future__ import annotations

PINNED: dict[str, str] = {
    "Microsoft.Compute": "2026-03-01",
    "Microsoft.Compute/disks": "2026-03-02",
    "Microsoft.Compute/snapshots": "2026-03-02",
    "Microsoft.Compute/diskEncryptionSets": "2026-03-02",
    "Microsoft.Compute/galleries": "2025-12-03",
    "Microsoft.Compute/locations/communityGalleries": "2025-12-03",
    "Microsoft.Compute/locations/sharedGalleries": "2025-12-03",
    "Microsoft.Compute/skus": "2021-07-01",
    "Microsoft.Network": "2025-07-01",
    "Microsoft.Resources": "2025-04-01",
    "Microsoft.Resources/subscriptions": "2022-12-01",
    "Microsoft.MarketplaceOrdering": "2021-01-01",
    "Microsoft.ManagedIdentity": "2023-01-31",
    "Microsoft.Storage": "2024-01-01",
    "Microsoft.KeyVault": "2023-07-01",
    "Microsoft.Authorization": "2022-04-01",
}
_BY_LOWER = {kind.lower(): version for kind, version in PINNED.items()}


def api_version(kind: str) -> str:
    """The version for a kind ("Microsoft.Compute/galleries/images"): that of the longest row it begins with.

    Raises LookupError for a provider without a row.
    """
    parts = kind.lower().split("/")
    for count in range(len(parts), 0, -1):
        found = _BY_LOWER.get("/".join(parts[:count]))
        if found is not None:
            return found
    raise LookupError(f"no api-version is pinned for {kind}")
