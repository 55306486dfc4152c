"""An image under check, and what it asks of Azure."""

from __future__ import annotations

from dataclasses import dataclass, field

from builder.errors import Place
from builder.guest.kinds import prepare_step
from builder.machines.azure import sizes
from builder.machines.azure.matrix import LOOSE, Case
from builder.machines.azure.reading import Reader
from builder.machines.azure.resolved import MOST_FILES, ResolvedMachine, ResolvedSource
from builder.model.spec import ImageSpec
from builder.model.steps import Step


def large_steps(image: ImageSpec) -> list[Step]:
    """The steps whose files are too large for run commands. Raises BuildError for files that can't be read."""
    steps = [prepare_step(choice, image) for choice in image.prepare]
    return [step for step in steps if sum(file.size for file in step.files) > MOST_FILES]


def tests_at_once(image: ImageSpec) -> int:
    """How many VMs the tests make: one, and another to compare its identity with."""
    return 2 if any(test.kind == "identity" for test in image.test) else int(bool(image.test))


@dataclass(frozen=True)
class Checked:
    """One image under check. `source` is None for a base of this project and for one that can't be had."""

    image: ImageSpec
    machine: ResolvedMachine
    source: ResolvedSource | None
    reads: Reader = field(repr=False)

    def place(self, *keys: str | int) -> Place:
        """Where a key of `machine.azure` stands in the YAML."""
        return self.image.place(*self.image.machine.path, *keys)

    @property
    def needs(self) -> sizes.Needs:
        """What the VM needs of its size."""
        brought = len(self.source.data_disks) if self.source is not None else 0
        # Their files come on one
        cargo = 1 if self.image.os.family == "linux" and large_steps(self.image) else 0
        return sizes.Needs(
            location=self.machine.location,
            generation=self.image.os.generation,
            architecture=self.image.os.architecture,
            security=self.machine.security.type,
            controller=self.machine.controller,
            zone=self.machine.zone,
            data_disks=brought + len(self.image.disks.data) + cargo,
            premium=self.machine.os_disk_type.startswith("Premium"),
            encryption_at_host=self.machine.encryption_at_host,
            accelerated_networking=self.machine.accelerated_networking,
            spot=self.machine.spot is not None,
            others=max(tests_at_once(self.image), int(self.machine.verify == "deep")),
        )

    @property
    def case(self) -> Case:
        """The image in the words of the matrix."""
        source = self.source
        written = self.image.source.values
        loose = self.image.source.kind in LOOSE
        return Case(
            source=self.image.source.kind,
            source_generalized=source.generalized if source else not loose or written["osState"] == "generalized",
            source_data=bool(source.data_disks) if source else bool(written.get("data")),
            family=self.image.os.family,
            generation=self.image.os.generation,
            architecture=self.image.os.architecture,
            security=self.machine.security.type,
            controller=self.machine.controller,
            generalize=self.image.generalize is not None,
            capture=self.image.capture,
        )
