"""Steps that do the same in several places run at once, where nothing goes through this host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from builder.apply import image as image_module
from builder.apply.image import ImageBuild
from builder.errors import BuildError, Place
from builder.events import Event, StepFailed, StepFinished, StepOutput
from builder.model.artifact import Artifact, CapturedDisk
from builder.model.kinds import Kind, KindRegistry
from builder.model.plan import Action, ImagePlan, PlannedStep
from builder.model.run import Run, StepContext
from builder.model.steps import Stage, Step
from builder.secrets import Redactor
from tests.unit.plan.world import MemoryMachine, World, document

SECONDS = 20.0
PUBLISHES = ("publish.far", "publish.here", "publish.farther", "promote.far")
BESIDE = ("publish.far", "publish.farther", "promote.far")


class Build:
    """An image whose steps call `work`; `order` is that in which they ended."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, work: Callable[[str], None]) -> None:
        self.order: list[str] = []
        self.events: list[Event] = []
        self.log = folder / "web.log"

        def run(step: Step, context: StepContext) -> None:
            context.log(f"begin {step.kind}\nin two lines")
            work(step.kind)
            context.log(f"end {step.kind}")
            context.locations.append(step.kind)
            self.order.append(step.kind)

        kinds = KindRegistry()
        for name in PUBLISHES:
            kinds.register(Kind(name, 1, run, side_by_side=name in BESIDE))
        patch.setattr(image_module, "KINDS", kinds)
        world = World([document("web")])
        steps = tuple(
            PlannedStep(Step(Stage.PUBLISH, kind, kind, {}, index=number), "run")
            for number, kind in enumerate(PUBLISHES, 1)
        )
        place = Place("web.yaml", 1)
        item = ImagePlan("web", "web.yaml", place, Action.RETIRE, (), "d", "1.0.0", None, steps)
        self.context_run = Run(
            id="r", image=world.documents[0].render("1.0.0"), folder=folder, listener=self.events.append,
            redactor=Redactor(), effect=lambda name, **facts: nullcontext(),
        )  # fmt: skip
        self.build = ImageBuild(
            item, self.context_run, machine=MemoryMachine(world), destinations=(), find_base=lambda name, digest: [],
            log=self.log, dry_run=False,
        )  # fmt: skip

    def carry_out(self) -> list[str]:
        self.build.carry_out()
        return self.build.context.locations


def test_those_that_may_run_at_once_and_the_others_after_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def work(kind: str) -> None:
        if kind in ("publish.far", "publish.farther"):
            together.wait(SECONDS)

    build = Build(tmp_path, monkeypatch, work)
    assert build.carry_out() == ["publish.far", "publish.farther", "publish.here", "promote.far"]
    assert sorted(build.order[:2]) == ["publish.far", "publish.farther"]
    assert build.order[2:] == ["publish.here", "promote.far"]
    lines = build.log.read_text().splitlines()
    assert {"[1] begin publish.far", "[3] end publish.farther", "end publish.here"} < set(lines)
    assert lines.count("[1] in two lines") == lines.count("[3] in two lines") == 1
    said = {event.index: event.line for event in build.events if isinstance(event, StepOutput)}
    assert said == {number: f"end {kind}" for number, kind in enumerate(PUBLISHES, 1)}


def test_one_that_fails_leaves_the_others_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def work(kind: str) -> None:
        if kind == "publish.far":
            failed.set()
            raise BuildError("no room there", code="full")
        assert failed.wait(SECONDS)

    build = Build(tmp_path, monkeypatch, work)
    with pytest.raises(BuildError, match="no room there"):
        build.carry_out()
    assert build.order == ["publish.farther"]
    assert build.build.context.locations == ["publish.farther"]
    assert [event.index for event in build.events if isinstance(event, StepFailed)] == [1]
    assert [event.index for event in build.events if isinstance(event, StepFinished)] == [3]


def test_disks_that_go_through_this_host_go_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = threading.Semaphore(1)

    def work(kind: str) -> None:
        assert working.acquire(blocking=False)
        working.release()

    build = Build(tmp_path, monkeypatch, work)
    disk = CapturedDisk("os.vhd", None, 1, "", 1, tmp_path / "os.vhd")
    build.build.context.artifact = Artifact("web", "d", True, (disk,))
    assert build.carry_out() == build.order == list(PUBLISHES)
    assert "[1]" not in build.log.read_text()
