"""Whole plans of Azure builds by the real planner and destinations: what they ask, decide and block."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from builder.azure.errors import AzureError
from builder.cli.planning import PlanRequest, make_plan
from builder.machines.azure.machine import AzureMachine
from builder.machines.azure.matrix import Case, forbidden
from builder.model.plan import Action, ImagePlan, Plan
from builder.model.steps import Stage
from builder.records.store import Store
from builder.spec.loader import load
from tests.azure import Simulator
from tests.integration.azure.connection import connected
from tests.integration.azure.world import DEBIAN, GROUP, WINDOWS, World

SPEC = """\
name: {name}
os: {{family: {family}}}
source: {{{source}}}
machine: {{azure: {{location: westeurope}}}}
capture: {{kind: {capture}}}
generalize: {generalize}
publish: {{to: [{{gallery: {{resourceGroup: corp, gallery: out, definition: {name}}}}}{more}]}}
"""
MARKETPLACE = "marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}"


@pytest.fixture
def world(azure: Simulator, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World.of(azure)
    connection = connected(azure)
    monkeypatch.setattr("builder.azure.connection.connect", lambda *arguments, **options: connection)
    return world


class Project:
    """Specs in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        (self.root / "images").mkdir(parents=True)
        (self.root / "build.yaml").write_text("{}\n")

    def add(self, name: str, *, source: str = MARKETPLACE, family: str = "linux", capture: str = "vmImage",
            generalize: str = "{}", more: str = "") -> None:  # fmt: skip
        text = SPEC.format(name=name, source=source, family=family, capture=capture, generalize=generalize, more=more)
        (self.root / f"images/{name}.yaml").write_text(text)

    def plan(self, **options: Any) -> Plan:
        return make_plan(PlanRequest(root=self.root, **options)).plan


SERVER = "marketplace: {publisher: MicrosoftWindowsServer, offer: WindowsServer, sku: 2022-datacenter-g2}"
EVERYWHERE = ", {managedImage: {resourceGroup: corp}}, {snapshot: {resourceGroup: corp}}"
MOST_CALLS, MOST_FURTHER = 12, 3
FEW_CALLS: dict[str, dict[str, str]] = {
    "Linux": {},
    "Windows": {"source": SERVER, "family": "windows"},
    "an OS image": {"capture": "osImage"},
    "a copy of a VM with data disks": {"source": f"vm: {{resourceGroup: {GROUP}, name: old}}", "generalize": "false"},
    "an image of a gallery": {"source": f"gallery: {{resourceGroup: {GROUP}, gallery: in, definition: base}}"},
    "several destinations": {"more": EVERYWHERE},
}


def calls_of_a_plan(world: World, project: Project, actions: list[Action]) -> int:
    """How much is asked for a plan that decides this, and writes nothing."""
    mark = len(world.azure.traffic.pairs)
    assert [each.action for each in project.plan().images] == actions
    assert world.azure.traffic.writes(mark) == []
    return len(world.azure.traffic.pairs) - mark


@pytest.mark.parametrize("name", FEW_CALLS)
def test_a_plan_asks_little_and_writes_nothing(world: World, tmp_path: Path, name: str) -> None:
    row = FEW_CALLS[name]
    for gallery in ("out", "in"):
        world.gallery(gallery)
    world.vm("old", luns=(0, 3))
    world.vm("gone")
    world.generalize("gone")
    world.version(world.definition("base", gallery="in"), "1.0.0", "gone")
    project = Project(tmp_path)
    project.add("web", **row)
    first = calls_of_a_plan(world, project, [Action.BUILD])
    assert first <= MOST_CALLS
    further = ("api", "db", "cache", "proxy")
    for image in further:
        project.add(image, **row)
    most = first + MOST_FURTHER * len(further)
    assert calls_of_a_plan(world, project, [Action.BUILD] * 5) <= most


def test_a_plan_asks_anew(world: World, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("web")
    world.gallery("out")
    assert project.plan().images[0].action == Action.BUILD
    world.azure.catalogue.restrict("westeurope", "Standard_D2s_v5")
    (image,) = project.plan().images
    assert (image.action, image.reasons[0].code) == (Action.BLOCKED, "size-offered")
    assert image.reasons[0].place is not None


def sources(world: World, family: str) -> list[tuple[str, Case]]:
    """Every source of a family: its YAML, and its case. Those whose names end in 2 have a data disk."""
    image = DEBIAN if family == "linux" else WINDOWS
    kind = family.capitalize()
    world.vm(f"{family}-1", image=image)
    world.vm(f"{family}-2", image=image, luns=(2,))
    world.vm(f"{family}-gone", image=image, luns=(0,))
    world.generalize(f"{family}-gone")
    world.managed_image(f"{family}-managed", f"{family}-gone")
    world.snapshot(f"{family}-snap", f"{family}-1-os")
    found = [
        (f"marketplace: {{publisher: {image['publisher']}, offer: {image['offer']}, sku: {image['sku']}}}",
         Case("marketplace")),
        (f"managedImage: {{resourceGroup: {GROUP}, name: {family}-managed}}", Case("managedImage", source_data=True)),
        (f"vm: {{resourceGroup: {GROUP}, name: {family}-1}}", Case("vm", source_generalized=False)),
        (f"vm: {{resourceGroup: {GROUP}, name: {family}-2}}", Case("vm", source_generalized=False, source_data=True)),
        (f"vm: {{resourceGroup: {GROUP}, name: {family}-gone, osState: generalized}}", Case("vm", source_data=True)),
        (f"disk: {{resourceGroup: {GROUP}, name: {family}-1-os}}", Case("disk", source_generalized=False)),
        (f"snapshot: {{resourceGroup: {GROUP}, name: {family}-snap}}", Case("snapshot", source_generalized=False)),
    ]  # fmt: skip
    for name, generalized in (("base", True), ("copy", False)):
        vm, state = (f"{family}-gone", "Generalized") if generalized else (f"{family}-1", "Specialized")
        for gallery, source in galleries(world):
            definition = world.definition(f"{family}-{name}", gallery=gallery, family=kind, state=state)
            world.version(definition, "1.0.0", vm)
            values = f"definition: {family}-{name}}}"
            words = source.partition(":")[0]
            case = Case(words, source_generalized=generalized, source_data=generalized)
            found.append((f"{source}, {values}", case))
    return found


def galleries(world: World) -> list[tuple[str, str]]:
    """The galleries' names, and the beginnings of the YAML of their sources."""
    unique = world.connection.get(world.compute("galleries", "shared"))["properties"]["identifier"]["uniqueName"]
    sharing = world.connection.get(world.compute("galleries", "open"))["properties"]["sharingProfile"]
    public = sharing["communityGalleryInfo"]["publicNames"][0]
    return [
        ("private", f"gallery: {{resourceGroup: {GROUP}, gallery: private"),
        ("shared", f"sharedGallery: {{gallery: {unique}"),
        ("open", f"communityGallery: {{gallery: {public}"),
    ]


def make_galleries(world: World) -> None:
    info = {"publisherUri": "https://example.org", "publisherContact": "a@example.org", "eula": "none",
            "publicNamePrefix": "open"}  # fmt: skip
    world.gallery("out")
    world.gallery("private")
    world.gallery("shared", sharingProfile={"permissions": "Groups"})
    world.gallery("open", sharingProfile={"permissions": "Community", "communityGalleryInfo": info})
    groups = [{"type": "Subscriptions", "ids": [world.azure.subscription]}]
    world.connection.post(world.compute("galleries", "shared"), "share",
                          {"operationType": "Add", "groups": groups}).wait()  # fmt: skip
    world.connection.post(world.compute("galleries", "open"), "share", {"operationType": "EnableCommunity"}).wait()


def test_every_source_system_state_and_kind_of_image(world: World, tmp_path: Path) -> None:
    """What the table allows is planned, what it forbids is blocked by that rule."""
    make_galleries(world)
    project = Project(tmp_path)
    cases: dict[str, Case] = {}
    for family in ("linux", "windows"):
        for number, (source, case) in enumerate(sources(world, family)):
            for generalize, capture in product((True, False), ("vmImage", "osImage")):
                name = f"{family}-{number}-{'g' if generalize else 's'}-{capture.lower()}"
                project.add(name, source=source, family=family, capture=capture,
                            generalize="{}" if generalize else "false")  # fmt: skip
                cases[name] = Case(**{**vars(case), "family": family, "capture": capture, "generalize": generalize})
    mark = len(world.azure.traffic.pairs)
    plan = project.plan()
    assert world.azure.traffic.writes(mark) == []
    found = {image.image: outcome(image) for image in plan.images}
    assert found == {name: {row.rule.code for row in forbidden(case)} for name, case in cases.items()}
    assert len(found) == 2 * 13 * 4


def outcome(image: ImagePlan) -> set[str]:
    """The codes of what blocks an image."""
    return {reason.code for reason in image.reasons} if image.action == Action.BLOCKED else set()


def test_a_purchase_plan_goes_on_to_what_stands_on_it(world: World, tmp_path: Path) -> None:
    world.gallery("out")
    world.azure.catalogue.accepted_terms.add(("resf", "rockylinux-x86_64", "9-base"))
    project = Project(tmp_path)
    project.add("base", source="marketplace: {publisher: resf, offer: rockylinux-x86_64, sku: 9-base}")
    project.add("web", source="image: base")
    plan = project.plan()
    assert [each.action for each in plan.images] == [Action.BUILD, Action.BUILD]
    for image in plan.images:
        published = [item.step.inputs for item in image.steps if item.step.stage == Stage.PUBLISH]
        assert "'product': 'rockylinux-x86_64'" in str(published), published
    assert plan.images[1].steps[0].step.inputs["image"] == "base"


def test_offline_asks_nothing_and_says_so(world: World, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("web")
    mark = len(world.azure.traffic.pairs)
    plan = project.plan(offline=True)
    assert len(world.azure.traffic.pairs) == mark
    (image,) = plan.images
    assert (image.action, [reason.code for reason in image.reasons]) == (Action.BUILD, ["new_image", "offline"])
    assert plan.options["offline"] is True


def test_before_anything_is_made_somebody_is_signed_in(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path)
    project.add("web")
    image = load([project.root]).documents[0].render("1.0.0")
    machine = AzureMachine(Store(project.root / ".build"))
    machine.preflight(image)
    elsewhere = connected(world.azure, "00000000-0000-4000-8000-000000000000")
    monkeypatch.setattr("builder.azure.connection.connect", lambda *arguments, **options: elsewhere)
    with pytest.raises(AzureError, match="SubscriptionNotFound") as caught:
        machine.preflight(image)
    assert caught.value.hint
