"""Names of processor architectures: Azure's word for what uname and package managers call otherwise."""

from __future__ import annotations

HOST_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
DEBIAN_ARCHITECTURES = {"x64": "amd64", "arm64": "arm64"}
