"""A directory on a file system that can't be written to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SPEC = """\
name: web
os: {family: linux, distribution: debian, release: "12"}
source: {bootstrap: {}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "build.yaml").write_text("{}\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/web.yaml").write_text(SPEC)
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", gallery], check=True)
    yield tmp_path
    subprocess.run(["umount", gallery], check=True)


def test_a_read_only_file_system_blocks(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "builder", "plan", "--format", "json"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)["diagnostics"]
    assert (found["code"], found["summary"]) == (
        "destination-read-only",
        "gallery: gallery is on a read-only file system, so nothing can be published there",
    )
