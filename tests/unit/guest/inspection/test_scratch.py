"""Folders for work: gone afterwards, and those of killed processes with the next one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.guest.inspection.scratch import scratch_folder


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, ".work-") as folder:
        (folder / "file").write_text("x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), scratch_folder(tmp_path, ".work-"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".work-dead/sub").mkdir(parents=True)
    (tmp_path / ".work-dead/sub/disk").write_text("x")
    (tmp_path / ".work-file").write_text("no folder")
    (tmp_path / ".work-link").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    with scratch_folder(tmp_path, ".work-") as first, scratch_folder(tmp_path, ".work-") as second:
        there = {path.name for path in tmp_path.iterdir()}
    assert there == {".work-file", ".work-link", "mine", first.name, second.name}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_what_others_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".work-theirs").mkdir()
    os.chown(tmp_path / ".work-theirs", 65534, 65534)
    with scratch_folder(tmp_path, ".work-"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".work-theirs"]
