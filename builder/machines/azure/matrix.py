"""What can be built of what: each source, system, state and kind of image, and the rules that forbid some of them.

Pure: it knows the spec's words alone. `preflight` asks it for one image, docs/azure.md shows it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from builder.machines.azure.resolved import CONFIDENTIAL, STANDARD
from builder.machines.azure.rules import RULES, Rule
from builder.model.spec import KeyPath

# Sources whose disks are copied; all others are images that Azure makes a VM from
LOOSE = ("vm", "disk", "snapshot", "blob")
IMAGES = ("marketplace", "communityGallery", "sharedGallery", "gallery", "managedImage", "image")
LOCAL = ("file", "bootstrap")
SOURCES = (*IMAGES, *LOOSE, *LOCAL)
# Sources that may hold a machine of its own, with an identity
MAY_BE_SPECIALIZED = ("communityGallery", "sharedGallery", "gallery", "image", *LOOSE)
DESTINATIONS = ("gallery", "managedImage", "blob")


@dataclass(frozen=True)
class Case:
    """One combination. `source_generalized`, `source_data`: what the source is, and whether it brings data disks.

    `generalize` and `capture` are what the spec makes of it; `destination` is "" where none is asked about.
    """

    source: str
    source_generalized: bool = True
    source_data: bool = False
    family: str = "linux"
    generation: int = 2
    architecture: str = "x64"
    security: str = STANDARD
    controller: str = "SCSI"
    generalize: bool = True
    capture: str = "vmImage"
    destination: str = ""

    @property
    def loose_generalized(self) -> bool:
        """Whether generalized disks come without an image around them."""
        return self.source in LOOSE and self.source_generalized


@dataclass(frozen=True)
class Forbidden:
    """A rule of the matrix: when it forbids a case, and where in the YAML the cause stands ("machine" is its path)."""

    rule: Rule
    when: Callable[[Case], bool]
    path: KeyPath


def _row(code: str, when: Callable[[Case], bool], *path: str) -> Forbidden:
    return Forbidden(RULES[code], when, path)


FORBIDDEN = (
    _row("source-local", lambda case: case.source in LOCAL, "source"),
    _row("generation-arm64", lambda case: case.architecture == "arm64" and case.generation == 1, "os", "generation"),
    _row("generation-security", lambda case: case.security != STANDARD and case.generation == 1, "machine", "security"),
    _row("generation-nvme", lambda case: case.controller == "NVMe" and case.generation == 1, "machine",
         "diskController"),
    _row("confidential-arm64", lambda case: case.security == CONFIDENTIAL and case.architecture == "arm64", "machine",
         "security"),
    _row("managed-source-security", lambda case: case.source == "managedImage" and case.security != STANDARD, "machine",
         "security"),
    _row("managed-source-arm64", lambda case: case.source == "managedImage" and case.architecture == "arm64", "source"),
    _row("blob-confidential", lambda case: case.source == "blob" and case.security == CONFIDENTIAL, "machine",
         "security"),
    _row("generalized-disks", lambda case: case.loose_generalized
         and (case.security != STANDARD or case.architecture == "arm64"), "source"),
    _row("os-image-data-disks", lambda case: case.capture == "osImage" and case.source_data, "capture"),
    _row("managed-image-specialized", lambda case: case.destination == "managedImage" and not case.generalize,
         "publish"),
    _row("managed-image-arm64", lambda case: case.destination == "managedImage" and case.architecture == "arm64",
         "publish"),
    _row("managed-image-security", lambda case: case.destination == "managedImage" and case.security != STANDARD,
         "publish"),
)  # fmt: skip


def forbidden(case: Case) -> Iterator[Forbidden]:
    """The rules that forbid a case."""
    return (row for row in FORBIDDEN if row.when(case))
