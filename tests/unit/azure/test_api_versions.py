from __future__ import annotations

import pytest

from builder.azure.api_versions import PINNED, api_version


@pytest.mark.parametrize(
    ("kind", "like"),
    [
        ("Microsoft.Compute/virtualMachines/runCommands", "Microsoft.Compute"),
        ("microsoft.compute/DISKS", "Microsoft.Compute/disks"),
        ("Microsoft.Compute/galleries/images/versions", "Microsoft.Compute/galleries"),
        ("Microsoft.Compute/locations/communityGalleries/images", "Microsoft.Compute/locations/communityGalleries"),
        ("Microsoft.Compute/locations/usages", "Microsoft.Compute"),
        ("Microsoft.Compute/disksOfOthers", "Microsoft.Compute"),
        ("Microsoft.Resources/resourceGroups", "Microsoft.Resources"),
        ("Microsoft.Resources/subscriptions", "Microsoft.Resources/subscriptions"),
    ],
)
def test_the_longest_row_counts(kind: str, like: str) -> None:
    assert api_version(kind) == PINNED[like]


def test_an_unknown_provider_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError, match=r"Microsoft\.Unknown"):
        api_version("Microsoft.Unknown/things")
