"""Roots to run scripts in: made once for each shell, then linked into a folder of each test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.guest.roots import make_root


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for shell in ("dash", "bash", "busybox"):
        found[shell] = tmp_path_factory.mktemp(f"template-{shell}")
        make_root(found[shell], shell)
    return found


@pytest.fixture
def make(templates: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A root with this shell. Its programs are shared with other tests: don't write into them."""

    def link(shell: str) -> Path:
        root = tmp_path / f"root-{shell}"
        shutil.copytree(templates[shell], root, symlinks=True, copy_function=os.link)
        return root

    return link
