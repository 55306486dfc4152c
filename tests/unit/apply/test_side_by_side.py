"""Images whose machine allows it are made at once; bases come first, and a failure stays with its image."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.apply import image as image_module
from builder.apply.executor import Executor, Options, Tools
from builder.errors import BuildError, SomeImagesFailed
from builder.events import Event
from builder.model.artifact import Artifact, Inventory
from builder.model.kinds import Kind, KindRegistry
from builder.model.run import Run, StepContext
from builder.model.steps import Step
from builder.records.store import Store
from tests.unit.plan.world import KIND_NAMES, MemoryMachine, World, document

SECONDS = 20.0


class NoDisks:
    """A session whose disks nobody looks at."""

    def start_at(self, digest: str) -> None: ...

    def begin(self, step: Step) -> None: ...

    def commit(self, step: Step) -> None: ...

    def abort(self) -> None: ...

    def release(self, artifact: Artifact) -> None: ...


@dataclass(frozen=True)
class OpenMachine(MemoryMachine):
    side_by_side: bool = True

    @contextmanager
    def open(self, run: Run) -> Iterator[NoDisks]:  # type: ignore[override]
        yield NoDisks()

    def preflight(self, image: object) -> None: ...


@dataclass
class Site:
    """A world in which plans are carried out. `during` is called while an image's `packages` step runs."""

    world: World
    folder: Path
    during: Callable[[str], None] = lambda image: None
    happened: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def run(self, step: Step, context: StepContext) -> None:
        name = context.run.image.name
        if step.kind == "packages":
            self.happened.append(("begin", name))
            self.during(name)
            self.happened.append(("end", name))
        elif step.kind == "capture":
            context.artifact = Artifact(name, step.digest, True, ())
            context.inventory = Inventory()

    def apply(self, *, side_by_side: bool = True, limit: int = 16) -> None:
        machine = OpenMachine(self.world, side_by_side=side_by_side)
        tools = Tools(
            store=Store(self.folder),
            machine_for=lambda image: machine,
            destinations_for=self.world.planner().destinations_for,
            listener=self.events.append,
        )
        Executor(tools, self.world.documents, Options(side_by_side=limit)).apply(self.world.plan())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site(World([document("one"), document("two"), document("three")]), tmp_path)
    kinds = KindRegistry()
    for name in KIND_NAMES:
        kinds.register(Kind(name, 1, found.run))
    monkeypatch.setattr(image_module, "KINDS", kinds)
    return found


def test_all_run_at_once(site: Site) -> None:
    together = threading.Barrier(3)
    site.during = lambda image: together.wait(SECONDS) and None
    site.apply()
    assert [what for what, _ in site.happened] == ["begin"] * 3 + ["end"] * 3


def test_not_more_than_allowed(site: Site) -> None:
    site.apply(limit=1)
    assert [what for what, _ in site.happened] == ["begin", "end"] * 3


def test_a_machine_that_allows_one_gets_one(site: Site) -> None:
    site.apply(side_by_side=False)
    assert [what for what, _ in site.happened] == ["begin", "end"] * 3


def test_a_base_is_made_before_what_stands_on_it(site: Site) -> None:
    site.world.documents = [
        document("top", source={"image": {"name": "middle", "version": "latest"}}),
        document("middle", source={"image": {"name": "bottom", "version": "latest"}}),
        document("bottom"),
    ]
    site.apply()
    assert [image for what, image in site.happened if what == "begin"] == ["bottom", "middle", "top"]
    assert [what for what, _ in site.happened] == ["begin", "end"] * 3


def fail_two(image: str) -> None:
    if image == "two":
        raise BuildError("no such package", code="step-failed")


def test_a_failure_stays_with_its_image(site: Site) -> None:
    site.during = fail_two
    with pytest.raises(BuildError, match="1 of 3 images failed"):
        site.apply()
    assert {image for what, image in site.happened if what == "end"} == {"one", "three"}


def test_what_stands_on_a_failed_base_is_not_begun(site: Site) -> None:
    site.world.documents = [document("two"), document("top", source={"image": {"name": "two", "version": "latest"}})]
    site.during = fail_two
    with pytest.raises(SomeImagesFailed) as caught:
        site.apply()
    assert [(image, error.code) for image, error in caught.value.failures] == [
        ("two", "step-failed"),
        ("top", "base-failed"),
    ]
    assert ("begin", "top") not in site.happened
