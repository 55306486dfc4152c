"""What destinations need to know of the project beside the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.destinations.galleries import Galleries
from builder.destinations.listings import Listings
from builder.destinations.usage import Usage


@dataclass(frozen=True)
class Surroundings:
    """`records` is that of build.yaml: where manifests are kept that stand beside no disk. Made once for a command."""

    records: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    galleries: Galleries = field(default_factory=Galleries)
    listings: Listings = field(default_factory=Listings)
