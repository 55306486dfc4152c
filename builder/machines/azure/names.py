"""Names of what a build makes in Azure. They follow from run and image, so that a resend finds what is there."""

from __future__ import annotations

import hashlib
import re

from builder.azure.ids import ResourceId, compute, group_id, network
from builder.azure.tags import CHECKPOINTS

# Azure's limits: 90 characters for a resource group, 80 for most resources, 64 and 15 for a computer's name
LONGEST_GROUP = 90
LONGEST = 80
# How much of an image's name and of a run's id people get to read in the name of a group; the mark tells them apart
SHOWN_IMAGE, SHOWN_RUN = 40, 24
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")


def plain(text: str, longest: int) -> str:
    """Text as part of a name: letters, digits and single dashes."""
    return _NOT_PLAIN.sub("-", text).strip("-")[:longest].strip("-")


def short(*parts: str) -> str:
    """Ten letters that stand for the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def kept_group(location: str, given: str) -> str:
    """The resource group of checkpoints and captured disks, which outlive their runs.

    The group that the spec gives, else one for all projects in a location: checkpoints are found by digest, whoever
    made them.
    """
    return given or f"{CHECKPOINTS}-{location}"


class Names:
    """The names of one run's resources for one image."""

    def __init__(self, subscription: str, run: str, image: str, given_group: str = "") -> None:
        self.subscription = subscription
        self.given_group = given_group
        self._mark = short(run, image)
        # In a group of somebody else's, names must tell whose things they are; in the run's own, its name tells
        self._prefix = f"build-{self._mark}-" if given_group else "build-"
        own = f"build-{plain(image, SHOWN_IMAGE)}-{plain(run, SHOWN_RUN)}-{self._mark}"
        self.group = given_group or own[:LONGEST_GROUP]

    @property
    def group_id(self) -> ResourceId:
        """The resource group of the run."""
        return group_id(self.subscription, self.group)

    def compute(self, kind: str, role: str) -> ResourceId:
        """The id of something of Microsoft.Compute: `compute("disks", "os")`."""
        return compute(self.subscription, self.group, kind, f"{self._prefix}{role}"[:LONGEST])

    def network(self, kind: str, role: str) -> ResourceId:
        """The id of something of Microsoft.Network."""
        return network(self.subscription, self.group, kind, f"{self._prefix}{role}"[:LONGEST])

    def kept(self, location: str, image: str, what: str, digest: str, disk: str) -> ResourceId:
        """The id of a snapshot that outlives the run. `what` is "step" or "disk", `disk` "os" or "data-3"."""
        name = f"{plain(image, 30)}-{what}-{digest.removeprefix('sha256:')[:12]}-{self._mark}-{disk}"
        return compute(self.subscription, kept_group(location, self.given_group), "snapshots", name[:LONGEST])

    def computer(self, role: str) -> str:
        """A computer's name: Windows takes 15 letters."""
        return f"b{self._mark[:8]}{plain(role, 6)}"[:15].rstrip("-")


def disk_word(lun: int | None) -> str:
    """What a disk is called in names and tags: "os", "data-3"."""
    return "os" if lun is None else f"data-{lun}"


def disk_lun(word: str) -> int | None:
    """The LUN of a disk's word. Raises ValueError for a word that is none."""
    return None if word == "os" else int(word.removeprefix("data-"))
