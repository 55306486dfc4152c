"""`build inspect` as a person calls it; what it finds is tested elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.disk.partitions import GptPartition, write_gpt
from builder.guest.inspection.reference import markdown

MIB = 1024**2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error[usage]: no disk was named"),
        (["gone.vhd"], "error[disk-missing]: there is no file gone.vhd"),
        (["."], "error[disk-missing]: . is a folder"),
        (["x", "--generalized", "--specialized"], "generalized or specialized, not both"),
        (["x", "--output", "y"], "--output is for --fix"),
        (["x", "--format", "xml"], "Invalid value for '--format'"),
    ],
)
def test_wrong_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["inspect", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk.vhd"
    disk.write_text("name: web\n" * 1000)
    assert invoke(["inspect", str(disk)]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"{disk}: not ready for Azure (1 error)\n")
    assert "error[disk-unreadable] file: disk.vhd is not a disk" in text
    assert "not looked at: everything on the disk" in text


@pytest.mark.parametrize(
    ("size", "said"), [(20 * MIB, "20.0 MiB"), (1023 * MIB, "1023.0 MiB"), (1536 * MIB, "1.5 GiB")]
)
def test_small_disks_have_a_size_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int, said: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    disk = tmp_path / "disk.vhd"
    write_gpt(disk, size, [GptPartition(1, MIB, MIB)])
    assert invoke(["inspect", str(disk)]) == 1
    assert f"{said} ({size} bytes)\n" in capsys.readouterr().out


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["inspect", "--format", "markdown"]) == 0
    assert capsys.readouterr().out == markdown()
