"""Azure's SDK is imported by one thread at a time.

Its modules import each other in circles. Where two threads enter such a circle at two places, Python lets one of them
go on with a module that is half made (its import locks give way to avoid a deadlock), and that is an ImportError.
"""

from __future__ import annotations

import importlib
import threading

CORE = ("azure.core.exceptions", "azure.core.rest", "azure.core.pipeline.policies", "azure.core.pipeline.transport")
RESOURCE_MANAGER = (*CORE, "azure.mgmt.core.policies", "azure.mgmt.compute")
STORAGE = (*CORE, "azure.storage.blob")
IDENTITY = (*CORE, "azure.identity")

_importing = threading.RLock()
_loaded: set[tuple[str, ...]] = set()


def load(modules: tuple[str, ...]) -> None:
    """Import one of the groups above, before anything is imported from it. Costs nothing the second time."""
    if modules in _loaded:
        return
    with _importing:
        for name in modules:
            importlib.import_module(name)
        _loaded.add(modules)
