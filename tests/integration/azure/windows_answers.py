"""What a Windows guest of the simulator says to the scripts that are rendered for one: there is no Windows here.

Scripts say in their first line what they are. Sysprep itself the simulator knows: it takes its time and seals the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.azure import Simulator
from tests.azure.guests import Scripted
from tests.unit.guest.windows.facts import HEALTHY
from tests.unit.guest.windows.guest import told

# Prepare kinds whose scripts tell nothing but what they print
SILENT = ("packages", "files", "users", "services", "registry", "run", "script")
RESULTS: Mapping[str, dict[str, Any]] = {
    "windowsFeatures": {"restart": False},
    "windowsUpdates": {"restart": False, "installed": [], "failed": [], "left": 0},
}
# What it says when it is asked what it is
FACTS = 'ID="windows"\r\nVERSION_ID="10.0.20348"\r\nbuild: architecture AMD64\r\n'


def answer(azure: Simulator, title: str, result: dict[str, Any], **more: Any) -> None:
    """Scripts of a title give this result from now on."""
    azure.guests.answer(Scripted(marker(title), output=told(result, piece=2000) + "\r\n", **more))


def marker(title: str) -> str:
    """A pattern for the first line of scripts with this title."""
    return rf"# build: {title}\b(?!-)"


def answer_all(azure: Simulator, inventory: dict[str, Any] | None = None, **facts: Any) -> None:
    """Every script succeeds, on a Windows that Sysprep may seal; `facts` of it may be others."""
    for title in SILENT:
        azure.guests.answer(Scripted(marker(title), output=f"{title} done\r\n"))
    for title, result in RESULTS.items():
        answer(azure, title, result)
    answer(azure, "sysprep-check", {**HEALTHY, **facts})
    if inventory is not None:
        answer(azure, "inventory", inventory)
