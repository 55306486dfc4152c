"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: how long an example takes says nothing about whether it is right
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# They begin first, so that nobody waits for a long one at the end while other processors have nothing to do
LONGEST = (
    "test_rehearsal.py",
    "test_build_crowd.py",
    "test_examples.py",
    "test_bootstrap.py",
    "test_examples_azure.py",
    "test_kill.py",
    "test_cli.py",
    "test_linux.py",
    "test_local_to_azure.py",
    "test_page_upload.py",
    "test_every_destination.py",
    "test_output.py",
    "test_apply.py",
    "test_replay.py",
    "test_debian.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, then integration, then unit."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    name = Path(item.path).name
    if "integration" not in item.path.parts:
        return len(LONGEST) + 1
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
