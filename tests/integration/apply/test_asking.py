"""What apply asks, and what it refuses to do unasked."""

import os
import pty
import subprocess
import sys

import pytest

from tests.integration.apply.conftest import REPOSITORY, Project
from tests.integration.waiting import wait_until


def at_a_terminal(project: Project, answer: str) -> tuple[int, str]:
    """Run `build apply` as a person would, and type an answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "apply"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"goes on: " not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, answer.encode() + b"\n")
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # the terminal's other end is closed: the program has ended
    code = process.wait(60)
    os.close(ours)
    return code, shown.decode(errors="replace")


@pytest.mark.parametrize("answer", ["y", "YES", "", "yes please"])
def test_only_the_word_yes_goes_on(answer: str, project: Project) -> None:
    code, shown = at_a_terminal(project, answer)
    assert code == 1, shown
    assert "nothing was done" in shown
    assert project.versions() == []


def test_yes_goes_on_and_shows_live_progress(project: Project) -> None:
    code, shown = at_a_terminal(project, "yes")
    assert code == 0, shown
    assert "last.sh" in shown
    assert "Apply: 1 done, 0 failed" in shown
    assert project.versions() == ["1.0.0"]


def test_versions_are_removed_only_when_that_is_allowed(project: Project) -> None:
    assert project.apply().code == 0
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text() + "state: retired\n")
    plan = project.build("plan")
    assert "retire" in plan.out
    refused = project.apply()
    assert refused.code == 6
    assert "--allow-delete" in refused.err
    assert project.versions() == ["1.0.0"]
    allowed = project.apply("--allow-delete")
    assert allowed.code == 0, allowed.text
    assert project.versions() == []


def test_a_specs_removal_deletes_nothing(project: Project) -> None:
    assert project.apply().code == 0
    (project.root / "tiny.image.yaml").rename(project.root / "gone.yaml")
    project.write("other.image.yaml", (project.root / "gone.yaml").read_text().replace("name: tiny", "name: other"))
    assert project.apply("--allow-delete").code == 0
    assert project.versions() == ["1.0.0"]


def test_gc_keeps_what_present_specs_stand_on(project: Project) -> None:
    assert project.apply().code == 0
    first = set((project.root / ".build/checkpoints").iterdir())
    project.write("scripts/last.sh", "#!/bin/sh\necho another\n")
    assert project.apply().code == 0
    (project.root / ".build/checkpoints/.new-20200101t000000-abcdef-0123456789abcdef").mkdir()
    shown = project.build("gc", "--days", "0", "--dry-run")
    assert shown.code == 0, shown.text
    assert "left-over .new-20200101t000000-abcdef" in shown.out
    result = project.build("gc", "--days", "0")
    assert result.code == 0
    left = set((project.root / ".build/checkpoints").iterdir())
    # Three steps of the first build are those of the second too; its script, generalize and capture are not
    assert len(first & left) == 3
    assert len(left) == 6
    assert "No changes" in project.apply().text


def test_gc_waits_for_no_run_and_a_cleaned_store_is_filled_again(project: Project) -> None:
    project.write("scripts/last.sh", "#!/bin/sh\necho waiting\nsleep 4\n")
    process = project.start("apply", "--yes", "--progress", "plain")
    runs = project.root / ".build/runs"
    assert wait_until(lambda: any("waiting" in path.read_text() for path in runs.glob("*/tiny.log")), 60)
    busy = project.build("gc", "--days", "0")
    assert busy.code == 1
    assert "a run works with the local store" in busy.err
    assert process.communicate(timeout=60)
    assert process.returncode == 0
    # A layer that is lost: what stands on it is made anew, over what is left of it
    next((project.root / ".build/checkpoints").glob("*/os.qcow2")).unlink()
    project.write("scripts/last.sh", "#!/bin/sh\necho other > /etc/last\n")
    again = project.apply()
    assert again.code == 0, again.text
    assert project.versions() == ["1.0.0", "1.0.1"]


# Killed right after an entry of the journal
KILLED_AT = """
import os, signal
from builder.records.journal import Journal
_write = Journal.write
def write(self, entry, **facts):
    _write(self, entry, **facts)
    if entry == "{entry}":
        os.kill(os.getpid(), signal.SIGKILL)
Journal.write = write
"""


def test_gc_removes_an_artifact_that_a_version_holds(project: Project) -> None:
    assert project.apply(prelude=KILLED_AT.format(entry="publish.end")).code == -9
    artifacts = project.root / ".build/artifacts"
    assert len(list(artifacts.iterdir())) == 1
    assert project.versions() == ["1.0.0"]
    assert project.build("gc").code == 0
    assert list(artifacts.iterdir()) == []
    assert "No changes" in project.apply().text


def test_gc_keeps_an_artifact_that_waits_for_its_version(project: Project) -> None:
    assert project.apply(prelude=KILLED_AT.format(entry="capture.end")).code == -9
    artifacts = project.root / ".build/artifacts"
    assert len(list(artifacts.iterdir())) == 1
    assert project.build("gc").code == 0
    assert len(list(artifacts.iterdir())) == 1
    result = project.apply()
    assert result.code == 0, result.text
    assert list(artifacts.iterdir()) == []


def test_a_capture_that_fails_leaves_no_half_artifact(project: Project) -> None:
    broken = """
import builder.disk.capture as capture
def fail(layer, target, **options):
    target.write_bytes(b"half")
    raise OSError(28, "No space left on device", str(target))
capture.write_fixed_vhd = fail
"""
    result = project.apply(prelude=broken)
    assert result.code == 1
    assert "No space left" in result.err
    assert list((project.root / ".build/artifacts").iterdir()) == []
