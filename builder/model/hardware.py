"""Names of processor architectures: Azure's word for what uname and package managers call otherwise."""

from __future__ import annotations

import platform

HOST_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
DEBIAN_ARCHITECTURES = {"x64": "amd64", "arm64": "arm64"}


def host_architecture() -> str:
    """This host's architecture; uname's word where Azure has none."""
    return HOST_ARCHITECTURES.get(platform.machine(), platform.machine())
