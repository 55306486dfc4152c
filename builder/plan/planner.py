"""The planner: specs and what exists become a plan. It reads, and changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from builder import __version__
from builder.destinations.base import Destination
from builder.errors import BuildError, ExitCode, Unreachable
from builder.machines.base import Machine
from builder.model.kinds import KINDS, KindRegistry
from builder.model.observed import FOREIGN, Demand, MachineFacts, Published, PublishedVersion, Traits
from builder.model.plan import Action, ImagePlan, Plan, Reason
from builder.model.spec import ImageDocument, ImageSpec
from builder.plan.decide import WORKING_ACTIONS, Base, decide, retire
from builder.plan.fingerprint import plan_digest
from builder.plan.graph import base_of, bases_first, pinned_version, pinned_versions
from builder.plan.outcome import as_reasons, blocked, reason_of
from builder.plan.selection import PlanOptions, selected
from builder.plan.situation import Situation
from builder.plan.together import Claims, with_waits

LIFETIME = timedelta(hours=24)
# How many machines and destinations are asked at once, where they are not on this host
READERS = 16
# The version that specs are rendered with to get a digest that is the same for every version
NEUTRAL_VERSION = "0.0.0"

# How many images are done, how many there are, and the name of the one that comes now
Progress = Callable[[int, int, str], None]


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Planner:
    """Makes plans. `machine_for` and `destinations_for` say where an image is made and where it goes."""

    machine_for: Callable[[ImageSpec], Machine]
    destinations_for: Callable[[ImageSpec], Sequence[Destination]]
    kinds: KindRegistry = field(default_factory=lambda: KINDS)
    tool: str = __version__
    now: Callable[[], datetime] = _now
    new_id: Callable[[], str] = _new_id
    lifetime: timedelta = LIFETIME

    def plan(
        self,
        documents: Sequence[ImageDocument],
        *,
        root: Path,
        inputs: Mapping[str, str] | None = None,
        options: PlanOptions | None = None,
        progress: Progress = lambda done, total, image: None,
    ) -> Plan:
        """The plan for `documents`: all that the project has, of which `options` selects some.

        `inputs` are the sha256 of the files that the documents came from. A base that isn't selected is planned
        silently; when what stands on it has to be built and the base too, it joins the plan. What goes wrong with one
        image blocks that image and those that stand on it. Raises BuildError for options that select nothing and for
        images in a circle, SpecInvalid when a document can't be rendered, Unreachable when no image can be looked at.
        """
        options = options or PlanOptions()
        moment = self.now()
        names = [document.name for document in documents]
        chosen, excluded, rebuild = selected(options, names)
        work = _Work(self, {document.name: document for document in documents}, moment, frozenset(rebuild), excluded)
        order = bases_first((name for name in names if name in chosen), work.images)
        with ThreadPoolExecutor(READERS, thread_name_prefix="observe") as pool:
            work.look(order, pool)
            for done, name in enumerate(order):
                progress(done, len(order), name)
                work.plan(name)
        work.refuse_unreachable()
        joined = work.needed(chosen)
        listed = [work.plans[name] for name in order if name in chosen or name in joined]
        listed = with_waits(listed, work.demands)
        if options.offline:
            listed = [_offline(plan) for plan in listed]
        plan = Plan(
            id=self.new_id(),
            created=_timestamp(moment),
            expires=_timestamp(moment + self.lifetime),
            tool=self.tool,
            root=str(root),
            images=tuple(listed),
            inputs=dict(sorted({**(inputs or {}), **work.files}.items())),
            observed=work.observed,
            selection={
                "include": list(options.include),
                "exclude": list(options.exclude),
                "rebuild": list(options.rebuild),
                "joined": sorted(joined),
                "checked": len(listed),
                "skipped": len(names) - len(listed),
            },
            options=dict(options.request),
        )
        return replace(plan, digest=plan_digest(plan))


def _offline(plan: ImagePlan) -> ImagePlan:
    message = "no cloud was asked: sources are as written, and what is published there is not known"
    return replace(plan, reasons=(*plan.reasons, Reason("offline", message, plan.place)))


@contextmanager
def _about_one_image(errors: list[BuildError]) -> Iterator[None]:
    """Collects the error of the block; interruptions and invalid specs are about the whole plan, and are raised."""
    try:
        yield
    except BuildError as error:
        if error.exit_code != ExitCode.ERROR:
            raise
        errors.append(error)


class _Looks:
    """What is being found out about one image: each part is a function that waits for its result."""

    def __init__(self, planner: Planner, image: ImageSpec, pool: ThreadPoolExecutor) -> None:
        self.facts: Callable[[], MachineFacts] = pool.submit(planner.machine_for(image).observe, image).result
        self.published: list[tuple[Destination, Callable[[], Published]]] = [
            (destination, pool.submit(destination.observe, image).result)
            for destination in planner.destinations_for(image)
        ]


class _Work:
    """One plan under way: what was found out so far, by the image's name."""

    def __init__(
        self,
        planner: Planner,
        documents: Mapping[str, ImageDocument],
        now: datetime,
        rebuild: frozenset[str],
        excluded: Iterable[str],
    ) -> None:
        self.planner = planner
        self.documents = documents
        self.now = now
        self.rebuild = rebuild
        self.excluded = frozenset(excluded)
        self.images = {name: document.render(NEUTRAL_VERSION) for name, document in documents.items()}
        self.pinned = pinned_versions(self.images.values())
        self.situations: dict[str, Situation] = {}
        self.plans: dict[str, ImagePlan] = {}
        self.observed: dict[str, Any] = {}
        self.files: dict[str, str] = {}
        self.traits: dict[str, Traits] = {}
        self.demands: dict[str, tuple[Demand, ...]] = {}
        self.looks: dict[str, _Looks] = {}
        self.unreachable: dict[str, Unreachable] = {}
        self.claims = Claims()

    def look(self, names: Iterable[str], pool: ThreadPoolExecutor) -> None:
        """Begin to observe images side by side, where their machine allows that: what is far away takes its time."""
        for name in names:
            image = self.images[name]
            errors: list[BuildError] = []
            with _about_one_image(errors):
                if self.planner.machine_for(image).side_by_side:
                    self.looks[name] = _Looks(self.planner, image, pool)

    def _destinations(self, image: ImageSpec) -> list[tuple[Destination, Callable[[], Published]]]:
        """An image's destinations, each with how to get what it holds."""
        looks = self.looks.get(image.name)
        if looks is not None:
            return looks.published
        found: list[tuple[Destination, Callable[[], Published]]] = []
        for destination in self.planner.destinations_for(image):
            found.append((destination, partial(destination.observe, image)))
        return found

    def _machine_facts(self, image: ImageSpec) -> MachineFacts:
        looks = self.looks.get(image.name)
        return looks.facts() if looks else self.planner.machine_for(image).observe(image)

    def plan(self, name: str) -> None:
        """Plan one image, after its base."""
        image = self.images[name]
        situation = Situation(self.documents[name], image, (), self.planner.kinds, self.now)
        errors: list[BuildError] = []
        published = []
        for destination, observed in self._destinations(image):
            with _about_one_image(errors):
                published.append((destination, observed()))
        situation = replace(
            situation,
            published=tuple(published),
            pinned=frozenset(self.pinned.get(name, ())),
            rebuild=name in self.rebuild,
        )
        reasons: list[Reason] = []
        if errors:
            # Nothing can be decided, but what else is wrong is said in the same breath
            reasons += self._machine_reasons(situation)
        else:
            self.situations[name] = situation
            self.observed[name] = situation.observed()
            reasons += self.claims.refused(situation)
        if reasons and not errors:
            self.plans[name] = blocked(situation, reasons, base=base_of(image))
        elif not errors:
            with _about_one_image(errors):
                self.plans[name] = self._decide(situation)
        if errors:
            self._remember_unreachable(name, errors)
            reasons += [*(reason_of(error, situation) for error in errors), *as_reasons(situation.blockers)]
            self.plans[name] = blocked(situation, reasons, base=base_of(image))

    def _remember_unreachable(self, name: str, errors: Iterable[BuildError]) -> None:
        for error in errors:
            if isinstance(error, Unreachable):
                self.unreachable.setdefault(name, error)

    def refuse_unreachable(self) -> None:
        """Raise what stands in the way of every image alike: a plan would say it once for each."""
        if self.plans and self.unreachable.keys() == self.plans.keys():
            error = next(iter(self.unreachable.values()))
            error.where = None
            raise error

    def _machine_reasons(self, situation: Situation) -> list[Reason]:
        """What the machine says against an image that is blocked already."""
        if situation.image.state == "retired":
            return []
        errors: list[BuildError] = []
        reasons: list[Reason] = []
        with _about_one_image(errors):
            reasons += as_reasons(self._machine_facts(situation.image).blockers)
        self._remember_unreachable(situation.image.name, errors)
        return [*reasons, *(reason_of(error, situation) for error in errors)]

    def _decide(self, situation: Situation) -> ImagePlan:
        image = situation.image
        if image.state == "retired":
            return retire(situation)
        base = self._base(image)
        facts = self._machine_facts(image)
        self.demands[image.name] = facts.demands
        decision = decide(situation, self.planner.machine_for(image), base, facts)
        self.traits[image.name] = decision.traits
        self.files.update((file.path, file.sha256) for file in decision.files)
        plan = decision.plan
        waits = self._waits_for(plan)
        if waits in self.excluded:
            message = f"it stands on image {waits}, which has to be built first and is excluded"
            reason = Reason("base-excluded", message, image.place("source"), help=f"don't exclude {waits}")
            return blocked(situation, [reason], base=waits)
        return plan

    def _waits_for(self, plan: ImagePlan) -> str | None:
        """The base that has to be built before an image can be, or None."""
        base = self.plans.get(plan.base) if plan.base else None
        if base is None or plan.action not in WORKING_ACTIONS or base.action not in WORKING_ACTIONS:
            return None
        return base.image if pinned_version(self.images[plan.image]) in (None, base.version) else None

    def _base(self, image: ImageSpec) -> Base | None:
        """What the image stands on. Raises BuildError when that can't be had."""
        name = base_of(image)
        if name is None:
            return None
        place = image.place("source")
        plan = self.plans.get(name)
        sold_as = self.traits[name].plan if name in self.traits else None
        if plan is None:
            raise BuildError(
                f"it stands on image {name}, which no spec describes",
                code="base-unknown",
                where=place,
                hint="write its spec, or correct the name",
            )
        pinned = pinned_version(image)
        if pinned is not None and pinned != plan.version:
            return Base(name, pinned, self._published_digest(name, pinned, image), sold_as)
        if plan.action == Action.BLOCKED:
            raise BuildError(f"it stands on image {name}, which is blocked", code="base-blocked", where=place)
        version = plan.version or plan.current_version
        if self.images[name].state == "retired" or version is None:
            raise BuildError(
                f"it stands on image {name}, which is retired",
                code="base-retired",
                where=place,
                hint=f"retire {image.name} too, or let it stand on another source",
            )
        return Base(name, version, plan.digest, sold_as)

    def _published_digest(self, name: str, version: str, image: ImageSpec) -> str:
        situation = self.situations.get(name)
        found: list[PublishedVersion] = []
        for _, published in situation.published if situation else ():
            found += (item for item in published.versions if item.version == version)
        for item in found:
            if item.manifest is not None:
                return item.manifest.digest
        raise BuildError(
            f"it stands on version {version} of image {name}, which "
            + (f"was {FOREIGN}" if found else "doesn't exist"),
            code="base-version-missing",
            where=image.place("source"),
            hint=f"`build show {name}` lists the versions",
        )

    def needed(self, chosen: set[str]) -> set[str]:
        """The bases that weren't selected but have to be built for images that were."""
        joined: set[str] = set()
        for name in reversed(self.plans):
            base = self._waits_for(self.plans[name])
            if base is not None and base not in chosen and (name in chosen or name in joined):
                joined.add(base)
        return joined
