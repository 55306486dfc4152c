"""Killed at every entry of its journal, and run again: nothing is left, nothing is lost, one version comes out."""

from tests.integration.apply.conftest import Project
from tests.integration.left_overs import Left, left_in

# The kill comes right after the entry is on disk, so before the effect that it announces or after the one it reports
KILL = """
import os, signal
from builder.records.journal import Journal
_write, _left = Journal.write, [{count}]
def write(self, entry, **facts):
    _write(self, entry, **facts)
    _left[0] -= 1
    if _left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.write = write
"""
FEWEST_ENTRIES = 20


def test_a_kill_at_any_entry_is_survived(project: Project) -> None:
    # Each round starts where the round before was killed, one entry later in its own journal; a changed script makes
    # every round a new version
    count, version = 1, 0
    while True:
        project.write("scripts/last.sh", f"#!/bin/sh\necho {count} > /etc/last\n")
        killed = project.apply(prelude=KILL.format(count=count))
        assert left_in(project.root) == Left(), f"left after a kill at entry {count}"
        published = project.versions()
        assert all((project.root / "gallery/tiny" / name / "manifest.json").exists() for name in published)
        again = project.apply()
        assert again.code == 0, f"after a kill at entry {count}: {again.text}"
        version += 1
        assert project.versions()[-1] == f"1.0.{version - 1}" or len(project.versions()) == version
        folder = project.root / "gallery/tiny"
        assert not [entry for entry in folder.iterdir() if entry.name.startswith((".publishing", ".retiring"))]
        if killed.code == 0:
            break
        assert killed.code == -9
        count += 1
    assert count > FEWEST_ENTRIES
