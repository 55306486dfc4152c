"""What happens to one image: compares its spec with what its destinations hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from builder.machines.base import Machine
from builder.model.artifact import REBUILD_INPUT
from builder.model.canonical import short
from builder.model.observed import (
    FOREIGN,
    Blocker,
    MachineFacts,
    Published,
    PublishedVersion,
    Traits,
    VersionState,
)
from builder.model.plan import Action, ImagePlan, PlannedStep, Reason
from builder.model.spec import ImageSpec
from builder.model.steps import FileInput, Stage, Step
from builder.plan.copies import not_copied, regions_of
from builder.plan.digests import chain, image_digest
from builder.plan.outcome import as_reasons, blocked, image_plan
from builder.plan.publishing import Publishing
from builder.plan.reasons import reasons_for, version_used
from builder.plan.situation import OurVersion, Situation
from builder.plan.testing import tests_before, untestable
from builder.plan.versions import order

REUSE = "reuse"
RUN = "run"
_RAISE = "a published version never changes: write a higher one in publish.version, or `auto`"
WORKING_ACTIONS = (Action.BUILD, Action.REBUILD, Action.ADOPT)


@dataclass(frozen=True)
class Base:
    """The image that another stands on: its name, the version and digest that it stands on, and its purchase plan."""

    name: str
    version: str
    digest: str
    plan: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Decision:
    """The plan of one image, the files that were read for it, and what its artifact will be."""

    plan: ImagePlan
    files: tuple[FileInput, ...] = ()
    traits: Traits = field(default_factory=Traits)


def decide(situation: Situation, machine: Machine, base: Base | None, facts: MachineFacts) -> Decision:
    """What happens to an active image. `facts` is what its machine says. Raises BuildError when that can't be known."""
    if base is not None:
        source = {"image": base.name, "version": base.version, "digest": base.digest}
        # A plan stays with every image that descends from what was bought
        facts = replace(facts, source=source, traits=replace(facts.traits, plan=base.plan))
    decision = _Decider(situation, machine, facts, base.name if base else None).decide()
    return replace(decision, traits=facts.traits)


def retire(situation: Situation) -> ImagePlan:
    """The plan of an image with `state: retired`: all versions that this tool made go, at every destination."""
    steps: list[Step] = []
    gone: set[str] = set()
    names = []
    for destination, published in situation.published:
        versions = tuple(item.version for item in published.versions if item.manifest is not None)
        if versions:
            steps += destination.retire_steps(situation.image, versions)
            gone.update(versions)
            names.append(destination.name)
    kept = sorted(gone & situation.pinned, key=order)
    if kept:
        message = f"another image stands on version {kept[0]}"
        return blocked(situation, [Reason("version-in-use", message, situation.image.place("state"))])
    used = [
        item
        for _, published in situation.published
        for item in published.versions
        if item.in_use and item.manifest is not None
    ]
    if gone and used:
        message = f"version {used[0].version} is kept by {used[0].in_use}"
        return blocked(situation, [Reason("version-in-use", message, situation.image.place("state"))])
    if gone and situation.blockers:
        return blocked(situation, as_reasons(situation.blockers))
    reason = Reason("marked_retired", "marked `state: retired`", situation.image.place("state"))
    return image_plan(
        situation,
        Action.RETIRE if gone else Action.NONE,
        reasons=(reason,) if gone else (),
        steps=tuple(PlannedStep(step, RUN) for step in chain(steps, situation.kinds)),
        destinations=tuple(names),
        retires=tuple(sorted(gone, key=order)),
    )


def _holding(published: Published, version: str) -> PublishedVersion | None:
    return next((item for item in published.versions if item.version == version), None)


class _Decider:
    """The decision about one image, in the order in which the cases are looked at."""

    def __init__(self, situation: Situation, machine: Machine, facts: MachineFacts, base: str | None) -> None:
        self.situation = situation
        self.machine = machine
        self.facts = facts
        self.base = base
        self.token = situation.rebuild_token
        self.version = ""

    def decide(self) -> Decision:
        """The plan; the machine is only asked about what the destinations don't settle."""
        if self.facts.blockers and not self.facts.source:
            # Without its source an image has no digest that could be compared
            return Decision(self._blocked(as_reasons((*self.facts.blockers, *self.situation.blockers))))
        if self.situation.rebuild:
            self.version = self.token = self._rebuilt_version()
        neutral = self._steps(self.situation.image, self.token)
        files = tuple(file for step in neutral for file in step.files)
        return Decision(self._plan(image_digest(neutral)), files)

    def _rebuilt_version(self) -> str:
        """The version of a rebuild: it is part of the digest. One that the same rebuild left unfinished is mended."""
        situation = self.situation
        for version, digest in situation.unfinished:
            next_one = situation.next_version(digest)
            if version == next_one and digest == image_digest(self._steps(situation.image, version)):
                return version
        return situation.next_version("")

    def _plan(self, digest: str) -> ImagePlan:
        situation, current = self.situation, self.situation.current
        if not situation.published:
            place = situation.image.place("publish", "to")
            return self._blocked([Reason("no-destination", "the image has no destination", place)])
        if current is not None and not situation.rebuild and current.manifest.digest == digest:
            return self._unchanged(current, digest)
        held = situation.held(digest)
        if held is not None and not situation.rebuild:
            return self._unchanged(held, digest)
        conflict = self._exact_version_taken(digest)
        if conflict is not None:
            return self._blocked([conflict])
        if situation.latest is None:
            return self._build(Action.BUILD, digest)
        return self._build(Action.REBUILD, digest)

    def _steps(self, image: ImageSpec, token: str | None) -> list[Step]:
        """The chained steps of the machine for an image rendered with some version."""
        steps = list(self.machine.steps(image, self.facts))
        if token is not None and steps:
            steps[0] = replace(steps[0], inputs={**steps[0].inputs, REBUILD_INPUT: token})
        return chain(steps, self.situation.kinds)

    def _blocked(self, reasons: Sequence[Reason]) -> ImagePlan:
        return blocked(self.situation, reasons, base=self.base)

    def _exact_version_taken(self, digest: str) -> Reason | None:
        """Why an exact version can't be published: it exists, and versions never change."""
        request = self.situation.wanted
        if request.exact is None:
            return None
        place = self.situation.image.place("publish", "version")
        for destination, published in self.situation.published:
            found = _holding(published, request.text)
            if found is None or found.gives_way(digest):
                continue
            holder = f"version {request.text} exists at {destination.name}"
            if found.manifest is None:
                return Reason("version-foreign", f"{holder}: it was {FOREIGN}", place, help=_RAISE)
            if found.state == VersionState.UNFINISHED:
                message = f"{holder}, unfinished, with another content"
                return Reason("version-exists", message, place, help=f"delete it there; or, as {_RAISE}")
            if self.situation.rebuild:
                return Reason("version-exists", f"{holder}: a rebuild needs another version", place, help=_RAISE)
            return Reason(
                "version-exists",
                f"{holder} with another content",
                place,
                before=short(found.manifest.digest),
                after=short(digest),
                help=_RAISE,
            )
        return None

    def _unchanged(self, current: OurVersion, digest: str) -> ImagePlan:
        """Nothing to build: publish, promote, change or retire what is not as the spec wants it, if anything."""
        situation = self.situation
        work = Publishing(situation, situation.document.render(current.version), current.version)
        reasons = []
        for index, (destination, published) in enumerate(situation.published):
            place = situation.image.place("publish", "to", index)
            found = _holding(published, current.version)
            if found is None or found.gives_way(digest):
                work.missing.append((destination, published))
                reasons.append(Reason("output_missing", f"{destination.name} lacks version {current.version}", place))
                continue
            if not found.holds(digest):
                message = f"version {current.version} at {destination.name} has another content than elsewhere"
                return self._blocked([Reason("version-exists", message, place, help=_RAISE)])
            if found.state == VersionState.HELD:
                work.held.append(destination)
                message = f"version {current.version} at {destination.name} waits for its tests"
                reasons.append(Reason("version_held", message, place))
            updates = destination.update_steps(work.image, published, current.version)
            work.updates += updates
            reasons += [Reason("output_differs", step.title, step.place or place) for step in updates]
        return self._published(work, current, digest, reasons)

    def _published(self, work: Publishing, current: OurVersion, digest: str, reasons: Sequence[Reason]) -> ImagePlan:
        """The plan of an image whose version stands, with the reasons to do something about it all the same."""
        situation, retires = self.situation, work.retires
        if not reasons and not retires:
            names = tuple(destination.name for destination, _ in situation.published)
            return image_plan(
                situation, Action.NONE, digest=digest, destinations=names, base=self.base, notes=work.notes()
            )
        missing = [destination for destination, _ in work.missing]
        # It is copied from where it stands, wherever it was made
        traits = replace(self.facts.traits, regions=regions_of(situation, current))
        passed = situation.is_promoted(current.version, digest)
        blockers = (
            *situation.blockers,
            *self._checked(work, traits),
            *untestable(work.image, self.machine, work.waiting, passed=passed),
        )
        # What a destination says of itself is plainer than that nothing can be copied there
        blockers = blockers or tuple(not_copied(situation, current, missing))
        if blockers:
            return self._blocked(as_reasons(blockers))
        if not reasons:
            place = situation.image.place("publish", "retain")
            count = "1 version" if len(retires) == 1 else f"{len(retires)} versions"
            reasons = [Reason("retention", f"`retain` lets {count} go", place)]
            action, version = Action.RETIRE, None
        else:
            action, version = Action.PUBLISH, current.version
        tests = tests_before(self._tests(work.image), work.waiting, passed=passed)
        steps = work.steps(tests, self.facts.traits)
        return image_plan(
            situation,
            action,
            reasons=tuple(reasons),
            digest=digest,
            version=version,
            steps=tuple(PlannedStep(step, RUN) for step in chain(steps, situation.kinds, parent=digest)),
            destinations=work.destinations,
            base=self.base,
            retires=retires,
            notes=work.notes(),
        )

    @staticmethod
    def _checked(work: Publishing, traits: Traits) -> list[Blocker]:
        """What the destinations say against an artifact with these traits."""
        found: list[Blocker] = []
        for destination, _ in work.missing:
            found += destination.check(work.image, traits)
        return found

    def _tests(self, image: ImageSpec) -> list[Step]:
        """The tests that need a published version."""
        if not self.machine.tests_published:
            return []
        return [step for step in self.machine.steps(image, self.facts) if step.stage == Stage.TEST]

    def _why(self, digest: str, made: Sequence[Step]) -> tuple[Reason, ...]:
        """Why an image is built or rebuilt. `made` are the steps as they will run."""
        situation = self.situation
        if situation.latest is None:
            return (Reason("new_image", "new image", situation.place),)
        compared, token = situation.current or situation.latest, situation.rebuild_token
        reasons: list[Reason] = []
        if situation.rebuild:
            reasons.append(Reason("rebuild_by_request", "a rebuild was asked for (--rebuild)", situation.place))
            digest = image_digest(self._steps(situation.image, token))
        if situation.current is None:
            place = situation.image.place("publish", "version")
            message = "publish.version asks for another version"
            before, after = situation.latest.version, situation.wanted.text
            reasons.append(Reason("version_requested", message, place, before=before, after=after))
        if digest != compared.manifest.digest:
            # Rendered with the version that was published, so that the version itself is no difference
            steps = self._steps(situation.document.render(compared.version), token)
            reasons += reasons_for(compared.manifest, steps, situation.kinds, situation.place, made=made)
        return tuple(reasons)

    def _for_the_version(self, planned: Sequence[PlannedStep]) -> tuple[Reason, ...]:
        """A note where steps run again only because of the version."""
        compared = self.situation.current or self.situation.latest
        first = next((item.step.index for item in planned if item.action == RUN), None)
        if compared is None or first is None:
            return ()
        steps = self._steps(self.situation.document.render(compared.version), self.token)
        note = version_used(compared.manifest, steps, [item.step for item in planned], first)
        return (note,) if note else ()

    def _build(self, action: Action, digest: str) -> ImagePlan:
        situation = self.situation
        destinations = list(situation.published)
        neutral = Publishing(situation, situation.image, "", missing=destinations)
        blockers = [
            *self.facts.blockers,
            *situation.blockers,
            *self._checked(neutral, self.facts.traits),
            *untestable(situation.image, self.machine, neutral.waiting, passed=False),
        ]
        if blockers:
            return self._blocked(as_reasons(blockers))
        version = self.version or situation.next_version(digest)
        work = Publishing(situation, situation.document.render(version), version, missing=destinations)
        made = self._steps(work.image, self.token)
        reasons = self._why(digest, made)
        tests: list[Step] = []
        if self.machine.tests_published:
            tests = [step for step in made if step.stage == Stage.TEST]
            made = [step for step in made if step.stage != Stage.TEST]
        captured = image_digest(made)
        if captured in self.facts.artifacts:
            action = Action.ADOPT
            message = "an earlier run captured it; testing and publishing remain"
            reasons = (Reason("artifact_captured", message, situation.place), *reasons)
        after = chain(work.steps(tests, self.facts.traits), situation.kinds, parent=captured, first_index=len(made) + 1)
        planned = self._planned(made, all_made=action == Action.ADOPT)
        return image_plan(
            situation,
            action,
            reasons=reasons,
            digest=digest,
            version=version,
            steps=(*planned, *(PlannedStep(step, RUN) for step in after)),
            destinations=tuple(destination.name for destination, _ in situation.published),
            base=self.base,
            retires=work.retires,
            notes=(*self._for_the_version(planned), *work.notes()),
        )

    def _planned(self, steps: Sequence[Step], *, all_made: bool) -> list[PlannedStep]:
        """Everything up to the deepest known checkpoint is reused, even where earlier ones are gone."""
        known = [
            index
            for index, step in enumerate(steps)
            # The checkpoint of a capture is no artifact: that is gone once it is published
            if step.identity and (all_made or (step.digest in self.facts.checkpoints and step.stage != Stage.CAPTURE))
        ]
        deepest = known[-1] if known else -1
        return [PlannedStep(step, REUSE if index <= deepest else RUN) for index, step in enumerate(steps)]
