"""Facts of a Windows Server that Sysprep may work on, as its script tells them."""

from __future__ import annotations

from typing import Any

HEALTHY: dict[str, Any] = {
    "edition": "ServerDatacenter",
    "installation": "Server",
    "build": "20348.2340",
    "features": ["FileAndStorage-Services", "Web-Server", "Web-Http-Logging", "RSAT-DHCP"],
    "encrypted_volumes": [],
    "pending_restart": [],
    "domain": "",
    "store_apps": [],
    "cdrom_start": 1,
    "storage_denied": False,
    "image_state": "IMAGE_STATE_COMPLETE",
    "generalization_state": 7,
    "cleanup_state": 2,
    "skip_rearm": False,
    "rearms_left": 1000,
    "left_overs": [r"C:\Windows\Panther"],
    "agents": [{"name": "RdAgent", "state": "Running"}],
    "virtual_switches": 0,
    "encrypted_credentials": False,
}
