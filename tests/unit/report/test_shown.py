import json
from dataclasses import replace

import pytest

from builder.errors import Place
from builder.model.artifact import ManifestDisk
from builder.model.observed import FOREIGN, Blocker, Published, VersionState
from builder.report.shown import (
    overview_document,
    overview_text,
    run_document,
    run_text,
    versions_document,
    versions_text,
)
from tests.unit.plan.world import World, document

GIB = 1024**3


def a_gallery() -> Published:
    world = World([document("web")])
    world.apply(world.plan())
    world.add_foreign("gallery", "web", "3.0.0")
    ours, foreign = world.galleries["gallery"]["web"]
    manifest = replace(
        ours.manifest,
        digest="sha256:" + "ab" * 32,
        disks=(ManifestDisk("os.vhd", None, 30 * GIB, "", GIB), ManifestDisk("data-0.vhd", 0, 2 * GIB, "", GIB // 2)),
        tests=({"name": "boot", "passed": True}, {"name": "run", "passed": True}),
    )
    return Published("gallery", (replace(ours, manifest=manifest), foreign))


def test_versions_newest_first_and_foreign_ones_marked():
    shown = versions_text(versions_document("web", [a_gallery()]))
    assert shown.splitlines()[0] == "web at gallery"
    rows = [line.split() for line in shown.splitlines()[2:]]
    assert " ".join(rows[0]) == f"3.0.0 {FOREIGN} gallery/web/3.0.0"
    assert rows[1][:3] == ["1.0.0", "2026-11-23T04:10:02+00:00", "abababababab"]
    assert rows[1][-5:] == ["2", "of", "2", "passed", "gallery/web/1.0.0"]


def test_what_is_not_known_is_no_number_and_a_version_that_waits_says_so():
    held = a_gallery()
    ours = held.versions[0]
    disks = (ManifestDisk("os", None, GIB, "", 0),)
    seen = replace(ours, manifest=replace(ours.manifest, disks=disks), state=VersionState.HELD)
    document = versions_document("web", [replace(held, versions=(seen, replace(seen, broken=True)))])
    assert [version["data_bytes"] for version in document["destinations"][0]["versions"]] == [None, None]
    rows = [line.split() for line in versions_text(document).splitlines()[2:]]
    assert [" ".join(row[3:6]) for row in rows] == ["1.0 GiB broken", "1.0 GiB held"]


def test_versions_as_data():
    (held,) = json.loads(json.dumps(versions_document("web", [a_gallery()])))["destinations"]
    assert held["newest"] == "1.0.0"
    assert [(version["version"], version["foreign"]) for version in held["versions"]] == [
        ("3.0.0", True),
        ("1.0.0", False),
    ]
    assert held["versions"][1]["data_bytes"] == GIB + GIB // 2
    assert held["versions"][1]["tests"] == {"passed": 2, "total": 2}


def test_an_empty_gallery_that_can_not_be_written_to():
    held = Published("gallery", (), (Blocker("gallery is read-only", Place("web.yaml")),))
    assert versions_text(versions_document("web", [held])) == (
        "web at gallery\n  cannot be published to: gallery is read-only\n  no versions yet\n"
    )


def entry(time: str, name: str, **facts):
    return {"time": f"2026-11-23T04:{time}+00:00", "entry": name, **facts}


BEGIN = entry("10:00", "run.begin", run="r1", plan="p1", images=["web", "db"])
WEB = entry("10:01", "image.begin", image="web", action="build", version="1.0.0")
STEP = entry("10:30", "step.end", image="web", index=1)
DONE = entry("11:00", "image.end", image="web", version="1.0.0", locations=["gallery/web/1.0.0"])
FAILED = entry("11:00", "image.failed", image="web", code="step-failed", error="ended with exit code 7")
STOPPED = entry("11:00", "image.failed", image="web", code="interrupted", error="interrupted while a step ran")
END = entry("11:05", "run.end", done=1, failed=[])


@pytest.mark.parametrize(
    ("entries", "alive", "state", "image_state"),
    [
        ([BEGIN, WEB, STEP, DONE, END], False, "done", "done"),
        ([BEGIN, WEB, FAILED, {**END, "failed": ["web"]}], False, "failed", "failed"),
        ([BEGIN, WEB, STOPPED, {**END, "failed": ["web"]}], False, "interrupted", "interrupted"),
        ([BEGIN, WEB, STOPPED], False, "died", "interrupted"),
        ([BEGIN, WEB, STEP], True, "running", "running"),
        ([BEGIN, WEB, STEP], False, "died", "died"),
        ([BEGIN, WEB, DONE], False, "died", "done"),
        ([BEGIN], False, "died", None),
        ([], False, "died", None),
    ],
)
def test_what_became_of_a_run(entries, alive, state, image_state):
    made = run_document("r1", entries, alive=alive, folder=".build/runs/r1")
    assert made["state"] == state
    assert [image["state"] for image in made["images"]] == ([image_state] if image_state else [])
    assert run_text(made).startswith("run r1 ")
    assert run_text(made).endswith("  logs and journal: .build/runs/r1\n")


def test_a_run_for_people():
    made = run_document("r1", [BEGIN, WEB, STEP, DONE, END], alive=False, folder="runs/r1")
    assert run_text(made) == (
        "run r1 (plan p1): done after 1:05 min\n"
        "  web: build 1.0.0 done, 1 step run\n"
        "    gallery/web/1.0.0\n"
        "  logs and journal: runs/r1\n"
    )
    stopped = run_document("r1", [BEGIN, WEB, STEP, STOPPED, END], alive=False, folder="runs/r1")
    assert run_text(stopped) == (
        "run r1 (plan p1): interrupted after 1:05 min\n"
        "  web: build 1.0.0 interrupted, 1 step run\n"
        "  logs and journal: runs/r1\n"
    )
    failed = run_document("r1", [BEGIN, WEB, FAILED, END], alive=False, folder="runs/r1")
    assert "    error[step-failed]: ended with exit code 7\n" in run_text(failed)


def test_the_overview():
    run = run_document("r1", [BEGIN, WEB, DONE, END], alive=False, folder="runs/r1")
    shown = overview_text(overview_document({"web": [a_gallery()], "db": [Published("gallery")]}, [run]))
    assert [line.split() for line in shown.splitlines()] == [
        ["IMAGE", "NEWEST", "CREATED", "DESTINATION"],
        ["web", "1.0.0", "2026-11-23T04:10:02+00:00", "gallery"],
        ["db", "none", "gallery"],
        [],
        ["RUN", "STATE", "IMAGES"],
        ["r1", "done", "web"],
    ]
