"""A small world in memory to plan in: documents, a machine and destinations that are data, and an apply of plans.

`World.apply` does to the data what carrying a plan out would do to disks and galleries, so that a test can plan, apply
and plan again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.errors import Place
from builder.model.artifact import Artifact, Inventory, Manifest
from builder.model.kinds import Kind, KindRegistry
from builder.model.observed import Blocker, MachineFacts, Published, PublishedVersion, Traits, VersionState
from builder.model.plan import Action, Plan
from builder.model.run import Run, Session, StepContext
from builder.model.spec import (
    Choice,
    DisksSpec,
    GeneralizeSpec,
    ImageDocument,
    ImageSpec,
    OsSpec,
    Places,
    PublishSpec,
    RetainSpec,
)
from builder.model.steps import Change, FileInput, Preview, Stage, Step
from builder.plan.planner import Planner
from builder.plan.selection import PlanOptions

NOW = datetime(2026, 11, 23, 4, 10, 2, tzinfo=UTC)
ROOT = Path("/project")
KIND_NAMES = (
    *(f"source.{name}" for name in ("bootstrap", "file", "image")),
    *("packages", "files", "template", "services", "script", "run", "generalize", "capture", "provision"),
    *("publish.memory", "promote.memory", "update.regions.memory", "retire.memory"),
)
PREVIEWS = {"packages": Preview.PREDICTED, "script": Preview.OPAQUE, "run": Preview.OPAQUE}


def not_run(step: Step, context: StepContext) -> None:
    raise AssertionError("a plan runs nothing")


def registry(**versions: int) -> KindRegistry:
    """All kinds of this world at version 1, but for those given."""
    kinds = KindRegistry()
    for name in KIND_NAMES:
        kinds.register(Kind(name, versions.get(name, 1), not_run))
    return kinds


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _filled(value: Any, version: str) -> Any:
    """Stands for templating: `{{ image.version }}` in any text."""
    return json.loads(json.dumps(value).replace("{{ image.version }}", version))


def document(
    name: str,
    *,
    prepare: Sequence[Mapping[str, Any]] = ({"packages": {"install": ["nginx"]}},),
    source: Mapping[str, Any] | None = None,
    generalize: bool = True,
    test: Sequence[Mapping[str, Any]] = ({"provision": {}},),
    version: str = "auto",
    retain: RetainSpec | None = None,
    to: Sequence[str] = ("gallery",),
    state: str = "active",
) -> ImageDocument:
    """A valid document. Line numbers count up in the order of the spec: source 3, step i of prepare 10 + i."""
    file = f"images/{name}.yaml"
    source = source or {"bootstrap": {"suite": "bookworm"}}
    places: dict[tuple[str | int, ...], Place] = {
        (): Place(file, 1, 1),
        ("state",): Place(file, 2, 1),
        ("source",): Place(file, 3, 1),
        ("publish",): Place(file, 50, 1),
        ("publish", "version"): Place(file, 51, 3),
        ("publish", "to"): Place(file, 52, 3),
    }
    for index, step in enumerate(prepare):
        places[("prepare", index)] = Place(file, 10 + index, 5)
        kind, values = next(iter(step.items()))
        for column, key in enumerate(values):
            places[("prepare", index, kind, key)] = Place(file, 10 + index, 20 + column)
    for index, _ in enumerate(to):
        places[("publish", "to", index)] = Place(file, 53 + index, 7)

    def choices(items: Sequence[Mapping[str, Any]], key: str, image_version: str) -> tuple[Choice, ...]:
        return tuple(
            Choice(kind, _filled(values, image_version), (key, index, kind))
            for index, item in enumerate(items)
            for kind, values in item.items()
        )

    def render(image_version: str) -> ImageSpec:
        source_kind, source_values = next(iter(source.items()))
        return ImageSpec(
            name=name,
            os=OsSpec("linux", "debian", "12"),
            source=Choice(source_kind, _filled(source_values, image_version), ("source", source_kind)),
            machine=Choice("memory", {}),
            disks=DisksSpec(),
            prepare=choices(prepare, "prepare", image_version),
            generalize=GeneralizeSpec() if generalize else None,
            capture="vmImage",
            test=choices(test, "test", image_version),
            publish=PublishSpec(version, retain, tuple(Choice("memory", {"name": target}) for target in to)),
            root=ROOT,
            file=file,
            places=Places(places),
            state=state,  # type: ignore[arg-type]
        )

    return ImageDocument(name, Place(file, 1, 1), render)


@dataclass
class World:
    """Everything that exists. `files` are the repository's, by path; `galleries` hold versions by image."""

    documents: list[ImageDocument]
    files: dict[str, str] = field(default_factory=dict)
    source_pin: dict[str, str] = field(default_factory=lambda: {"index": "20261120"})
    galleries: dict[str, dict[str, list[PublishedVersion]]] = field(default_factory=dict)
    checkpoints: set[str] = field(default_factory=set)
    artifacts: set[str] = field(default_factory=set)
    blockers: dict[str, Blocker] = field(default_factory=dict)
    updates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # By destination: those whose versions it can't be given without a build
    untaken: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # What destinations turn out to be
    resolved: dict[str, str] = field(default_factory=dict)
    # Destinations whose versions no machine is made of
    undeployable: tuple[str, ...] = ()
    tests_published: bool = False
    kinds: KindRegistry = field(default_factory=registry)
    now: datetime = NOW
    tool: str = "0.1.0"

    def planner(self) -> Planner:
        return Planner(
            machine_for=lambda image: MemoryMachine(self),
            destinations_for=lambda image: [
                MemoryDestination(self, choice.values["name"]) for choice in image.publish.to
            ],
            kinds=self.kinds,
            tool=self.tool,
            now=lambda: self.now,
            new_id=lambda: "5c0e9b71d0c4",
        )

    def plan(self, **options: Any) -> Plan:
        return self.planner().plan(
            self.documents,
            root=ROOT,
            inputs={f"images/{document.name}.yaml": sha256(document.name) for document in self.documents},
            options=PlanOptions(**options),
        )

    def replace(self, changed: ImageDocument) -> None:
        self.documents = [changed if document.name == changed.name else document for document in self.documents]

    def apply(self, plan: Plan) -> None:
        """What the plan's steps would leave in the world."""
        for image in plan.images:
            if image.action in (Action.NONE, Action.BLOCKED):
                continue
            steps = [item.step for item in image.steps]
            promoted = any(step.kind == "promote.memory" for step in steps)
            self.checkpoints |= {step.digest for step in steps if step.checkpoint}
            for step in steps:
                if step.kind == "publish.memory":
                    self.publish(step.inputs["destination"], image.image, str(image.version), image.digest, steps)
                    if step.inputs.get("held") and not promoted:
                        self.set_state(step.inputs["destination"], image.image, str(image.version), VersionState.HELD)
                elif step.kind == "promote.memory":
                    self.set_state(
                        step.inputs["destination"], image.image, step.inputs["version"], VersionState.PROMOTED
                    )
                elif step.kind == "retire.memory":
                    held = self.galleries[step.inputs["destination"]][image.image]
                    held[:] = [item for item in held if item.version != step.inputs["version"]]

    def publish(
        self, gallery: str, image: str, version: str, digest: str, steps: Sequence[Step], *, created: str | None = None
    ) -> None:
        recorded = [json.loads(json.dumps(step.as_dict())) for step in steps if step.identity]
        source = next(
            (item.manifest for held in self.galleries.values() for item in held.get(image, ()) if item.manifest), None
        )
        manifest = Manifest(
            image=image,
            version=version,
            digest=digest,
            created=created or self.now.isoformat(),
            tool=self.tool,
            run="run",
            generalized=True,
            kind="vmImage",
            architecture="x64",
            generation=2,
            source={},
            # A version that is copied from another gallery carries the manifest that it has there
            steps=tuple(recorded) or (source.steps if source else ()),
            disks=(),
            recorded_inventory=Inventory().as_dict(),
        )
        self._add(gallery, image, PublishedVersion(version, manifest, f"{gallery}/{image}/{version}"))

    def set_state(self, gallery: str, image: str, version: str, state: VersionState) -> None:
        held = self.galleries[gallery][image]
        held[:] = [replace(item, state=state) if item.version == version else item for item in held]

    def set_digest(self, gallery: str, image: str, version: str, digest: str) -> None:
        held = self.galleries[gallery][image]
        held[:] = [
            replace(item, manifest=replace(item.manifest, digest=digest))
            if item.version == version and item.manifest is not None
            else item
            for item in held
        ]

    def set_in_use(self, gallery: str, image: str, version: str, user: str) -> None:
        held = self.galleries[gallery][image]
        held[:] = [replace(item, in_use=user) if item.version == version else item for item in held]

    def add_foreign(self, gallery: str, image: str, version: str) -> None:
        self._add(gallery, image, PublishedVersion(version, None, f"{gallery}/{image}/{version}"))

    def _add(self, gallery: str, image: str, item: PublishedVersion) -> None:
        held = self.galleries.setdefault(gallery, {}).setdefault(image, [])
        assert item.version not in {other.version for other in held}, "a version is never published twice"
        held.append(item)
        held.sort(key=lambda other: [int(part) if part.isdigit() else -1 for part in other.version.split(".")])

    def versions(self, image: str, gallery: str = "gallery") -> list[str]:
        return [item.version for item in self.galleries.get(gallery, {}).get(image, ())]


@dataclass(frozen=True)
class MemoryMachine:
    """Makes steps of a spec, and knows the world's checkpoints."""

    world: World
    name: str = "memory"
    side_by_side: bool = True

    @property
    def tests_published(self) -> bool:
        return self.world.tests_published

    def observe(self, image: ImageSpec) -> MachineFacts:
        blocker = self.world.blockers.get(image.name)
        return MachineFacts(
            source={} if blocker else dict(self.world.source_pin),
            checkpoints=frozenset(self.world.checkpoints),
            artifacts=frozenset(self.world.artifacts),
            blockers=(blocker,) if blocker else (),
        )

    def secret(self, image: ImageSpec, origin: str, name: str) -> str | None:
        return None

    def steps(self, image: ImageSpec, facts: MachineFacts) -> list[Step]:
        source = Step(
            Stage.PREPARE,
            f"source.{image.source.kind}",
            f"start from {image.source.kind}",
            {**image.source.values, **facts.source},
            place=image.place("source"),
            checkpoint=True,
        )
        steps = [source, *(self._prepare(choice, image) for choice in image.prepare)]
        if image.generalize is not None:
            steps.append(Step(Stage.GENERALIZE, "generalize", "take the identity out", {}, checkpoint=True))
        steps.append(Step(Stage.CAPTURE, "capture", "capture a VM image", {"kind": image.capture}))
        steps += [
            Step(Stage.TEST, choice.kind, f"test: {choice.kind}", choice.values, identity=False)
            for choice in image.test
        ]
        return steps

    def _prepare(self, choice: Choice, image: ImageSpec) -> Step:
        names = [choice.values["path"]] if choice.kind == "script" else choice.values.get("sources", [])
        files = tuple(
            FileInput(name, sha256(text), len(text), text)
            for name in names
            if (text := self.world.files[name]) is not None
        )
        changes = tuple(Change("install", "package", name) for name in choice.values.get("install", ()))
        inputs = {key: value for key, value in choice.values.items() if key != "timeout"}
        return Step(
            Stage.PREPARE,
            choice.kind,
            f"{choice.kind} {', '.join(names)}".strip(),
            inputs,
            preview=PREVIEWS.get(choice.kind, Preview.EXACT),
            changes=changes,
            files=files,
            place=image.place(*choice.path[:2]),
            places={key: image.place(*choice.path, key) for key in choice.values},
            timeout=choice.values.get("timeout"),
            checkpoint=True,
        )

    def preflight(self, image: ImageSpec) -> None:
        raise AssertionError("a plan needs no privileges")

    def open(self, run: Run) -> AbstractContextManager[Session]:
        raise AssertionError("a plan opens no machine")


@dataclass(frozen=True)
class MemoryDestination:
    """One of the world's galleries."""

    world: World
    name: str
    kind: str = "memory"

    @property
    def deployable(self) -> bool:
        return self.name not in self.world.undeployable

    def observe(self, image: ImageSpec) -> Published:
        blocker = self.world.blockers.get(self.name)
        held = self.world.galleries.get(self.name, {}).get(image.name, ())
        resolved = self.world.resolved.get(self.name, "")
        return Published(self.name, tuple(held), (blocker,) if blocker else (), resolved)

    def check(self, image: ImageSpec, traits: Traits) -> tuple[Blocker, ...]:
        return ()

    def promote_steps(self, image: ImageSpec, version: str) -> list[Step]:
        return [self._step("promote", image, version)]

    def update_steps(self, image: ImageSpec, published: Published, version: str) -> list[Step]:
        return [self._step(f"update.{what}", image, version) for what in self.world.updates.get(self.name, ())]

    def artifact(self, version: PublishedVersion) -> Artifact:
        assert version.manifest is not None
        return Artifact(version.manifest.image, version.manifest.digest, True, (), resource=self.name)

    def takes(self, artifact: Artifact) -> bool:
        return artifact.resource not in self.world.untaken.get(self.name, ())

    def _step(self, kind: str, image: ImageSpec, version: str) -> Step:
        return Step(
            Stage.PUBLISH,
            f"{kind}.memory",
            f"{kind} {image.name} {version} at {self.name}",
            {"destination": self.name, "version": version},
            identity=False,
        )

    def publish_steps(self, image: ImageSpec, version: str, traits: Traits, *, held: bool) -> list[Step]:
        return [
            Step(
                Stage.PUBLISH,
                "publish.memory",
                f"publish {image.name} {version} to {self.name}",
                {"destination": self.name, "version": version, **({"held": True} if held else {})},
                changes=(Change("create", "version", f"{self.name}/{image.name}/{version}"),),
                identity=False,
            )
        ]

    def retire_steps(self, image: ImageSpec, versions: tuple[str, ...]) -> list[Step]:
        return [
            Step(
                Stage.PUBLISH,
                "retire.memory",
                f"retire {version} from {self.name}",
                {"destination": self.name, "version": version},
                changes=(Change("delete", "version", version),),
                identity=False,
            )
            for version in versions
        ]
