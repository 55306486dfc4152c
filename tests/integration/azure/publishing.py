"""A project whose images are snapshots in a simulated Azure: planned, applied and looked at with the real planner,
executor and destinations. Only the machine is made for tests: what it captures is a copy of a marketplace image.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.apply.executor import Executor, Options, Outcome, Tools
from builder.azure.connection import Azure
from builder.azure.ids import ResourceId, compute, group_id
from builder.destinations.base import Destination
from builder.destinations.registry import destinations_for
from builder.destinations.surroundings import Surroundings
from builder.errors import BuildError
from builder.events import Event
from builder.model.artifact import Artifact, CapturedDisk, Inventory, Package
from builder.model.kinds import KINDS, Kind
from builder.model.observed import MachineFacts, PublishedVersion, Traits
from builder.model.plan import ImagePlan, Plan
from builder.model.run import CheckResult, Run, StepContext
from builder.model.spec import ImageSpec
from builder.model.steps import Stage, Step
from builder.plan.planner import Planner
from builder.plan.selection import PlanOptions
from builder.records.store import Store
from builder.spec.loader import Loaded, load
from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, Blobs
from tests.integration.azure.connection import connected

GIB = 1024**3
LOCATION = "westeurope"
WORK = "build-work"
GALLERY = "gallery: {resourceGroup: images, gallery: corp, definition: web, regions: [westeurope, northeurope]}"
SPEC = """\
name: web
description: a web server
os: {{family: linux, distribution: debian, release: "12"}}
source: {{marketplace: {{publisher: Debian, offer: debian-12, sku: 12-gen2}}}}
machine: {{azure: {{location: westeurope}}}}
{more}
publish:
  {publish}
  to:
    - {to}
"""
DEBIAN = (
    "/Subscriptions/{}/Providers/Microsoft.Compute/Locations/westeurope/Publishers/Debian/ArtifactTypes/VMImage/Offers/"
    "debian-12/Skus/{}/Versions/{}"
)


def snapshot(simulator: Simulator, azure: Azure, name: str, *, sku: str = "12-gen2", lun: int | None = None) -> str:
    """The id of a snapshot of a disk with Debian, or (with a LUN) of an empty disk."""
    azure.put(group_id(azure.subscription, WORK), {"location": LOCATION}).wait()
    disk, shot = (compute(azure.subscription, WORK, kind, name) for kind in ("disks", "snapshots"))
    creation: dict[str, Any] = {
        "createOption": "FromImage",
        "imageReference": {"id": DEBIAN.format(azure.subscription, sku, _latest(simulator, sku))},
    }
    properties = {"creationData": creation if lun is None else {"createOption": "Empty"}}
    if lun is not None:
        properties["diskSizeGB"] = 4  # type: ignore[assignment]
    azure.put(disk, {"location": LOCATION, "properties": properties}).wait()
    copy = {"createOption": "Copy", "sourceResourceId": str(disk)}
    azure.put(shot, {"location": LOCATION, "properties": {"creationData": copy}}).wait()
    return str(shot)


def _latest(simulator: Simulator, sku: str) -> str:
    image = simulator.catalogue.find("Debian", "debian-12", sku, "latest", LOCATION)
    assert image is not None
    return image.version


@dataclass
class Still:
    """A machine whose images are made at once. `content` decides the digest; `luns` are data disks beside the OS."""

    simulator: Simulator
    azure: Azure
    content: str = "first"
    luns: tuple[int, ...] = ()
    traits: Traits = field(default_factory=lambda: Traits(where=LOCATION))
    passes: bool = True
    on_captured: Callable[[], None] = lambda: None
    on_test: Callable[[], None] = lambda: None
    tests_published: bool = True
    captured: list[Artifact] = field(default_factory=list)
    name: str = "azure"
    side_by_side: bool = True

    def observe(self, image: ImageSpec) -> MachineFacts:
        return MachineFacts(source={"content": self.content}, traits=self.traits)

    def steps(self, image: ImageSpec, facts: MachineFacts) -> list[Step]:
        source = Step(Stage.PREPARE, "still.source", "the source", dict(facts.source))
        capture = Step(Stage.CAPTURE, "still.capture", "capture", {"luns": list(self.luns)})
        tests = [Step(Stage.TEST, "still.test", "test", {}, identity=False)] if image.test else []
        return [source, capture, *tests]

    def preflight(self, image: ImageSpec) -> None:
        """Nothing is needed."""

    @contextmanager
    def open(self, run: Run) -> Iterator[Still]:
        yield self

    def release(self, artifact: Artifact) -> None:
        """Its snapshots stay, for a look."""

    def capture(self, digest: str, image: ImageSpec) -> Artifact:
        number = len(self.captured)
        ids = [snapshot(self.simulator, self.azure, f"os-{number}")]
        ids += [snapshot(self.simulator, self.azure, f"data-{number}-{lun}", lun=lun) for lun in self.luns]
        disks = tuple(
            CapturedDisk("os" if lun is None else f"data-{lun}", lun, 4 * GIB, "", 0, None, id)
            for lun, id in zip((None, *self.luns), ids, strict=True)
        )
        self.captured.append(Artifact(image.name, digest, image.generalize is not None, disks))
        self.on_captured()
        return self.captured[-1]


def _nothing(step: Step, context: StepContext) -> None:
    """The source is there."""


def _capture(step: Step, context: StepContext) -> None:
    context.artifact = context.session.capture(step.digest, context.run.image)
    context.inventory = Inventory(packages=(Package("nginx", "1.22", "amd64", "deb"),))


def _test(step: Step, context: StepContext) -> None:
    context.session.on_test()
    context.checks.append(CheckResult("provision", context.session.passes, 1.0))
    if not context.session.passes:
        raise BuildError("the version's VM doesn't boot", code="test-failed")


KINDS.register(Kind("still.source", 1, _nothing))
KINDS.register(Kind("still.capture", 1, _capture))
KINDS.register(Kind("still.test", 1, _test))


class Project:
    """A project with one image, `web`, whose machine is `still`."""

    def __init__(self, root: Path, azure: Simulator) -> None:
        self.root = root
        self.simulator = azure
        self.azure = connected(azure)
        self.still = Still(azure, self.azure)
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.environment: str | None = None
        self.write()

    def write(self, to: str = GALLERY, *, publish: str = "version: auto", more: str = "", build: str = "") -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "build.yaml").write_text(f"specs: ['*.image.yaml']\n{build}")
        (self.root / "web.image.yaml").write_text(SPEC.format(to=to, publish=publish, more=more))

    @property
    def blobs(self) -> Blobs:
        assert self.simulator.blobs is not None
        return self.simulator.blobs

    @property
    def container(self) -> str:
        """One Azurite serves all tests: each has a container of its own."""
        return f"c{hashlib.sha256(str(self.root).encode()).hexdigest()[:20]}"

    @property
    def blob(self) -> str:
        return f"blob: {{account: {ACCOUNT}, container: {self.container}, endpoint: '{self.blobs.endpoint}'}}"

    def image(self) -> ImageSpec:
        return self.loaded().documents[0].render("0.0.0")

    def destinations(self) -> list[Destination]:
        found: list[Destination] = self._destinations(self.loaded())(self.image())
        return found

    def observed(self) -> tuple[PublishedVersion, ...]:
        """The versions at the first destination."""
        return self.destinations()[0].observe(self.image()).versions

    def loaded(self) -> Loaded:
        return load([self.root], environment=self.environment)

    def plan(self, **options: Any) -> Plan:
        loaded = self.loaded()
        planner = Planner(lambda image: self.still, self._destinations(loaded))
        return planner.plan(loaded.documents, root=loaded.root, inputs=loaded.inputs, options=PlanOptions(**options))

    def _destinations(self, loaded: Loaded) -> Any:
        surroundings = Surroundings(loaded.project.records)
        return lambda image: destinations_for(image, surroundings)

    def executor(self) -> Executor:
        loaded = self.loaded()
        tools = Tools(
            Store(self.root / ".build"), lambda image: self.still, self._destinations(loaded), self.events.append,
            stop=self.stop,
        )  # fmt: skip
        return Executor(tools, loaded.documents, Options())

    def apply(self, **options: Any) -> Outcome:
        plan = self.plan(**options)
        assert not plan.blocked, [reason.message for reason in plan.blocked[0].reasons]
        (outcome,) = self.executor().apply(plan)
        return outcome

    def decided(self, **options: Any) -> ImagePlan:
        (image,) = self.plan(**options).images
        return image

    @property
    def definition(self) -> ResourceId:
        return compute(self.azure.subscription, "images", "galleries", "corp", "images", "web")

    def version(self, name: str) -> dict[str, Any]:
        return self.azure.get(self.definition.child("versions", name), expand="ReplicationStatus")

    def versions(self) -> list[str]:
        found = self.azure.list(self.definition, "Microsoft.Compute/galleries/images/versions")
        return sorted(body["name"] for body in found)

    def with_traits(self, **changes: Any) -> None:
        self.still.traits = replace(self.still.traits, **changes)
