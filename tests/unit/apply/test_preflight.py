"""What is found before anything is asked or made: programs, root and secrets, by a dry run too."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.apply.executor import Executor, Options, Tools
from builder.errors import BuildError
from builder.events import Event, Warned
from builder.model.spec import ImageSpec
from builder.records.store import Store
from tests.unit.plan.world import MemoryMachine, World, document

SECRET = {"run": {"command": "make", "secrets": {"TOKEN": {"env": "PREFLIGHT_TOKEN"}}}}


@dataclass(frozen=True)
class Host(MemoryMachine):
    """A machine on a host that lacks something."""

    lacks: str = ""

    def preflight(self, image: ImageSpec) -> None:
        if self.lacks:
            raise BuildError(f"{self.lacks} is missing", code=self.lacks)


@dataclass
class Site:
    world: World
    folder: Path
    lacks: str = ""
    events: list[Event] = field(default_factory=list)

    def preflight(self, *, dry_run: bool) -> None:
        machine = Host(self.world, lacks=self.lacks)
        tools = Tools(
            store=Store(self.folder),
            machine_for=lambda image: machine,
            destinations_for=self.world.planner().destinations_for,
            listener=self.events.append,
        )
        Executor(tools, self.world.documents, Options(dry_run=dry_run)).preflight(self.world.plan())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PREFLIGHT_TOKEN", "a long secret")
    return Site(World([document(name, prepare=[SECRET]) for name in ("one", "two")]), tmp_path)


def test_nothing_is_missing(site: Site) -> None:
    site.preflight(dry_run=True)
    assert site.events == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_missing_program_or_secret(site: Site, monkeypatch: pytest.MonkeyPatch, dry_run: bool) -> None:
    monkeypatch.delenv("PREFLIGHT_TOKEN")
    with pytest.raises(BuildError) as caught:
        site.preflight(dry_run=dry_run)
    assert caught.value.code == "secret-missing"
    site.lacks = "program-missing"
    with pytest.raises(BuildError) as caught:
        site.preflight(dry_run=dry_run)
    assert caught.value.code == "program-missing"


def test_only_a_dry_run_goes_on_without_root(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lacks = "needs-root"
    with pytest.raises(BuildError) as caught:
        site.preflight(dry_run=False)
    assert caught.value.code == "needs-root"
    assert site.events == []
    site.preflight(dry_run=True)
    # Once, however many images need it
    assert site.events == [Warned(message="needs-root is missing", code="needs-root")]
    monkeypatch.delenv("PREFLIGHT_TOKEN")
    with pytest.raises(BuildError) as caught:
        site.preflight(dry_run=True)
    assert caught.value.code == "secret-missing"
