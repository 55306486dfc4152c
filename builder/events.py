"""What the engine tells its listeners. The engine never prints: terminals, logs and JSON streams are listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. `image` is empty for events of the whole run."""

    type: ClassVar[str] = "event"
    image: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON: its type and its fields."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """An apply begins. `images` are the names that will be worked on, in order."""

    type: ClassVar[str] = "run_start"
    run: str
    plan: str
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImageStarted(Event):
    """Work on one image begins. `steps` counts all its steps, those from checkpoints included."""

    type: ClassVar[str] = "image_start"
    action: str
    steps: int


@dataclass(frozen=True, kw_only=True)
class StepStarted(Event):
    """A step begins; `index` counts from 1."""

    type: ClassVar[str] = "step_start"
    index: int
    title: str
    stage: str


@dataclass(frozen=True, kw_only=True)
class StepCached(Event):
    """A step's result was known: its checkpoint stands in for it."""

    type: ClassVar[str] = "step_cached"
    index: int
    title: str
    stage: str


@dataclass(frozen=True, kw_only=True)
class StepOutput(Event):
    """One line that a step printed, already redacted."""

    type: ClassVar[str] = "log"
    index: int
    line: str


@dataclass(frozen=True, kw_only=True)
class StepProgress(Event):
    """How far a step is. `unit` is a plural noun ("bytes", "files"); `total` is None when unknown."""

    type: ClassVar[str] = "step_progress"
    index: int
    current: int
    total: int | None
    unit: str
    doing: str = ""


@dataclass(frozen=True, kw_only=True)
class StepWouldRun(Event):
    """A dry run came to a step that an apply would carry out."""

    type: ClassVar[str] = "step_would_run"
    index: int
    title: str
    stage: str


@dataclass(frozen=True, kw_only=True)
class StepFinished(Event):
    """A step ended well, after `seconds`."""

    type: ClassVar[str] = "step_complete"
    index: int
    title: str
    stage: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """A step failed, after `seconds`."""

    type: ClassVar[str] = "step_failed"
    index: int
    title: str
    stage: str
    seconds: float
    message: str


@dataclass(frozen=True, kw_only=True)
class ImageFinished(Event):
    """An image is done. `version` and `where` are empty when nothing was published."""

    type: ClassVar[str] = "image_complete"
    action: str
    version: str
    where: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ImageFailed(Event):
    """An image failed; what the user needs to go on is in the fields."""

    type: ClassVar[str] = "image_failed"
    message: str
    code: str
    place: str
    hint: str
    detail: str
    log: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LockWait(Event):
    """Another run holds the image; we wait for it."""

    type: ClassVar[str] = "lock_wait"
    holder: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something a person should know, that doesn't stop the run."""

    type: ClassVar[str] = "warning"
    message: str
    code: str = "warning"


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """An apply ended, or a dry run of one."""

    type: ClassVar[str] = "summary"
    dry_run: bool = False
    run: str
    done: int
    unchanged: int
    failed: int
    seconds: float


Listener = Callable[[Event], None]
