"""Steps are data: a plan is a list of them. What is done for a step is code: its kind, in `builder.model.kinds`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from builder.errors import Place


class Stage(StrEnum):
    """The stages, in the order in which they run."""

    PREPARE = "prepare"
    GENERALIZE = "generalize"
    CAPTURE = "capture"
    TEST = "test"
    PUBLISH = "publish"


class Preview(StrEnum):
    """How much of a step's effect the plan can show."""

    EXACT = "exact"
    PREDICTED = "predicted"
    OPAQUE = "opaque"


@dataclass(frozen=True)
class FileInput:
    """A file of the repository that a step reads. `path` is relative to the project root; `size` in bytes.

    `text` holds the content of small text files, so that a later plan can show which lines changed.
    """

    path: str
    sha256: str
    size: int
    text: str | None = None


@dataclass(frozen=True)
class Change:
    """One thing in the world that a step creates, changes or deletes; `kind` such as "package", "file", "version"."""

    action: str
    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Step:
    """One unit of work.

    `inputs` is JSON: everything that the kind needs, with secrets as references. `digest` covers the kind, its
    implementation version, `inputs`, the bytes of `files`, and the digest of the step before; it is empty until the
    planner has chained the steps. `image` is the name of the image; `index` counts its steps from 1. Steps whose
    result is the machine's disks (`checkpoint` True) leave a checkpoint under their digest, where the machine keeps
    them all, or else where `kept` says so.
    """

    stage: Stage
    kind: str
    title: str
    inputs: Mapping[str, Any]
    preview: Preview = Preview.EXACT
    changes: tuple[Change, ...] = ()
    files: tuple[FileInput, ...] = ()
    place: Place | None = None
    places: Mapping[str, Place] = field(default_factory=dict)
    timeout: float | None = None
    checkpoint: bool = False
    kept: bool = True
    identity: bool = True
    index: int = 0
    digest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The step as JSON."""
        from dataclasses import asdict

        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Step:
        """The step that `as_dict` wrote."""
        return Step(
            **{
                **data,
                "stage": Stage(data["stage"]),
                "preview": Preview(data["preview"]),
                "changes": tuple(Change(**change) for change in data["changes"]),
                "files": tuple(FileInput(**file) for file in data["files"]),
                "place": Place(**data["place"]) if data["place"] else None,
                "places": {name: Place(**place) for name, place in data["places"].items()},
            }
        )
