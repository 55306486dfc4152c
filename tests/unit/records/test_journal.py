from pathlib import Path

import pytest

from builder.records import journal
from builder.records.journal import Journal
from builder.secrets import Redactor


def entries(folder: Path) -> list[str]:
    return [entry["entry"] for entry in journal.read(folder)]


def test_an_effect_is_written_before_and_after(tmp_path: Path) -> None:
    with Journal(tmp_path, Redactor()) as written:
        with written.effect("publish", version="1.0.0"):
            assert entries(tmp_path) == ["publish.begin"]
        assert entries(tmp_path) == ["publish.begin", "publish.end"]


def test_a_failed_effect_says_why(tmp_path: Path) -> None:
    with Journal(tmp_path, Redactor()) as written, pytest.raises(OSError, match="no space"), written.effect("publish"):
        raise OSError("no space")
    last = journal.read(tmp_path)[-1]
    assert (last["entry"], last["error"]) == ("publish.failed", "no space")


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path, Redactor()) as written:
        written.write("one")
    with (tmp_path / journal.FILE_NAME).open("a") as file:
        file.write('{"entry": "tw')
    assert entries(tmp_path) == ["one"]


def test_secrets_are_masked(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("hunter2hunter2")
    with Journal(tmp_path, redactor) as written:
        written.write("step.failed", error="login with hunter2hunter2 refused")
    assert b"hunter2hunter2" not in (tmp_path / journal.FILE_NAME).read_bytes()


def test_no_journal_reads_as_empty(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "absent") == []
