import os
from pathlib import Path

import pytest

from builder.apply.collect import Needed, collect
from builder.errors import BuildError
from builder.records.store import Checkpoint, Store

LIVE = "20261101t000000-aaaaaa"
DEAD = "20261101t000000-bbbbbb"
A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
# A long time ago, whatever the clock says
OLD = 1_000_000_000


def checkpoints(store: Store, *digests: str) -> None:
    """Checkpoints of long ago that stand on each other."""
    parent: Checkpoint | None = None
    for digest in digests:
        folder = store.new_checkpoint(digest, DEAD)
        (folder / "os.qcow2").write_text("layer")
        known, made = (parent.digest, parent.made) if parent else (None, "")
        new = Checkpoint(digest, known, ("os.qcow2",), (None,), folder, "step", parent_made=made)
        parent = store.keep_checkpoint(folder, new)
        age(parent.folder)


def age(path: Path) -> None:
    for entry in [*path.rglob("*"), path]:
        os.utime(entry, (OLD, OLD))


def artifact(store: Store, digest: str, image: str) -> None:
    store.keep_artifact(store.new_artifact(digest, image, DEAD), digest, image, {"image": image})


def gone(
    root: Path,
    needed: tuple[str, ...] = (),
    artifacts: tuple[tuple[str, str], ...] = (),
    blocked: tuple[str, ...] = (),
    *,
    days: int = 14,
    dry_run: bool = False,
) -> list[str]:
    wanted = Needed(frozenset(needed), frozenset(artifacts), frozenset(blocked))
    return [removed.what for removed in collect(Store(root), needed=wanted, days=days, dry_run=dry_run)]


def test_what_is_needed_stays_with_all_that_it_stands_on(tmp_path: Path) -> None:
    checkpoints(Store(tmp_path), A, B, C)
    assert [what.split()[1][:4] for what in gone(tmp_path, (B,))] == ["cccc"]
    assert Store(tmp_path).known_checkpoints == {A, B}


def test_a_collection_that_is_cut_short_leaves_nothing_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints(Store(tmp_path), C, A, D, B)
    remove, removed = Store.remove, []

    def cut_short(folder: Path, run: str = "") -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(folder.name[0])
        remove(folder, run)

    monkeypatch.setattr(Store, "remove", staticmethod(cut_short))
    with pytest.raises(KeyboardInterrupt):
        gone(tmp_path)
    assert removed == ["b", "d"]
    assert Store(tmp_path).known_checkpoints == {C, A}


def test_young_checkpoints_stay_and_broken_ones_never(tmp_path: Path) -> None:
    store = Store(tmp_path)
    checkpoints(store, A, B)
    checkpoints(store, C)
    for digest in (B, C):
        os.utime(store.checkpoint(digest).folder / "checkpoint.json")
    assert gone(tmp_path) == []
    store.checkpoint(A).paths[0].unlink()
    (store.checkpoint(C).folder / "checkpoint.json").write_text("")
    assert [what.split()[1][:4] for what in gone(tmp_path, (A, B, C))] == ["bbbb", "aaaa", "cccc"]
    assert list(store.checkpoints.iterdir()) == []


def test_nothing_is_removed_beside_a_live_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    checkpoints(store, A)
    with store.alive(LIVE):
        with pytest.raises(BuildError) as caught:
            gone(tmp_path)
        assert caught.value.code == "store-busy"
        assert len(gone(tmp_path, dry_run=True)) == 1
    assert Store(tmp_path).known_checkpoints == {A}


def test_a_dry_run_makes_and_removes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.new_checkpoint(A, DEAD)
    before = sorted(tmp_path.rglob("*"))
    assert len(gone(tmp_path, dry_run=True)) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert gone(tmp_path / "absent", dry_run=True) == []
    assert not (tmp_path / "absent").exists()


def test_artifacts_are_each_image_s_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for image in ("web", "twin", "blocked"):
        artifact(store, A, image)
    assert len(gone(tmp_path, artifacts=((A, "twin"),), blocked=("blocked",))) == 1
    assert set(Store(tmp_path).all_artifacts) == {(A, "twin"), (A, "blocked")}


def test_old_runs_and_downloads_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [store.run_folder(name) for name in (LIVE, DEAD, "20261101t000000-cccccc", "notes")]
    store.sources.mkdir()
    files = [store.sources / name for name in ("1" * 64, "2" * 64)]
    for folder in runs:
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_text("")
        age(folder)
    for file in files:
        file.write_text("")
        os.utime(file, (OLD, OLD))
    # Used again
    os.utime(runs[2] / "journal.jsonl")
    os.utime(files[1])
    assert gone(tmp_path) == [f"run {LIVE}", f"run {DEAD}", "download 111111111111"]
    assert sorted(path.name for path in store.runs.iterdir()) == sorted([runs[2].name, "notes"])
    assert list(store.sources.iterdir()) == [files[1]]
