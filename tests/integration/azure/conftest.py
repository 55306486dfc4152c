"""What these tests share: one Azurite, a simulator per test, and one look at all their traffic at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure import Simulator
from tests.azure.answers import Json
from tests.azure.blobs import Blobs
from tests.integration.azure.checking import TOOLS, false_alarm, require, strict_specifications, violations


class Recorder:
    """All pairs of this run, for one check at its end."""

    def __init__(self) -> None:
        self.documents: list[Json] = []

    def add(self, azure: Simulator) -> None:
        self.documents += [json.loads(json.dumps(pair.document())) for pair in azure.traffic.pairs if not pair.injected]

    def load(self, path: Path) -> list[Json]:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.documents += found
        return found


@pytest.fixture(scope="session")
def specifications(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Azure's OpenAPI with closed enums."""
    return strict_specifications(tmp_path_factory.mktemp("openapi"))


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """Every request and answer of the whole run is what Azure's OpenAPI says, but for known false alarms."""
    found = Recorder()
    yield found
    specifications = strict_specifications(tmp_path_factory.mktemp("openapi"))
    wrong = violations(found.documents, specifications, tmp_path_factory.mktemp("traffic"))
    wrong = [violation for violation in wrong if not false_alarm(violation)]
    assert not wrong, f"{len(found.documents)} pairs; " + "\n".join(sorted({str(violation) for violation in wrong}))


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    require((TOOLS / "node/installed").exists(), f"Azurite is not in {TOOLS}; tests/azure/install puts it there")
    with Blobs.start(TOOLS / "node", tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def azure(recorder: Recorder) -> Iterator[Simulator]:
    """A simulator whose clock stands until it is moved, without blobs."""
    with Simulator() as running:
        yield running
        recorder.add(running)


@pytest.fixture
def azure_with_blobs(recorder: Recorder, blobs: Blobs) -> Iterator[Simulator]:
    with Simulator(blobs=blobs) as running:
        yield running
        recorder.add(running)
