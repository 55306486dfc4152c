import os
from pathlib import Path

import pytest

from builder.records.hashes import FileHashes
from builder.records.store import Checkpoint, Store

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def make(store: Store, digest: str = DIGEST, run: str = "run1") -> Path:
    folder = store.new_checkpoint(digest, run)
    (folder / "os.qcow2").write_text("layer")
    store.keep_checkpoint(folder, Checkpoint(digest, None, ("os.qcow2",), (None,), folder, "base"))
    return folder


def test_a_checkpoint_is_known_once_it_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.new_checkpoint(OTHER, "run1")
    make(store)
    assert Store(tmp_path).known_checkpoints == {DIGEST}
    found = store.checkpoint(DIGEST)
    assert found.paths == (tmp_path / "checkpoints" / ("ab" * 32) / "os.qcow2",)
    assert found.paths[0].read_text() == "layer"


def test_one_that_layers_may_stand_on_is_never_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store)
    kept = store.checkpoint(DIGEST).paths[0].stat().st_ino
    make(store, run="run2")
    assert store.checkpoint(DIGEST).paths[0].stat().st_ino == kept
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["ab" * 32]


def test_left_overs_of_dead_runs_are_swept_and_of_live_ones_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.alive("20261101t000000-aaaaaa"):
        store.new_checkpoint(DIGEST, "20261101t000000-aaaaaa")
        (store.work / "20261101t000000-aaaaaa-web").mkdir(parents=True)
        dead = store.new_checkpoint(OTHER, "20261101t000000-bbbbbb")
        assert store.sweep() == [dead]
    assert len(store.sweep()) == 2


def test_an_artifact_goes_when_its_versions_stand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.new_artifact(DIGEST, "run1")
    (folder / "os.vhd").write_text("disk")
    store.keep_artifact(folder, DIGEST, {"image": "web"})
    found, facts = store.artifact(DIGEST)
    assert (found / "os.vhd").read_text() == "disk"
    assert facts == {"image": "web"}
    store.drop_artifact(DIGEST)
    with pytest.raises(FileNotFoundError):
        store.artifact(DIGEST)


def test_a_plan_is_remembered_as_applied(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.was_applied("5c0e9b")
    store.mark_applied("5c0e9b", "run1")
    assert store.was_applied("5c0e9b")


def test_large_files_are_hashed_again_only_when_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"a" * (9 << 20))
    monkeypatch.setattr("builder.records.hashes.SETTLED_SECONDS", -1.0)
    first = FileHashes(tmp_path / "hashes.json").sha256(disk)
    reads = []
    monkeypatch.setattr("hashlib.file_digest", lambda *a: reads.append(a))
    assert FileHashes(tmp_path / "hashes.json").sha256(disk) == first
    assert reads == []
    monkeypatch.undo()
    disk.write_bytes(b"b" * (9 << 20))
    os.utime(disk, ns=(1, 1))
    assert FileHashes(tmp_path / "hashes.json").sha256(disk) != first
