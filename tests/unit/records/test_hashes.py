import hashlib
import os
from pathlib import Path

import pytest

from builder.records import hashes
from builder.records.hashes import SMALLEST_REMEMBERED, FileHashes, _is_settled

SECOND = 10**9


@pytest.mark.parametrize(
    ("changed", "now", "settled"),
    [
        (100 * SECOND + 7, 100 * SECOND + 7, False),
        (100 * SECOND + 7, 100 * SECOND + SECOND // 20, False),
        (100 * SECOND + 7, 101 * SECOND, True),
        (100 * SECOND, 101 * SECOND, False),
        (100 * SECOND, 103 * SECOND, True),
        (200 * SECOND, 100 * SECOND, False),
    ],
)
def test_a_change_that_would_leave_no_trace_is_waited_for(changed: int, now: int, settled: bool) -> None:
    assert _is_settled(changed, now) is settled


def large_file(folder: Path) -> Path:
    path = folder / "base.raw"
    with path.open("wb") as file:
        file.truncate(SMALLEST_REMEMBERED)
    return path


def test_a_settled_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large_file(tmp_path)
    monkeypatch.setattr(hashes.time, "time_ns", lambda: path.stat().st_ctime_ns + 60 * SECOND)
    first = FileHashes(tmp_path / "hashes.json").sha256(path)
    assert first == hashlib.sha256(bytes(SMALLEST_REMEMBERED)).hexdigest()
    monkeypatch.setattr(hashes.hashlib, "file_digest", lambda *file: pytest.fail("read again"))
    assert FileHashes(tmp_path / "hashes.json").sha256(path) == first


def test_a_fresh_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large_file(tmp_path)
    monkeypatch.setattr(hashes.time, "time_ns", lambda: path.stat().st_ctime_ns)
    known = FileHashes(tmp_path / "hashes.json")
    before = known.sha256(path)
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert known.sha256(path) != before
