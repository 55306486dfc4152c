import fcntl
import os
from pathlib import Path

import pytest

from builder.apply.executor import new_run_id
from builder.errors import BuildError
from builder.records.files import remove_tree
from builder.records.hashes import FileHashes
from builder.records.store import RUN_ID, SWEEP_LOCK, Checkpoint, Store, whole

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


def unexpected(path: Path, error: OSError) -> None:
    raise AssertionError(f"{path}: {error}")


LIVE = "20261101t000000-aaaaaa"
DEAD = "20261101t000000-bbbbbb"


def test_a_run_is_called_what_the_store_looks_for() -> None:
    assert RUN_ID.fullmatch(new_run_id())


def test_left_overs_of_dead_runs_are_swept_and_of_live_ones_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.sources.mkdir(parents=True)
    (store.sources / ("ef" * 32)).write_text("whole")
    for run in (LIVE, DEAD):
        (store.sources / f".{'ef' * 32}.{run}.partial").write_text("part")
        # An image's name may have dashes
        (store.work / f"{run}-web-server-2").mkdir(parents=True)
        store.new_artifact(DIGEST, "web-server-2", run)
        # What a run is about to remove
        (store.checkpoints / f".new-{run}-0123abcd-{'ab' * 8}").mkdir(parents=True)
    with store.alive(LIVE):
        gone = store.sweep(unexpected)
        assert len(gone) == 4
        assert all(DEAD in path.name and not path.exists() for path in gone)
    assert len(store.sweep(unexpected)) == 4
    assert [path.name for path in store.sources.iterdir()] == ["ef" * 32]


def test_only_one_run_sweeps_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    dead = store.new_checkpoint(DIGEST, DEAD)
    store.locks.mkdir()
    with (store.locks / SWEEP_LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert store.sweep(unexpected) == []
    assert store.sweep(unexpected) == [dead]


def test_what_can_t_be_swept_is_told_and_the_rest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    stuck, free = store.new_checkpoint(DIGEST, DEAD), store.new_checkpoint(OTHER, DEAD)

    def refuse(path: Path) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied", str(path))
        remove_tree(path)

    monkeypatch.setattr("builder.records.store.remove_tree", refuse)
    told: list[Path] = []
    assert store.sweep(lambda path, error: told.append(path)) == [free]
    assert told == [stuck]


def test_what_vanishes_during_a_removal_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "file").write_text("")
    unlink = os.unlink

    def twice(path: str, **options: int) -> None:
        unlink(path, **options)
        unlink(path, **options)

    monkeypatch.setattr("os.unlink", twice)
    remove_tree(folder)
    assert not folder.exists()
    remove_tree(folder)


def test_whoever_is_alone_finds_no_live_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.alive(LIVE), store.alive(DEAD), pytest.raises(BuildError) as caught, store.alone():
        pass
    assert caught.value.code == "store-busy"
    with store.alone():
        pass


def chain(store: Store, *digests: str, run: str = DEAD) -> list[Checkpoint]:
    """Checkpoints that stand on each other, the first on nothing."""
    made: list[Checkpoint] = []
    for digest in digests:
        folder = store.new_checkpoint(digest, run)
        (folder / "os.qcow2").write_text("layer")
        parent, parent_made = (made[-1].digest, made[-1].made) if made else (None, "")
        new = Checkpoint(digest, parent, ("os.qcow2",), (None,), folder, "step", parent_made=parent_made)
        made.append(store.keep_checkpoint(folder, new))
    return made


THIRD = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("lost", "known"),
    [
        ("ab/os.qcow2", set()),
        ("ab/checkpoint.json", set()),
        ("cd/os.qcow2", {DIGEST}),
        ("0f/os.qcow2", {DIGEST, OTHER}),
    ],
)
def test_a_checkpoint_is_known_when_all_that_it_stands_on_is_there(tmp_path: Path, lost: str, known: set[str]) -> None:
    chain(Store(tmp_path), DIGEST, OTHER, THIRD)
    assert Store(tmp_path).known_checkpoints == {DIGEST, OTHER, THIRD}
    folder, name = lost.split("/")
    (tmp_path / "checkpoints" / (folder * 32) / name).unlink()
    assert Store(tmp_path).known_checkpoints == known


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"parent": null, "disks": 3, "luns": [], "title": ""}'])
def test_facts_that_can_t_be_understood_are_no_checkpoint(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    [made] = chain(store, DIGEST)
    (made.folder / "checkpoint.json").write_text(text)
    assert store.known_checkpoints == set()
    assert store.damaged_checkpoints() == [made.folder]
    chain(store, DIGEST)
    assert Store(tmp_path).known_checkpoints == {DIGEST}


def test_a_ring_ends(tmp_path: Path) -> None:
    found = {a: Checkpoint(a, b, (), (), tmp_path) for a, b in ((DIGEST, OTHER), (OTHER, THIRD), (THIRD, DIGEST))}
    assert list(whole(found)) == []


def test_a_broken_checkpoint_is_replaced_and_no_layer_stands_on_the_new_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = chain(store, DIGEST, OTHER)
    first[0].paths[0].unlink()
    again = chain(store, DIGEST)
    assert again[0].made != first[0].made
    # Its blocks are where the new parent has others
    assert Store(tmp_path).known_checkpoints == {DIGEST}
    chain(store, DIGEST, OTHER)
    assert Store(tmp_path).known_checkpoints == {DIGEST, OTHER}
    assert sorted(entry.name for entry in store.checkpoints.iterdir()) == ["ab" * 32, "cd" * 32]


def test_many_checkpoints_are_each_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    digests = [f"sha256:{number:064x}" for number in range(60)]
    chain(store, *digests)
    reads = []
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **b: reads.append(path) or read_text(path, *a, **b))
    assert Store(tmp_path).known_checkpoints == set(digests)
    assert len(reads) == len(digests)


def keep(store: Store, image: str, text: str = "disk") -> None:
    folder = store.new_artifact(DIGEST, image, LIVE)
    (folder / "os.vhd").write_text(text)
    store.keep_artifact(folder, DIGEST, image, {"image": image})


def test_an_artifact_goes_when_its_versions_stand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, "web")
    found, facts = store.artifact(DIGEST, "web")
    assert (found / "os.vhd").read_text() == "disk"
    assert facts == {"image": "web"}
    keep(store, "web", "a later capture")
    assert (found / "os.vhd").read_text() == "a later capture"
    store.drop_artifact(DIGEST, "web", LIVE)
    with pytest.raises(FileNotFoundError):
        store.artifact(DIGEST, "web")
    assert list(store.artifacts.iterdir()) == []


def test_images_of_equal_content_have_an_artifact_each(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for image in ("web", "web-2"):
        keep(store, image)
    assert Store(tmp_path).known_artifacts("web") == Store(tmp_path).known_artifacts("web-2") == {DIGEST}
    assert Store(tmp_path).known_artifacts("2") == set()
    store.drop_artifact(DIGEST, "web", LIVE)
    assert store.artifact(DIGEST, "web-2")[0].is_dir()
    assert Store(tmp_path).known_artifacts("web") == set()


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


def test_a_hash_that_can_t_be_remembered_is_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"a" * (9 << 20))
    monkeypatch.setattr("builder.records.hashes.SETTLED_SECONDS", -1.0)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builder.records.hashes.write_json", refuse)
    assert len(FileHashes(tmp_path / "hashes.json").sha256(disk)) == 64


def test_hashing_makes_no_store_but_uses_one_that_was_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"a" * (9 << 20))
    monkeypatch.setattr("builder.records.hashes.SETTLED_SECONDS", -1.0)
    hashes = FileHashes(tmp_path / "store/hashes.json")
    hashes.sha256(disk)
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    hashes.sha256(disk)
    assert str(disk) in (tmp_path / "store/hashes.json").read_text()


@pytest.mark.parametrize("text", ["[1]", "3", '{"disk": 3}', "{", "\xff"])
def test_remembered_hashes_that_can_t_be_understood_are_forgotten(tmp_path: Path, text: str) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"a")
    (tmp_path / "hashes.json").write_bytes(text.replace("disk", str(disk)).encode("latin-1"))
    assert len(FileHashes(tmp_path / "hashes.json").sha256(disk)) == 64
