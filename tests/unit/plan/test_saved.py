import json
import os
import stat

import pytest

from builder.errors import BuildError
from builder.plan.saved import load, save
from tests.unit.plan.world import World, document


def a_plan():
    world = World(
        [
            document("web", prepare=[{"script": {"path": "a.sh", "secrets": {"TOKEN": {"env": "APP_TOKEN"}}}}]),
            document("app", source={"image": {"name": "web"}}),
        ],
        files={"a.sh": "true\n"},
    )
    world.apply(world.plan())
    world.files["a.sh"] = "false\n"
    return world.plan()


def test_a_plan_comes_back_as_it_was(tmp_path):
    plan = a_plan()
    save(plan, tmp_path / "p")
    assert load(tmp_path / "p") == plan


def test_only_its_owner_may_read_it(tmp_path):
    save(a_plan(), tmp_path / "p")
    (tmp_path / "p").chmod(0o644)
    save(a_plan(), tmp_path / "p")
    assert stat.S_IMODE((tmp_path / "p").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


def test_the_same_plan_is_the_same_file(tmp_path):
    save(a_plan(), tmp_path / "a")
    save(a_plan(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a saved plan"),
        (b"\xff\xfe", "not a saved plan"),
        (b"[]", "not a saved plan"),
        (b'{"format_version": "1.0"}', "not a saved plan"),
        (b'{"file": "build plan", "format_version": "2.0"}', "has format 2.0"),
        (b'{"file": "build plan"}', "has format None"),
        (b'{"file": "build plan", "format', "is damaged"),
        (b'{"file": "build plan", "format_version": "1.0"}', "is damaged"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, content, message):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(BuildError, match=message) as caught:
        load(tmp_path / "p")
    assert caught.value.code == "plan-file"
    assert message != "not a saved plan" or caught.value.message.endswith("/p is not a saved plan")


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["images"][0].__setitem__("version", "9.9.9"),
        lambda data: data["images"][0].__setitem__("retires", ["1.0.0"]),
        lambda data: data["images"][0]["steps"][1]["step"]["inputs"].__setitem__("path", "evil.sh"),
        lambda data: data["images"][0]["steps"][1]["step"]["files"][0].__setitem__("sha256", "00"),
        lambda data: data["images"][0]["steps"].pop(),
        lambda data: data["inputs"].popitem(),
    ],
)
def test_a_plan_that_was_edited_is_refused(tmp_path, edit):
    save(a_plan(), tmp_path / "p")
    data = json.loads((tmp_path / "p").read_text())
    edit(data)
    (tmp_path / "p").write_text(json.dumps(data))
    with pytest.raises(BuildError, match="was changed after it was made"):
        load(tmp_path / "p")


def test_a_newer_minor_format_is_read_without_what_it_adds(tmp_path):
    plan = a_plan()
    save(plan, tmp_path / "p")
    data = json.loads((tmp_path / "p").read_text())
    data |= {"format_version": "1.7", "mood": "good"}
    data["images"][0]["mood"] = "good"
    data["images"][0]["steps"][0]["step"]["mood"] = "good"
    (tmp_path / "p").write_text(json.dumps(data))
    assert load(tmp_path / "p").images == plan.images


@pytest.mark.parametrize("path", ["missing/../no", "."])
def test_a_file_that_can_not_be_read_or_written(tmp_path, path):
    with pytest.raises(BuildError, match="can't be read"):
        load(tmp_path / path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="can't be saved"):
        save(a_plan(), tmp_path / "file" / "p")


def test_no_folder_is_made_for_it(tmp_path):
    with pytest.raises(BuildError, match=r"there is no folder .*/nope$") as caught:
        save(a_plan(), tmp_path / "nope/p")
    assert caught.value.code == "plan-file"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"name: web\n", b"[]", b'{"format_version": "1.0"}', b"\x00" * 300])
def test_only_a_saved_plan_is_replaced(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(BuildError, match="exists already and is not a saved plan") as caught:
        save(a_plan(), tmp_path / "p")
    assert caught.value.code == "exists"
    assert (tmp_path / "p").read_bytes() == content


@pytest.mark.parametrize("content", [b'{"file": "build plan", "format_version": "9.0"}', b'{\n  "file": "build plan",'])
def test_a_plan_that_can_not_be_read_any_more_is_replaced(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    plan = a_plan()
    save(plan, tmp_path / "p")
    assert load(tmp_path / "p") == plan


def test_no_link_device_or_folder_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(BuildError, match="it is a folder") as caught:
        save(a_plan(), tmp_path / "folder")
    assert caught.value.hint == f"name a file in it, such as {tmp_path}/folder/build.buildplan"
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(BuildError, match="exists already"):
            save(a_plan(), tmp_path / name)
    assert (tmp_path / "link").is_symlink()
