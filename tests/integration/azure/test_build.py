"""A build on Azure, from the Marketplace to a gallery: what is made, what is in it, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure import Simulator
from tests.integration.azure.building import Build

STEPS = """\
prepare:
  - files: [{path: /etc/web.conf, content: "one\\n"}]
  - script: {path: setup.sh, env: {LEVEL: strict}}
  - run: echo "$(cat /etc/web.conf) $(cat /etc/level)" > /etc/both
"""


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = Build(tmp_path, azure, monkeypatch)
    (build.root / "setup.sh").write_text('#!/bin/sh\nset -eu\necho "$LEVEL" > /etc/level\necho set up\n')
    return build


def test_from_the_marketplace_to_a_gallery(azure: Simulator, build: Build) -> None:
    build.write(STEPS)
    outcome = build.apply()

    assert outcome.version == "1.0.0"
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/both") == "one strict\n"
    assert tree.text("/etc/machine-id") != "0123456789abcdef0123456789abcdef\n"
    assert "set up" in build.log
