"""A project that is built on a simulated Azure from its source to a published version: nothing between is made up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.apply.executor import Executor, Options, Outcome, Tools
from builder.azure.connection import Azure
from builder.azure.ids import ResourceId, compute
from builder.destinations.base import Destination
from builder.destinations.registry import destinations_for
from builder.destinations.surroundings import Surroundings
from builder.events import Event, StepOutput, Warned
from builder.machines.azure.machine import AzureMachine
from builder.model.observed import Published
from builder.model.plan import ImagePlan, Plan
from builder.model.spec import ImageSpec
from builder.plan.planner import Planner
from builder.plan.selection import PlanOptions
from builder.records.store import Store
from builder.secrets import Redactor
from builder.spec.loader import load
from tests.azure import Simulator
from tests.integration.azure.connection import connected, reaching
from tests.integration.azure.world import World

LOCATION = "westeurope"
GALLERY = "{resourceGroup: images, gallery: corp, definition: web, regions: [westeurope]}"
SPEC = """\
name: web
os: {os}
source: {source}
machine: {{azure: {machine}}}
{more}
publish: {publish}
"""
LINUX = '{family: linux, distribution: debian, release: "12"}'
DEBIAN = "{marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}}"
WINDOWS = "{family: windows}"
SERVER = "{marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2022-datacenter-g2}}"


class Build:
    """A project with one image, `web`."""

    def __init__(self, root: Path, azure: Simulator, patch: pytest.MonkeyPatch) -> None:
        self.root = root / "project"
        self.simulator = azure
        self.world = World(azure, connected(azure))
        self.azure = self.world.connection
        patch.setattr("builder.azure.connection.connect", self._connect)
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.store = Store(self.root / ".build")
        self.write()

    def write(
        self,
        more: str = "",
        *,
        os: str = LINUX,
        source: str = DEBIAN,
        machine: str = "{location: westeurope}",
        gallery: str = GALLERY,
        publish: str = "",
    ) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "build.yaml").write_text("specs: ['*.image.yaml']\n")
        publish = publish or f"{{to: [{{gallery: {gallery}}}]}}"
        text = SPEC.format(more=more, os=os, source=source, machine=machine, publish=publish)
        (self.root / "web.image.yaml").write_text(text)

    def _connect(self, subscription: str | None = None, **rest: object) -> Azure:
        """What `connect` gives: with the identity that a test may have given it since."""
        return reaching(self.azure)(subscription, **rest)

    def _tools(self) -> tuple[Any, Tools]:
        loaded = load([self.root])
        machine = AzureMachine(self.store)
        surroundings = Surroundings(loaded.project.records)
        return loaded, Tools(
            self.store,
            lambda image: machine,
            lambda image: destinations_for(image, surroundings),
            self.events.append,
            Redactor(),
            self.stop,
        )

    def plan(self, **options: Any) -> Plan:
        loaded, tools = self._tools()
        planner = Planner(tools.machine_for, tools.destinations_for)
        return planner.plan(loaded.documents, root=loaded.root, inputs=loaded.inputs, options=PlanOptions(**options))

    def decided(self) -> ImagePlan:
        (image,) = self.plan().images
        return image

    def apply(self, **options: Any) -> Outcome:
        plan = self.plan(**options)
        assert not plan.blocked, [(reason.message, reason.help) for reason in plan.blocked[0].reasons]
        return self.carry_out(plan)

    def carry_out(self, plan: Plan) -> Outcome:
        loaded, tools = self._tools()
        with self.simulator.clock.worker():
            return Executor(tools, loaded.documents, Options()).apply(plan)[-1]

    def plan_destination(self) -> Published:
        return self.destinations()[0].observe(self.image)

    def destinations(self) -> Sequence[Destination]:
        _, tools = self._tools()
        return tools.destinations_for(self.image)

    @property
    def image(self) -> ImageSpec:
        document = next(found for found in self._tools()[0].documents if found.name == "web")
        image: ImageSpec = document.render("0.0.0")
        return image

    @property
    def log(self) -> str:
        return "\n".join(event.line for event in self.events if isinstance(event, StepOutput))

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]

    @property
    def version(self) -> dict[str, Any]:
        return self.azure.get(self.definition.child("versions", "1.0.0"))

    @property
    def definition(self) -> ResourceId:
        return compute(self.azure.subscription, "images", "galleries", "corp", "images", "web")

    def groups(self) -> list[str]:
        found = self.azure.list(ResourceId(self.azure.subscription), "Microsoft.Resources/resourceGroups")
        return sorted(group["name"] for group in found)
