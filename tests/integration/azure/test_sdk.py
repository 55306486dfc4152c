"""Unmodified clients: three versions of azure-mgmt-compute, synchronous and asyncio."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.azure.blobs import Blobs
from tests.integration.azure.checking import (
    ROOT,
    TOOLS,
    bridged,
    folder,
    require,
    run_check,
    type_violations,
)
from tests.integration.azure.conftest import Recorder

VERSIONS = ("33.0.0", "38.2.0", "39.0.0")
WALKS = tuple((version, kind) for version in VERSIONS for kind in ("sync", "async"))
# The whole of azure-mgmt-compute is imported once more for each, and two processors do it side by side
SECONDS = 240
Walks = dict[tuple[str, str], tuple[subprocess.CompletedProcess[str], Path]]


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory, blobs: Blobs) -> Walks:
    for version in VERSIONS:
        require((TOOLS / f"compute-{version}/installed").exists(), f"azure-mgmt-compute {version} is not in {TOOLS}")
    traffic = tmp_path_factory.mktemp("walks")

    def walk(which: tuple[str, str]) -> tuple[subprocess.CompletedProcess[str], Path]:
        version, kind = which
        path = [ROOT, TOOLS / f"compute-{version}", *sorted((TOOLS / "network").iterdir())]
        file = traffic / f"{version}-{kind}.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.azure.walk", kind, file, blobs.endpoint],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}, cwd=ROOT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done, file

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(WALKS, pool.map(walk, WALKS), strict=True))


@pytest.mark.parametrize("which", WALKS, ids=["-".join(walk) for walk in WALKS])
def test_walks_through_everything(walks: Walks, recorder: Recorder, which: tuple[str, str]) -> None:
    done, traffic = walks[which]

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(recorder.load(traffic)) > 50


def test_traffic_is_what_the_exact_types_say(walks: Walks, tmp_path: Path) -> None:
    documents = Recorder().load(walks["38.2.0", "sync"][1])

    assert type_violations(documents, tmp_path) == []


def test_the_check_would_see_mistakes(walks: Walks, specifications: Path, tmp_path: Path) -> None:
    """Each of 44 mistakes, made one by one in this simulator's own traffic, is found."""
    documents = [found for found in map(bridged, Recorder().load(walks["33.0.0", "sync"][1])) if found is not None]
    run_check(documents, specifications, tmp_path / "clean.jsonl")
    mutated = tmp_path / "mutated.jsonl"
    subprocess.run(
        [sys.executable, folder() / "mutate.py", tmp_path / "clean.jsonl", mutated],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (tmp_path / "found.jsonl").write_text(run_check(None, specifications, mutated), encoding="utf-8")
    table = subprocess.run(
        [sys.executable, folder() / "mutate_table.py", mutated, tmp_path / "found.jsonl"],
        check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    ).stdout  # fmt: skip

    assert table.splitlines()[-1] == "44 of 44", table
