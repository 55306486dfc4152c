"""What an image is: one document of the repository, parsed, rendered and checked. Made by `builder.spec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builder.errors import Place

MIB = 1024 * 1024
GIB = 1024 * MIB

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Places:
    """Where every node of a document stands. Keyed by the path of keys and indexes from the document's root."""

    by_path: Mapping[KeyPath, Place]

    def of(self, *path: str | int) -> Place:
        """The place of a node, or of its nearest ancestor that the author wrote."""
        while path not in self.by_path and path:
            path = path[:-1]
        return self.by_path[path]


@dataclass(frozen=True)
class Choice:
    """A one-key map of the spec, such as `source: {marketplace: {...}}`: the branch's name and what it holds.

    `path` is where it stands in the document, for `ImageSpec.place`.
    """

    kind: str
    values: Mapping[str, Any]
    path: KeyPath = ()


@dataclass(frozen=True)
class OsSpec:
    """What operating system the image holds."""

    family: Literal["linux", "windows"]
    distribution: str | None = None
    release: str | None = None
    architecture: Literal["x64", "arm64"] = "x64"
    generation: Literal[1, 2] = 2


@dataclass(frozen=True)
class DataDiskSpec:
    """A data disk. `size` in bytes. `filesystem` None leaves the disk blank; `mount` None leaves it unmounted."""

    lun: int
    size: int
    filesystem: Literal["ext4", "xfs", "btrfs"] | None = None
    mount: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class DisksSpec:
    """The machine's disks. `os_size` in bytes; None takes the source's."""

    os_size: int | None = None
    data: tuple[DataDiskSpec, ...] = ()


@dataclass(frozen=True)
class GeneralizeSpec:
    """How the machine's identity is taken out.

    `skip` names operations of the default set that are left out, `add` others that are done too; `keep` holds globs of
    paths in the image that no operation touches.
    """

    keep: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    add: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetainSpec:
    """How many versions stay: the newest `versions`, and all younger than `days`. None sets no such limit."""

    versions: int | None = None
    days: int | None = None


@dataclass(frozen=True)
class PublishSpec:
    """Where versions go and what they are called. `version` is `auto`, a pattern such as `1.4.x`, or exact."""

    version: str = "auto"
    retain: RetainSpec | None = None
    to: tuple[Choice, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSpec:
    """One image, with every value rendered and every default filled in.

    `root` is the project's root on this host, `file` the spec's path below it; files that steps name are relative to
    the spec's own folder (`folder`), what is written (directories) to `root`.
    """

    name: str
    os: OsSpec
    source: Choice
    machine: Choice
    disks: DisksSpec
    prepare: tuple[Choice, ...]
    generalize: GeneralizeSpec | None
    capture: Literal["osImage", "vmImage"]
    test: tuple[Choice, ...]
    publish: PublishSpec
    root: Path
    file: str
    places: Places
    description: str = ""
    state: Literal["active", "retired"] = "active"
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that holds the spec."""
        return (self.root / self.file).parent

    def place(self, *path: str | int) -> Place:
        """Where a node of this image's document stands."""
        return self.places.of(*path)

    def local_path(self, name: str) -> Path:
        """The file of the repository that a step names."""
        return self.folder / name


@dataclass(frozen=True)
class ImageDocument:
    """A valid spec that can be rendered once its version is known (`{{ image.version }}` may be used anywhere)."""

    name: str
    place: Place
    render: Callable[[str], ImageSpec]
