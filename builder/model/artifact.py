"""What capture yields, and what is recorded with a published version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import BuildError

MANIFEST_FORMAT = "1.0"
# An input of the first step: the version that `--rebuild` was asked for. It makes every digest new, so that nothing is
# taken from checkpoints, and stays with the image (through its manifest) until it is rebuilt on request again.
REBUILD_INPUT = "rebuild"


@dataclass(frozen=True)
class CapturedDisk:
    """One disk of an artifact. `lun` is None for the OS disk; `size` is the virtual size in bytes.

    `digest` covers the content (not how it is stored): equal disks have equal digests; "" where nobody has read it.
    `data_bytes` is what the disk really holds, 0 where that is not known. The disk is the fixed VHD at `path` on this
    host, or else a `resource` of the cloud, by its id.
    """

    name: str
    lun: int | None
    size: int
    digest: str
    data_bytes: int
    path: Path | None = None
    resource: str = ""

    @property
    def file(self) -> Path:
        """The fixed VHD. Raises BuildError for a disk that is not on this host."""
        if self.path is None:
            raise BuildError(
                f"disk {self.name} is not a file on this host: it is {self.resource or 'gone'}",
                code="disk-elsewhere",
                hint="publish it where it stands, or build the image with machine local",
            )
        return self.path


@dataclass(frozen=True)
class Artifact:
    """The captured disks of one image, the OS disk first.

    `folder` holds the files of one that is on this host. `resource` is the id of one that stands in the cloud as a
    whole (a generalized VM, a version of a gallery); its disks may have ids of their own. `regions` are those of the
    cloud in which it can be had, where it can be had in several.
    """

    image: str
    digest: str
    generalized: bool
    disks: tuple[CapturedDisk, ...]
    folder: Path | None = None
    resource: str = ""
    regions: tuple[str, ...] = ()

    @property
    def has_disks(self) -> bool:
        """Whether each disk can be had by itself: a version of a gallery is given out as a whole only."""
        return all(disk.path is not None or disk.resource not in ("", self.resource) for disk in self.disks)


@dataclass(frozen=True)
class Package:
    """An installed package. `type` is its purl type (deb, rpm, apk), or windows, hotfix or feature."""

    name: str
    version: str
    architecture: str
    type: str


@dataclass(frozen=True)
class InventoryFile:
    """A file that the spec put there."""

    path: str
    sha256: str
    mode: str
    owner: str


@dataclass(frozen=True)
class User:
    """An account of the image."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class Inventory:
    """What the image holds. Read from the captured disk, not from what was asked for."""

    os: Mapping[str, str] = field(default_factory=dict)
    kernel: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    files: tuple[InventoryFile, ...] = ()
    users: tuple[User, ...] = ()
    services: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The inventory as JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Inventory:
        """The inventory that `as_dict` wrote."""
        return Inventory(
            os=data["os"],
            kernel=tuple(data["kernel"]),
            packages=tuple(Package(**item) for item in data["packages"]),
            files=tuple(InventoryFile(**item) for item in data["files"]),
            users=tuple(User(**item) for item in data["users"]),
            services=tuple(data["services"]),
        )


@dataclass(frozen=True)
class ManifestDisk:
    """A disk of a version, as its manifest tells it. `file` is relative to the version; sizes in bytes."""

    file: str
    lun: int | None
    size: int
    digest: str
    data_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The record that every version carries. `digest` is what plan compares: equal digest, nothing to do.

    `steps` holds, for each step, its kind, title, inputs, files and digest as they were, so that a later plan can say
    which input changed. `tests` are the results; times are RFC 3339 in UTC and durations in seconds.
    """

    image: str
    version: str
    digest: str
    created: str
    tool: str
    run: str
    generalized: bool
    kind: str
    architecture: str
    generation: int
    source: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    disks: tuple[ManifestDisk, ...]
    recorded_inventory: Mapping[str, Any]
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[Mapping[str, Any], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    format_version: str = MANIFEST_FORMAT

    @property
    def inventory(self) -> Inventory:
        """What the image holds. Made when asked for: a plan reads a thousand manifests and looks at few inventories."""
        return Inventory.from_dict(self.recorded_inventory)

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON (`schemas/manifest.schema.json`)."""
        return {("inventory" if name == "recorded_inventory" else name): value for name, value in asdict(self).items()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Manifest:
        """The manifest that `as_dict` wrote. Raises BuildError for a format that is newer than this tool."""
        major = str(data.get("format_version", "")).split(".")[0]
        if major != MANIFEST_FORMAT.split(".", maxsplit=1)[0]:
            raise BuildError(
                f"the manifest has format {data.get('format_version')!r}; this tool reads {MANIFEST_FORMAT}",
                code="manifest-format",
                hint="use the version of build that wrote it, or a newer one",
            )
        known = {name: data[name] for name in Manifest.__dataclass_fields__ if name in data}
        return Manifest(
            **{
                **known,
                "steps": tuple(data["steps"]),
                "disks": tuple(ManifestDisk(**disk) for disk in data["disks"]),
                "recorded_inventory": data["inventory"],
                "tests": tuple(data.get("tests", ())),
            }
        )
