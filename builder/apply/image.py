"""Carries out one image's part of a plan: its steps in order, from the deepest known checkpoint on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from builder import secrets
from builder.apply.manifests import make_manifest
from builder.apply.steplog import StepLog
from builder.destinations.base import Destination
from builder.errors import BuildError, PlanStale
from builder.events import StepCached, StepFailed, StepFinished, StepProgress, StepStarted, StepWouldRun, Warned
from builder.machines.base import Machine
from builder.model.artifact import Artifact, Manifest
from builder.model.kinds import KINDS
from builder.model.observed import VersionState
from builder.model.plan import Action, ImagePlan, PlannedStep
from builder.model.run import MachineLost, Run, StepContext
from builder.model.steps import Stage, Step


class ImageBuild:
    """One image of one run."""

    def __init__(
        self,
        item: ImagePlan,
        run: Run,
        *,
        machine: Machine,
        destinations: Sequence[Destination],
        find_base: Callable[[str, str], list[tuple[Artifact, Manifest]]],
        log: Path,
        dry_run: bool,
    ) -> None:
        self.item = item
        self.run = run
        self.machine = machine
        self.destinations = destinations
        self.dry_run = dry_run
        self.context = StepContext(
            run=run,
            session=None,
            steps=[planned.step for planned in item.steps],
            manifest=lambda: make_manifest(item, self.context),
            base=find_base,
            sbom=_sbom,
            secrets=self._secrets,
        )
        self._holders: list[tuple[Artifact, Manifest]] = []
        self._log = StepLog(log, run)

    def made_elsewhere(self) -> bool:
        """Look once more, now that the lease is ours: what the plan assumed must still hold.

        Returns True when another run has published exactly this meanwhile, so that nothing is left to do. Raises
        PlanStale when it published something else under our version, and BuildError for a destination that blocks.
        """
        targets = {
            str(planned.step.inputs["destination"])
            for planned in self.item.steps
            if planned.step.kind.startswith("publish.")
        }
        held = 0
        for destination in self.destinations:
            published = destination.observe(self.run.image)
            for blocker in published.blockers:
                raise BuildError(blocker.message, code=blocker.code, where=blocker.place, hint=blocker.hint)
            found = next((item for item in published.versions if item.version == self.item.version), None)
            if destination.name not in targets or found is None or not found.is_whole:
                continue
            if found.manifest is None or found.manifest.digest != self.item.digest:
                raise PlanStale(
                    f"{destination.name} has version {self.item.version} of {self.item.image} now: another run "
                    "published it after this plan was made",
                    code="plan-stale",
                    hint="plan again",
                )
            if found.state == VersionState.PROMOTED:
                held += 1
                self.context.locations.append(found.location)
        if held == 0 or held < len(targets):
            self.context.locations.clear()
            return False
        self.run.emit(Warned(image=self.item.image, message="another run has just made exactly this"))
        return True

    def carry_out(self) -> None:
        """Run what has to run. The machine is opened only when a step needs its disks."""
        with ExitStack() as stack:
            if not self.dry_run:
                stack.enter_context(self._log)
                publishes = self.item.action == Action.PUBLISH
                tests = any(planned.step.stage == Stage.TEST for planned in self.item.steps)
                if self.item.action in (Action.BUILD, Action.REBUILD, Action.ADOPT) or (publishes and tests):
                    self.context.session = stack.enter_context(self.machine.open(self.run))
                if publishes:
                    self._find_published()
            for _, same in groupby(self.item.steps, lambda planned: planned.step.kind.partition(".")[0]):
                self._carry_out_same(list(same))
            captured = self.item.action in (Action.BUILD, Action.REBUILD, Action.ADOPT)
            if captured and self.context.session is not None and self.context.artifact is not None:
                self.context.session.release(self.context.artifact)

    def _reuse(self, step: Step) -> None:
        """A known step. Only the deepest one's disks are taken; what stands before it need not exist any more."""
        self.run.emit(StepCached(image=self.item.image, index=step.index, title=step.title, stage=str(step.stage)))
        if self.context.session is None:
            return
        if step.stage == Stage.CAPTURE:
            self.context.artifact, self.context.inventory = self.context.session.adopt(step.digest)
        elif step.digest == self.item.start:
            self.context.session.start_at(step.digest)

    def _carry_out_same(self, same: Sequence[PlannedStep]) -> None:
        """Steps that do the same in several places (or a single step): what may run at once, then the others."""
        together = self._together(same)
        if together:
            self.run.check_stop()
            self._run_at_once(together)
        for planned in same:
            self.run.check_stop()
            if planned.action == "reuse":
                self._reuse(planned.step)
            elif planned.step not in together:
                self._run_step(planned.step, self.context)

    def _together(self, same: Sequence[PlannedStep]) -> list[Step]:
        """Those that may run at once: none where disks go through this host, nor where each place takes another's."""
        artifact = self.context.artifact
        here = artifact is not None and any(disk.path is not None for disk in artifact.disks)
        if here or self._holders or self.dry_run:
            return []
        found = [item.step for item in same if item.action == "run" and KINDS[item.step.kind].side_by_side]
        return found if len(found) > 1 else []

    def _run_at_once(self, steps: Sequence[Step]) -> None:
        """What one of them raises is raised when all have ended, so that nothing goes on behind a caller's back."""
        contexts = [replace(self.context, locations=list(self.context.locations)) for _ in steps]
        with ThreadPoolExecutor(len(steps), thread_name_prefix="step") as pool:
            ends = [pool.submit(self._run_step, *each, beside=True) for each in zip(steps, contexts, strict=True)]
        found = (location for context in contexts for location in context.locations)
        self.context.locations[:] = dict.fromkeys(found)
        for end in ends:
            end.result()

    def _run_step(self, step: Step, context: StepContext, *, beside: bool = False) -> None:
        if self.dry_run:
            self._check_files(step)
            self.run.emit(
                StepWouldRun(image=self.item.image, index=step.index, title=step.title, stage=str(step.stage))
            )
            return
        started = time.monotonic()
        facts = {"image": self.item.image, "index": step.index, "title": step.title, "stage": str(step.stage)}
        self.run.emit(StepStarted(**facts))  # type: ignore[arg-type]
        try:
            self._check_files(step)
            self._effects(step, context, beside=beside)
        except BuildError as error:
            error.where = error.where or step.place
            if error.code in OF_THE_STEP:
                error.message = f"step {step.index} “{step.title}” {error.message}"
            seconds = time.monotonic() - started
            self.run.emit(StepFailed(**facts, seconds=seconds, message=error.message))  # type: ignore[arg-type]
            if error.code == TEST_FAILED:
                self._reject()
            raise
        seconds = time.monotonic() - started
        self.context.timings[f"{step.index} {step.kind}"] = seconds
        self.run.emit(StepFinished(**facts, seconds=seconds))  # type: ignore[arg-type]

    def _reject(self) -> None:
        """Have the version marked as failed wherever it waits to be promoted. What failed is told, come what may."""
        for step in self.context.steps:
            stage, _, destination = step.kind.partition(".")
            if stage != PROMOTE:
                continue
            rejecting = replace(step, kind=f"{REJECT}.{destination}")
            try:
                KINDS[rejecting.kind].run(rejecting, self.context)
            except BuildError as error:
                message = f"{step.inputs['destination']}: the version could not be marked as failed: {error.message}"
                self.run.emit(Warned(image=self.item.image, message=message))

    def _effects(self, step: Step, context: StepContext, *, beside: bool) -> None:
        """Journal the step, and let its kind do it; steps of the machine's disks leave a checkpoint."""
        context.log = self._log.begin(step, beside=beside)
        context.progress = lambda current, total, unit, doing: self.run.emit(
            StepProgress(image=self.item.image, index=step.index, current=current, total=total, unit=unit, doing=doing)
        )
        if self._holders and step.kind.startswith("publish."):
            named = str(step.inputs["destination"])
            self._take_published(next(item.takes for item in self.destinations if item.name == named))
        with self.run.effect("step", index=step.index, kind=step.kind, digest=step.digest):
            if not step.checkpoint:
                KINDS[step.kind].run(step, context)
                return
            todo = [step]
            while todo:
                try:
                    self._change_disks(todo[0])
                except MachineLost as lost:
                    start = lost.recover()
                    self.run.emit(Warned(image=self.item.image, message=f"{lost.message}: it is made again"))
                    todo = self._steps_since(start, step)
                else:
                    todo.pop(0)

    def _change_disks(self, step: Step) -> None:
        """A step whose result is the machine's disks: all of it, or nothing."""
        session = self.context.session
        session.begin(step)
        try:
            KINDS[step.kind].run(step, self.context)
            self.run.check_stop()
            session.commit(step)
        except BaseException:
            session.abort()
            raise

    def _steps_since(self, start: str | None, last: Step) -> list[Step]:
        """The steps up to `last` that a machine has yet to do whose disks are at checkpoint `start`."""
        steps = [step for step in self.context.steps if step.checkpoint and step.index <= last.index]
        done = next((step.index for step in steps if step.digest == start), 0)
        return [step for step in steps if step.index > done]

    def _check_files(self, step: Step) -> None:
        """The files that a step reads are those that the plan was made from, or the plan is stale."""
        for file in step.files:
            path = self.run.image.root / file.path
            try:
                with path.open("rb") as opened:
                    found = hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                raise PlanStale(
                    f"{file.path} can't be read any more: {error.strerror}", code="plan-stale", hint="plan again"
                ) from error
            if found != file.sha256:
                raise PlanStale(
                    f"{file.path} changed after the plan was made (sha256 {file.sha256[:12]} → {found[:12]})",
                    code="plan-stale",
                    hint="plan again, and look at what changed",
                )

    def _secrets(self, references: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        values = {}
        elsewhere = partial(self.machine.secret, self.run.image)
        for name, reference in references.items():
            value = secrets.resolve(reference, root=self.run.image.root, elsewhere=elsewhere)
            self.run.redactor.add(value)
            values[name] = value
        return values

    def _find_published(self) -> None:
        """For destinations that lack a version: the artifacts and manifests of those that have it."""
        for destination in self.destinations:
            for version in destination.observe(self.run.image).versions:
                if version.version != self.item.version or not version.holds(self.item.digest):
                    continue
                assert version.manifest is not None
                if version.state == VersionState.HELD:
                    self.context.locations.append(version.location)
                self._holders.append((destination.artifact(version), version.manifest))
        self._take_published(lambda artifact: True)

    def _take_published(self, takes: Callable[[Artifact], bool]) -> None:
        """Take the first of them that a destination can be given."""
        for artifact, manifest in self._holders:
            if takes(artifact):
                self.context.artifact, self.context.manifest = artifact, partial(_same, manifest)
                return
        raise PlanStale(
            f"no destination holds version {self.item.version} of {self.item.image} any more that could be copied",
            code="plan-stale",
            hint="plan again",
        )


# Errors whose message says what a step did ("ended with exit code 7"), and needs the step as its subject
OF_THE_STEP = frozenset({"step-failed", "step-timeout"})
# The error of a version that is not what it should be; then what would have been promoted is rejected
TEST_FAILED = "test-failed"
PROMOTE, REJECT = "promote", "reject"


def _same(manifest: Manifest) -> Manifest:
    return manifest


def _sbom(manifest: Manifest) -> str:
    from builder.guest.sbom import sbom_json

    return sbom_json(manifest.inventory, name=manifest.image, version=manifest.version, timestamp=manifest.created)
