from dataclasses import replace

import pytest

from builder.errors import Place
from builder.model.plan import Action
from tests.unit.plan.world import World, document, registry, sha256

TIDY = "".join(f"echo {number}\n" for number in range(1, 10))
PREPARE = [
    {"packages": {"install": ["nginx", "jq"], "upgrade": True}},
    {"template": {"path": "/etc/motd", "sources": ["files/motd.j2"], "content": "Welcome"}},
    {"run": {"command": "echo {{ image.version }}", "secrets": {"TOKEN": {"env": "APP_TOKEN"}}}},
    {"script": {"path": "scripts/tidy.sh", "timeout": 600}},
]


def built(prepare=PREPARE, **options) -> World:
    """A world in which `web` is published as its spec says."""
    world = World([document("web", prepare=prepare, **options)])
    world.files = {"scripts/tidy.sh": TIDY, "files/motd.j2": "Welcome", "files/more.j2": "More"}
    world.apply(world.plan())
    assert world.plan().images[0].action == Action.NONE
    return world


def reasons(world):
    (image,) = world.plan().images
    return [(reason.code, reason.message, str(reason.place), reason.before, reason.after) for reason in image.reasons]


def edited(index, kind, **values):
    """The steps with some inputs of one step changed; a value of None takes the key away."""
    steps = [dict(step) for step in PREPARE]
    steps[index] = {
        kind: {key: value for key, value in {**PREPARE[index][kind], **values}.items() if value is not None}
    }
    return steps


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (
            edited(0, "packages", install=["nginx"]),
            [("step_changed", 'step 2 "packages": install changed', "images/web.yaml:10:20", "nginx, jq", "nginx")],
        ),
        (
            edited(0, "packages", upgrade=None),
            [("step_changed", 'step 2 "packages": upgrade changed', "images/web.yaml:10:5", "true", None)],
        ),
        (
            edited(2, "run", secrets={"TOKEN": {"env": "OTHER"}}),
            [
                (
                    "step_changed",
                    'step 4 "run": secrets.TOKEN.env changed',
                    "images/web.yaml:12:21",
                    "APP_TOKEN",
                    "OTHER",
                )
            ],
        ),
        (
            edited(2, "run", command="echo other"),
            [("step_changed", 'step 4 "run": command changed', "images/web.yaml:12:20", "echo 1.0.0", "echo other")],
        ),
        (
            [*PREPARE, {"services": {"enable": ["nginx"]}}],
            [("step_added", 'step 6 "services" is new', "images/web.yaml:14:5", None, "services")],
        ),
        (PREPARE[1:], [("step_removed", 'step 2 "packages" is gone', "images/web.yaml:1:1", "packages", None)]),
        (
            [PREPARE[1], PREPARE[0], *PREPARE[2:]],
            [("step_moved", 'step 2 "template files/motd.j2" stands elsewhere', "images/web.yaml:10:5", None, None)],
        ),
        (
            edited(1, "template", sources=["files/more.j2"]),
            [
                (
                    "step_changed",
                    'step 3 "template files/more.j2": sources changed',
                    "images/web.yaml:11:21",
                    "files/motd.j2",
                    "files/more.j2",
                )
            ],
        ),
    ],
)
def test_an_edit_is_named_with_its_place(prepare, expected):
    world = built()
    world.replace(document("web", prepare=prepare))
    assert reasons(world) == expected


def test_a_longer_timeout_changes_nothing():
    world = built()
    world.replace(document("web", prepare=edited(3, "script", timeout=1200)))
    assert world.plan().images[0].action == Action.NONE


def test_an_edited_line_of_a_script_is_named():
    world = built()
    world.files["scripts/tidy.sh"] = TIDY.replace("echo 5", "echo five")
    (image,) = world.plan().images
    (reason,) = image.reasons
    assert reason.code == "file_changed"
    assert reason.message == "scripts/tidy.sh changed (step 5)"
    assert reason.place == Place("scripts/tidy.sh", 5)
    assert reason.diff[4:6] == ("-echo 5", "+echo five")
    assert [(item.step.kind, item.action) for item in image.steps if item.step.identity] == [
        ("source.bootstrap", "reuse"),
        ("packages", "reuse"),
        ("template", "reuse"),
        # The version of the image is new, and this step says it aloud
        ("run", "run"),
        ("script", "run"),
        ("generalize", "run"),
        ("capture", "run"),
    ]


def test_only_what_follows_an_edited_line_runs():
    world = built(prepare=[PREPARE[0], PREPARE[3]])
    world.files["scripts/tidy.sh"] = TIDY + "echo more\n"
    (image,) = world.plan().images
    assert [item.action for item in image.steps[:3]] == ["reuse", "reuse", "run"]
    assert image.start == image.steps[1].step.digest


def test_the_text_that_a_template_renders_to_follows_from_its_file():
    world = built()
    world.files["files/motd.j2"] = "Hello"
    world.replace(document("web", prepare=edited(1, "template", content="Hello")))
    assert [(code, place) for code, _, place, *_ in reasons(world)] == [("file_changed", "files/motd.j2:1:1")]


def test_the_rendered_text_is_named_when_only_a_variable_changed():
    world = built()
    world.replace(document("web", prepare=edited(1, "template", content="Hello")))
    assert reasons(world) == [
        (
            "step_changed",
            'step 3 "template files/motd.j2": content changed',
            "images/web.yaml:11:22",
            "Welcome",
            "Hello",
        )
    ]


def test_files_that_come_and_go_with_the_same_inputs():
    prepare = [{"files": {"path": "/srv", "sources": ["a", "b"]}}]
    world = World([document("web", prepare=prepare)], files={"a": "1", "b": "2"})
    world.apply(world.plan())
    # A folder is named once, whatever files it holds: the step's inputs stay, its files don't
    stored = world.galleries["gallery"]["web"][0].manifest.steps[1]
    stored["files"] = [item for item in stored["files"] if item["path"] == "a"]
    stored["files"].append({"path": "c", "sha256": "00" * 32, "size": 3, "text": None})
    world.replace(document("web", prepare=prepare, generalize=False))
    assert ("file_changed", "b is new (step 2)", "b:1:1") in [reason[:3] for reason in reasons(world)]
    assert ("file_changed", "c is gone (step 2)", "c:1:1") in [reason[:3] for reason in reasons(world)]


def test_a_file_without_text_shows_sizes():
    world = built()
    for step in world.galleries["gallery"]["web"][0].manifest.steps:
        for file in step["files"]:
            file["text"] = None
    short_script = "true\n"
    world.files["scripts/tidy.sh"] = short_script
    (image,) = world.plan().images
    assert image.reasons[0].before == f"{len(TIDY)} bytes, sha256 {sha256(TIDY)[:12]}"
    assert image.reasons[0].after == f"5 bytes, sha256 {sha256(short_script)[:12]}"
    assert image.reasons[0].diff == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"bootstrap": {"suite": "trixie"}},
            [
                (
                    "source_changed",
                    'step 1 "start from bootstrap": suite changed',
                    "images/web.yaml:3:1",
                    "bookworm",
                    "trixie",
                )
            ],
        ),
        (
            {"file": {"path": "base.raw"}},
            [("source_changed", "the source is another", "images/web.yaml:3:1", "bootstrap", "file")],
        ),
    ],
)
def test_another_source(source, expected):
    world = built()
    world.replace(document("web", prepare=PREPARE, source=source))
    assert reasons(world) == expected


def test_a_source_that_moved_by_itself():
    world = built()
    world.source_pin["index"] = "20261122"
    assert reasons(world) == [
        (
            "source_changed",
            'step 1 "start from bootstrap": index changed',
            "images/web.yaml:3:1",
            "20261120",
            "20261122",
        )
    ]


def test_another_implementation_is_the_tools_doing():
    world = built()
    world.kinds = registry(packages=2)
    assert [reason[:2] for reason in reasons(world)] == [
        ("tool_version_changed", 'step 2 "packages": this version of build does `packages` differently')
    ]


def test_all_reasons_are_listed_and_the_first_decides():
    world = built()
    world.files["scripts/tidy.sh"] = "true\n"
    world.source_pin["index"] = "20261122"
    world.replace(document("web", prepare=edited(0, "packages", install=["nginx"], upgrade=False), generalize=False))
    assert [reason[0] for reason in reasons(world)] == [
        "source_changed",
        "step_changed",
        "step_changed",
        "file_changed",
        "step_removed",
    ]


def test_a_manifest_that_says_too_little_is_still_a_reason():
    world = built()
    held = world.galleries["gallery"]["web"]
    manifest = held[0].manifest
    held.clear()
    world.publish("gallery", "web", "1.0.0", "sha256:" + "0" * 64, [])
    assert manifest is not None
    assert reasons(world)[0][1].startswith("what changed is not known here")
    world.galleries["gallery"]["web"][0].manifest.__dict__["steps"] = manifest.steps
    assert reasons(world) == [
        (
            "step_changed",
            "the newest version was made from other inputs than its manifest can show",
            "images/web.yaml:1:1",
            "000000000000",
            None,
        )
    ]


@pytest.mark.parametrize(
    "told", [(), ({"stage": "", "kind": "", "title": "", "inputs": {"rebuild": "1.0.0"}, "files": []},)]
)
def test_what_only_tags_tell_of_is_compared_with_nothing(told):
    world = built()
    (item,) = world.galleries["gallery"]["web"]
    world.galleries["gallery"]["web"] = [replace(item, manifest=replace(item.manifest, steps=told, digest="sha256:0"))]
    (found,) = world.plan().images[0].reasons
    assert (found.code, found.before) == ("step_changed", None)
    assert found.message == "what changed is not known here: its manifest is not in these records"
    assert "records" in found.help


VERSIONED = [
    {"packages": {"install": ["nginx"]}},
    {"run": {"command": "echo {{ image.version }} > /etc/version"}},
    {"services": {"enable": ["nginx"]}},
    {"run": {"command": "true {{ image.version }}"}},
]


def notes(world):
    (image,) = world.plan().images
    return [(note.code, note.message, str(note.place)) for note in image.notes]


def test_a_step_that_uses_the_version_says_why_others_run_again():
    world = built(VERSIONED)
    world.replace(document("web", prepare=[*VERSIONED[:3], {"run": {"command": "false {{ image.version }}"}}]))
    (image,) = world.plan().images
    assert next(item.step.index for item in image.steps if item.action == "run") == 3
    message = 'step 3 "run" uses the version: it and all after it run for every version'
    assert notes(world) == [("version_used", message, "images/web.yaml:11:5")]
    # What was is shown with the version that had it, what will be with the one that it will have
    assert [(reason.before, reason.after) for reason in image.reasons] == [("true 1.0.0", "false 1.0.1")]


@pytest.mark.parametrize(
    "prepare",
    [
        # What was edited stands before
        [{"packages": {"install": ["jq"]}}, *VERSIONED[1:]],
        # Or is the step itself
        [VERSIONED[0], {"run": {"command": "printf {{ image.version }}"}}, *VERSIONED[2:]],
    ],
)
def test_what_was_edited_is_reason_enough(prepare):
    world = built(VERSIONED)
    world.replace(document("web", prepare=prepare))
    assert notes(world) == []


def test_without_checkpoints_everything_runs_anyway():
    world = built(VERSIONED)
    world.checkpoints.clear()
    world.replace(document("web", prepare=[*VERSIONED[:3], {"run": {"command": "false"}}]))
    assert notes(world) == []
