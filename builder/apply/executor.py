"""Carries a plan out: image by image, step by step, with a journal, leases, and an end that leaves nothing behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event as StopEvent

from builder import __version__, secrets
from builder.apply.image import ImageBuild
from builder.destinations.base import Destination
from builder.errors import BuildError, Interrupted, SomeImagesFailed
from builder.events import (
    ImageFailed,
    ImageFinished,
    ImageStarted,
    Listener,
    LockWait,
    RunFinished,
    RunStarted,
    Warned,
)
from builder.machines.base import Machine
from builder.model.artifact import Artifact, Manifest
from builder.model.observed import VersionState
from builder.model.plan import Action, ImagePlan, Plan
from builder.model.run import Run
from builder.model.spec import ImageDocument, ImageSpec
from builder.model.version import NEUTRAL
from builder.records.journal import Journal, NoJournal
from builder.records.leases import lease
from builder.records.store import Store
from builder.secrets import Redactor


@dataclass(frozen=True)
class Tools:
    """How the executor reaches the floors below: where machines and destinations come from, and what listens."""

    store: Store
    machine_for: Callable[[ImageSpec], Machine]
    destinations_for: Callable[[ImageSpec], Sequence[Destination]]
    listener: Listener
    redactor: Redactor = field(default_factory=Redactor)
    stop: StopEvent = field(default_factory=StopEvent)


# The error of a host where only root can carry a plan out
NEEDS_ROOT = "needs-root"
# Each image waits for its machine nearly all the time
DEFAULT_SIDE_BY_SIDE = 16


@dataclass(frozen=True)
class Options:
    """How an apply behaves. `lock_timeout` in seconds; at most `side_by_side` images are made at once."""

    lock_timeout: float = 0.0
    fail_fast: bool = False
    dry_run: bool = False
    side_by_side: int = DEFAULT_SIDE_BY_SIDE


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    image: str
    action: Action
    error: BuildError | None = None
    version: str = ""
    locations: tuple[str, ...] = ()


def new_run_id() -> str:
    """A run's name: sorts by time, unique without coordination."""
    return f"{datetime.now(UTC).strftime('%Y%m%dt%H%M%S')}-{uuid.uuid4().hex[:6]}"


class Executor:
    """Applies one plan once."""

    def __init__(self, tools: Tools, documents: Sequence[ImageDocument], options: Options) -> None:
        self.tools = tools
        self.options = options
        self.run_id = new_run_id()
        self.folder = tools.store.run_folder(self.run_id)
        self._documents = {document.name: document for document in documents}
        self._outcomes: dict[str, Outcome] = {}

    def preflight(self, plan: Plan) -> None:
        """Raise BuildError for what would stop the run on this host, before anything is asked or made.

        A dry run changes nothing, so it needs no root: that is a warning then.
        """
        told: set[str] = set()
        for item in self._to_do(plan):
            image = self._image(item)
            todo = [planned.step for planned in item.steps if planned.action == "run"]
            machine = self.tools.machine_for(image)
            if any(step.checkpoint for step in todo):
                try:
                    machine.preflight(image)
                except BuildError as error:
                    if not self.options.dry_run or error.code != NEEDS_ROOT:
                        raise
                    if error.message not in told:
                        self.tools.listener(Warned(message=error.message, code=error.code))
                        told.add(error.message)
            elsewhere = partial(machine.secret, image)
            for step in todo:
                for reference in step.inputs.get("secrets", {}).values():
                    secrets.check(reference, root=image.root, elsewhere=elsewhere, where=step.place)

    def apply(self, plan: Plan) -> list[Outcome]:
        """Carry the plan out. Raises SomeImagesFailed, or the error of the only image, when work failed."""
        started = time.monotonic()
        todo = self._to_do(plan)
        emit = self.tools.listener
        with ExitStack() as stack:
            journal = self._begin(stack)
            names = tuple(item.image for item in todo)
            emit(RunStarted(run=self.run_id, plan=plan.id, images=names))
            journal.write("run.begin", run=self.run_id, plan=plan.id, images=names, tool=__version__)
            if not self.options.dry_run:
                self._sweep(journal)
            self._carry_out_all(todo, journal)
            failed = [outcome for outcome in self._outcomes.values() if outcome.error is not None]
            done = len(self._outcomes) - len(failed)
            names_failed = [outcome.image for outcome in failed]
            if failed and failed[0].error is not None:
                journal.write_failure(failed[0].error, "run.end", done=done, failed=names_failed)
            else:
                journal.write("run.end", done=done, failed=names_failed)
            emit(
                RunFinished(
                    run=self.run_id,
                    dry_run=self.options.dry_run,
                    done=done,
                    unchanged=sum(item.action == Action.NONE for item in plan.images),
                    failed=len(failed),
                    seconds=time.monotonic() - started,
                )
            )
        self._raise(failed, len(todo))
        if not self.options.dry_run:
            self.tools.store.mark_applied(plan.id, self.run_id)
        return list(self._outcomes.values())

    def _carry_out_all(self, todo: Sequence[ImagePlan], journal: Journal) -> None:
        """All images, bases first; those whose machines allow it side by side, the others one after the other."""
        made: dict[str, Future[None]] = {}

        def carry_out(item: ImagePlan) -> None:
            base = made.get(item.base or "")
            if base is not None:
                base.result()
            if not self._halted():
                self._outcomes[item.image] = self._carry_out(item, journal)

        # Work begins in the order of `todo`, so a base that is waited for has always begun
        with ThreadPoolExecutor(self.options.side_by_side, thread_name_prefix="image") as pool:
            for item in todo:
                if self._side_by_side(item):
                    made[item.image] = pool.submit(carry_out, item)
                else:
                    carry_out(item)
        for future in made.values():
            future.result()

    def _side_by_side(self, item: ImagePlan) -> bool:
        return self.tools.machine_for(self._image(item)).side_by_side

    def _halted(self) -> bool:
        """Whether no more images are begun: somebody interrupted, or the first failure was to be the last."""
        errors = [outcome.error for outcome in list(self._outcomes.values()) if outcome.error is not None]
        return any(self.options.fail_fast or isinstance(error, Interrupted) for error in errors)

    def _begin(self, stack: ExitStack) -> Journal:
        """Mark the run as alive, and open its journal; a dry run leaves no trace."""
        if self.options.dry_run:
            return NoJournal()
        stack.enter_context(self.tools.store.alive(self.run_id))
        return stack.enter_context(Journal(self.folder, self.tools.redactor))

    def _sweep(self, journal: Journal) -> None:
        """Remove what dead runs left half made. What can't be removed is in nobody's way, so the run goes on."""
        gone = self.tools.store.sweep(
            lambda path, error: journal.write("sweep.failed", path=str(path), error=str(error))
        )
        if gone:
            journal.write("sweep", removed=[entry.name for entry in gone])

    @staticmethod
    def _raise(failed: Sequence[Outcome], total: int) -> None:
        for outcome in failed:
            if isinstance(outcome.error, Interrupted):
                raise outcome.error
        if failed and total == 1:
            assert failed[0].error is not None
            raise failed[0].error
        if failed:
            names = ", ".join(outcome.image for outcome in failed)
            failures = [(outcome.image, outcome.error) for outcome in failed if outcome.error is not None]
            raise SomeImagesFailed(f"{len(failed)} of {total} images failed: {names}", failures)

    @staticmethod
    def _to_do(plan: Plan) -> list[ImagePlan]:
        return [item for item in plan.images if item.action not in (Action.NONE, Action.BLOCKED)]

    def _image(self, item: ImagePlan) -> ImageSpec:
        return self._documents[item.image].render(item.version or NEUTRAL)

    def _carry_out(self, item: ImagePlan, journal: Journal) -> Outcome:
        """One image, from its lease to its last step. Its failure is an outcome, so that other images go on."""
        started = time.monotonic()
        emit = self.tools.listener
        log = self.folder / f"{item.image}.log"
        emit(ImageStarted(image=item.image, action=str(item.action), steps=len(item.steps)))
        try:
            journal.write("image.begin", image=item.image, action=str(item.action), version=item.version)
            build = self._build(item, journal, log)
            locations = tuple(build.context.locations)
            journal.write("image.end", image=item.image, version=item.version, locations=locations)
        except BuildError as error:
            return self._failed(item, error, journal, log, time.monotonic() - started)
        except OSError as error:
            wrapped = BuildError(f"{error.filename or 'the system'}: {error.strerror}", code="system-error")
            wrapped.__cause__ = error
            return self._failed(item, wrapped, journal, log, time.monotonic() - started)
        emit(
            ImageFinished(
                image=item.image,
                action=str(item.action),
                version=item.version or "",
                where=locations,
                seconds=time.monotonic() - started,
            )
        )
        return Outcome(item.image, item.action, None, item.version or "", locations)

    def _failed(self, item: ImagePlan, error: BuildError, journal: Journal, log: Path, seconds: float) -> Outcome:
        redact = self.tools.redactor.text
        error.message = redact(error.message)
        error.detail = redact(error.detail) if error.detail else None
        journal.write_failure(error, "image.failed", image=item.image, code=error.code, error=error.message)
        self.tools.listener(
            ImageFailed(
                image=item.image,
                message=error.message,
                code=error.code,
                place=str(error.where or ""),
                hint=error.hint or "",
                detail=error.detail or "",
                log=str(log) if log.exists() else "",
                seconds=seconds,
            )
        )
        return Outcome(item.image, item.action, error)

    def _build(self, item: ImagePlan, journal: Journal, log: Path) -> ImageBuild:
        base = self._outcomes.get(item.base or "")
        if base is not None and base.error is not None:
            raise BuildError(
                f"its base {item.base} failed", code="base-failed", where=item.place, hint=f"mend {item.base} first"
            )
        image = self._image(item)
        run = Run(
            id=self.run_id,
            image=image,
            folder=self.folder,
            listener=self.tools.listener,
            redactor=self.tools.redactor,
            effect=lambda name, **facts: journal.effect(name, image=item.image, **facts),
            stop=self.tools.stop,
            digest=item.digest,
        )
        run.check_stop()
        build = ImageBuild(
            item,
            run,
            machine=self.tools.machine_for(image),
            destinations=self._destinations(item.image),
            find_base=self._find_base,
            log=log,
            dry_run=self.options.dry_run,
        )
        with self._lease(item):
            if not build.made_elsewhere():
                build.carry_out()
        return build

    def _destinations(self, name: str) -> Sequence[Destination]:
        """An image's destinations, named as in its plan: as if the spec had no version yet."""
        return self.tools.destinations_for(self._documents[name].render(NEUTRAL))

    def _lease(self, item: ImagePlan) -> AbstractContextManager[None]:
        if self.options.dry_run:
            return nullcontext()
        return lease(
            self.tools.store.locks / f"{item.image}.lock",
            what=f"image {item.image}",
            run=self.run_id,
            timeout=self.options.lock_timeout,
            on_wait=lambda holder: self.tools.listener(LockWait(image=item.image, holder=holder)),
            stop=self.tools.stop,
        )

    def _find_base(self, name: str, digest: str) -> list[tuple[Artifact, Manifest]]:
        """The published version of another image of this project that has a digest, at each destination that has it."""
        image = self._documents[name].render(NEUTRAL)
        found = []
        for destination in self._destinations(name):
            for version in reversed(destination.observe(image).versions):
                manifest = version.manifest
                if manifest is not None and manifest.digest == digest and version.state == VersionState.PROMOTED:
                    found.append((destination.artifact(version), manifest))
                    break
        if not found:
            raise BuildError(
                f"no version of {name} with the planned digest is published",
                code="base-missing",
                hint=f"apply {name} first",
            )
        return found
