"""What somebody sees who may not read or write everything: messages, never tracebacks."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.records.journal import Journal
from builder.records.store import Store
from builder.secrets import Redactor
from tests.unit.cli.projects import make_project, publish_all

NOBODY = 65534
RUN = "20261123t041002-abcdef"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: be nobody for the length of the block."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with versions and a run, in a folder that everybody may enter (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    make_project(folder)
    publish_all(folder)
    with Journal(Store(folder / ".build").run_folder(RUN), Redactor()) as journal:
        journal.write("run.begin", run=RUN, plan="p1", images=["web"])
    monkeypatch.chdir(folder)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        # Modules that a command imports may be out of nobody's reach: they are loaded before
        invoke(arguments)
        capsys.readouterr()
        with unprivileged():
            code = invoke(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_run_that_only_its_owner_may_read(project: Path, build: Callable[..., tuple[int, str, str]]) -> None:
    (project / ".build/runs" / RUN / "journal.jsonl").chmod(0)
    code, out, _ = build("show")
    assert code == 0
    assert f"  {RUN}  not readable by you\n" in out
    code, out, _ = build("show", RUN)
    assert code == 0
    assert out.startswith(f"run {RUN} (plan unknown): not readable by you\n")
    assert json.loads(build("show", RUN, "--format", "json")[1])["state"] == "unreadable"


def test_a_gallery_that_can_not_be_listed(project: Path, build: Callable[..., tuple[int, str, str]]) -> None:
    (project / "gallery/web").chmod(0)
    code, out, err = build("plan")
    assert code == 1
    assert "because   gallery: gallery/web can't be read: Permission denied" in out
    assert "hint: let yourself read it" in out
    assert "plan-blocked" in err
    code, out, _ = build("show")
    assert code == 0
    assert "web    not known" in out
    assert "app    1.0.0" in out
    code, out, _ = build("show", "web")
    assert code == 0
    assert (
        out == "web at directory gallery\n  can't be looked at: gallery: gallery/web can't be read: Permission denied\n"
    )


def test_who_plans_need_not_be_who_may_publish(project: Path, build: Callable[..., tuple[int, str, str]]) -> None:
    (project / "images/tidy.sh").write_text("echo changed\n")
    for folder in (project / "gallery/web", project / "gallery/app", project / "gallery", project):
        folder.chmod(0o555)
    code, out, err = build("plan")
    assert (code, err) == (0, "")
    assert "Plan: 2 to rebuild." in out
