"""The plan: what will be done, why, and everything that was resolved to decide it. Rendered once for each medium."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from builder.errors import Place
from builder.model.steps import Change, Step

PLAN_FORMAT = "1.0"


class Action(StrEnum):
    """What happens to an image."""

    NONE = "none"
    BUILD = "build"
    REBUILD = "rebuild"
    PUBLISH = "publish"
    ADOPT = "adopt"
    RETIRE = "retire"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Reason:
    """Why an image is not left alone. `before` and `after` are for people; `diff` are lines of a unified diff."""

    code: str
    message: str
    place: Place | None = None
    before: str | None = None
    after: str | None = None
    diff: tuple[str, ...] = ()
    help: str | None = None


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan and whether its checkpoint is known (`reuse`), or it will `run`."""

    step: Step
    action: str


@dataclass(frozen=True)
class ImagePlan:
    """What the plan does with one image. `digest` identifies the artifact; `version` is what will be published.

    `base` names the image that this one stands on. `notes` say what is left as it is and somebody may have expected
    otherwise, or has to see to.
    """

    image: str
    file: str
    place: Place
    action: Action
    reasons: tuple[Reason, ...]
    digest: str
    version: str | None
    current_version: str | None
    steps: tuple[PlannedStep, ...]
    destinations: tuple[str, ...] = ()
    base: str | None = None
    retires: tuple[str, ...] = ()
    notes: tuple[Reason, ...] = ()

    @property
    def is_retired(self) -> bool:
        """Whether the image itself goes with all its versions, not only those that retention lets go."""
        return self.action == Action.RETIRE and not self.digest

    @property
    def start(self) -> str | None:
        """The digest of the deepest known checkpoint, or None."""
        reused = [item.step.digest for item in self.steps if item.action == "reuse"]
        return reused[-1] if reused else None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes of the steps that will run."""
        return tuple(change for item in self.steps if item.action == "run" for change in item.step.changes)

    @property
    def opaque_steps(self) -> int:
        """How many steps will run whose effect can't be shown before."""
        return sum(item.action == "run" and item.step.preview == "opaque" for item in self.steps)


@dataclass(frozen=True)
class Plan:
    """A whole plan. `id` is new for each plan; `created` and `expires` are RFC 3339 in UTC.

    `digest` covers what will be done and why, but no times and no id: equal digests are equal plans. `inputs` are the
    sha256 of every file that was read, by path below the project root; `observed` the newest version and digest of
    each image at each destination; both are checked again before the plan is applied.
    """

    id: str
    created: str
    expires: str
    tool: str
    root: str
    images: tuple[ImagePlan, ...]
    inputs: Mapping[str, str]
    observed: Mapping[str, Any]
    selection: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    format_version: str = PLAN_FORMAT

    @property
    def has_changes(self) -> bool:
        """Whether applying would do anything. The exit code, the summary and the labels all use this."""
        return any(image.action not in (Action.NONE, Action.BLOCKED) for image in self.images)

    @property
    def blocked(self) -> tuple[ImagePlan, ...]:
        """The images that can't be built now."""
        return tuple(image for image in self.images if image.action == Action.BLOCKED)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data, for the saved plan."""
        return asdict(self)
