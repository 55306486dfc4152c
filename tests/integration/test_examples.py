"""Every example is applied, and its versions come out: nothing in `examples/` is only for show."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.left_overs import Left, left_in

REPOSITORY = Path(__file__).resolve().parents[2]
# In the order in which they stand on each other
EXAMPLES = ("debian-web", "debian-files")
# Two VMs are started without KVM, one after the other
SECONDS = 1500


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a user has: build.yaml and the examples."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(REPOSITORY / "build.yaml", root)
    shutil.copytree(REPOSITORY / "examples", root / "examples")
    return root


def build(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_every_example_is_in_the_list() -> None:
    assert {path.stem for path in (REPOSITORY / "examples").glob("*.yaml")} == set(EXAMPLES)


def test_all_examples_are_built_tested_and_published(checkout: Path) -> None:
    result = build(checkout, "apply", "--yes", "--progress", "plain")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in EXAMPLES:
        folder = checkout / "gallery" / name / "1.0.0"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert all(test["passed"] for test in manifest["tests"])
        assert len(manifest["tests"]) > 2
        for disk in manifest["disks"]:
            info = ["qemu-img", "info", "--output=json", "-f", "vpc", str(folder / disk["file"])]
            shown = json.loads(subprocess.run(info, capture_output=True, text=True, check=True).stdout)
            assert shown["virtual-size"] == disk["size"]
    again = build(checkout, "apply", "--yes")
    assert "No changes. 2 images match their specs" in again.stdout
    assert left_in(checkout) == Left()
