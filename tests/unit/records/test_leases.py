import threading
from pathlib import Path

import pytest

from builder.errors import ExitCode, Locked
from builder.records.leases import lease


def hold(path: Path, run: str, timeout: float = 0.0, waits: list[str] | None = None):  # type: ignore[no-untyped-def]
    said = waits if waits is not None else []
    return lease(path, what="image web", run=run, timeout=timeout, on_wait=said.append)


def test_a_second_run_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "web.lock"
    with hold(path, "first"), pytest.raises(Locked, match="run first") as caught, hold(path, "second"):
        pass
    assert caught.value.exit_code == ExitCode.LOCKED


def test_it_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "web.lock"
    for run in ("first", "second"):
        with hold(path, run):
            assert run in path.read_text()


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    path = tmp_path / "web.lock"
    waits: list[str] = []
    got = threading.Event()

    def second() -> None:
        with hold(path, "second", timeout=30, waits=waits):
            got.set()

    with hold(path, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.3)
    assert got.wait(10)
    thread.join()
    assert len(waits) == 1
    assert "first" in waits[0]
