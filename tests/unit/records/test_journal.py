import errno
import os
import stat
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


def test_a_run_is_its_owners_alone(tmp_path: Path) -> None:
    """The logs of its steps lie beside the journal."""
    with Journal(tmp_path / "runs/run-1", Redactor()):
        assert stat.S_IMODE((tmp_path / "runs/run-1").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) != 0o700


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


def test_a_write_that_takes_a_part_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with Journal(tmp_path, Redactor()) as written:
        monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:7]))
        written.write("one", text="é" * 20)
        monkeypatch.undo()
    assert journal.read(tmp_path)[0]["text"] == "é" * 20


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line can still be written, the rest can't."""
    write, calls = os.write, []

    def refuse(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:9])

    monkeypatch.setattr("os.write", refuse)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path, Redactor()) as written:
        written.write("one")
        full_disk(monkeypatch)
        with pytest.raises(OSError, match="No space"):
            written.write("two")
        monkeypatch.undo()
        written.write("three")
    assert entries(tmp_path) == ["one", "three"]


def test_an_error_that_can_t_be_journalled_is_still_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Journal(tmp_path, Redactor()) as written,
        pytest.raises(ValueError, match="the reason") as caught,
        written.effect("step"),
    ):
        full_disk(monkeypatch)
        raise ValueError("the reason")
    assert caught.value.__notes__ == ["the journal can't be written: No space left on device"]
