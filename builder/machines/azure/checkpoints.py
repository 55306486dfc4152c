"""What outlives a run: snapshots under a step's digest (checkpoints) and under a capture's (artifacts), found by tags.

They stand in the group that the spec gives, or else in `build-checkpoints-<location>`: one for all projects, since a
digest says what a disk holds whoever made it. A set of snapshots counts when it is whole: one for each disk that the
machine had, each done, also with the copying that incremental snapshots do in the background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.azure import tags as tag
from builder.azure.connection import Azure
from builder.azure.ids import ResourceId, group_id
from builder.azure.names import region_name
from builder.azure.operations import wait_all
from builder.azure.polling import next_poll
from builder.errors import BuildError
from builder.machines.azure.bodies import snapshot_body
from builder.machines.azure.names import Names, disk_lun, disk_word, kept_group
from builder.machines.azure.provision import Provisioner
from builder.machines.azure.resolved import SourceDisk
from builder.machines.azure.vm import Disk, Vm
from builder.model.cleaning import DAY_SECONDS
from builder.model.run import Run
from builder.model.spec import GIB

Json = dict[str, Any]
KIND = "Microsoft.Compute/snapshots"
COPY_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class Kept:
    """The whole sets of snapshots in one region, by digest: a set is one machine's disks, the OS disk first."""

    checkpoints: Mapping[str, tuple[Json, ...]]
    artifacts: Mapping[str, tuple[Json, ...]]


def known(azure: Azure, location: str, group: str = "") -> Kept:
    """What can be started from or adopted. One read; `group` is that of the spec, "" for none. Raises AzureError."""
    place = group_id(azure.subscription, kept_group(location, group))
    return sort_out(azure.list(place, KIND) if azure.find(place) is not None else [], location, azure.clock.now())


def sort_out(snapshots: Iterable[Json], location: str, now: float) -> Kept:
    """The whole sets among snapshots. Those of other regions, unfinished and expired ones are passed by."""
    sets: dict[tuple[str, str, str, str], list[Json]] = defaultdict(list)
    for snapshot in snapshots:
        tags = snapshot.get("tags") or {}
        expires = tag.moment(str(tags.get(tag.EXPIRES, "")))
        if not tag.is_ours(tags) or region_name(snapshot.get("location")) != location or not _is_done(snapshot):
            continue
        # One that was published is a version's, whoever keeps both in one group
        if (expires is not None and expires <= now) or tag.VERSION in tags:
            continue
        for name in (tag.STEP, tag.DIGEST):
            if name in tags:
                sets[name, tags[name], tags[tag.RUN], tags.get(tag.IMAGE, "")].append(snapshot)
    found: dict[str, dict[str, tuple[Json, ...]]] = {tag.STEP: {}, tag.DIGEST: {}}
    for (name, digest, *_), members in sorted(sets.items()):
        words = str(members[0]["tags"].get(tag.DISKS, "")).split()
        by_word = {str(member["tags"].get(tag.ROLE)): member for member in members}
        if words and words[0] == "os" and set(words) == set(by_word):
            found[name][digest] = tuple(by_word[word] for word in words)
    return Kept(found[tag.STEP], found[tag.DIGEST])


def _is_done(snapshot: Json) -> bool:
    properties = snapshot.get("properties") or {}
    return properties.get("provisioningState") == "Succeeded" and _percent(properties) >= 100


def _percent(properties: Json) -> float:
    """How far an incremental snapshot's copying is; full ones are whole when they stand."""
    return float(properties.get("completionPercent", 100.0))


def source_disks(snapshots: Sequence[Json]) -> list[tuple[SourceDisk, Json]]:
    """The snapshots of a set as disks to start from, the OS disk first."""
    found = []
    for snapshot in snapshots:
        properties = snapshot["properties"]
        size = int(properties.get("diskSizeBytes") or properties.get("diskSizeGB", 0) * GIB)
        lun = disk_lun(str(snapshot["tags"][tag.ROLE]))
        unique = str(properties.get("uniqueId", ""))
        found.append((SourceDisk(lun, size, "snapshot", str(snapshot["id"]), unique=unique), snapshot))
    return found


class Keeper:
    """Takes the snapshots of one run that outlive it."""

    def __init__(self, azure: Azure, run: Run, provisioner: Provisioner, names: Names, *, days: int) -> None:
        self.azure = azure
        self.run = run
        self._provisioner = provisioner
        self._names = names
        self._days = days
        self._groups: set[str] = set()
        self._taken: set[ResourceId] = set()

    def checkpoint(self, vm: Vm, digest: str, title: str) -> list[Json]:
        """Incremental snapshots of all disks of a running VM, under a step's digest."""
        return self._take(vm, vm.disks, "step", digest, {tag.STEP: digest, tag.TITLE: title[: tag.LONGEST_VALUE]})

    def artifact(self, vm: Vm, disks: Sequence[Disk], digest: str) -> list[Json]:
        """Full snapshots of these disks of a VM that is switched off, under a capture's digest."""
        return self._take(vm, disks, "disk", digest, {tag.DIGEST: digest})

    def _take(self, vm: Vm, disks: Sequence[Disk], what: str, digest: str, tags: Json) -> list[Json]:
        self._group(vm.location)
        now = self.azure.clock.now()
        words = " ".join(disk_word(disk.lun) for disk in disks)
        operations = []
        for disk in disks:
            id = self._names.kept(vm.location, self.run.image.name, what, digest, disk_word(disk.lun))
            body = snapshot_body(
                disk.id,
                vm.location,
                {
                    **self._provisioner.tags(),
                    **tags,
                    tag.CREATED: tag.stamp(now),
                    tag.EXPIRES: tag.stamp(now + self._days * DAY_SECONDS),
                    tag.ROLE: disk_word(disk.lun),
                    tag.DISKS: words,
                },
                incremental=what == "step",
            )
            with self.run.effect("azure.snapshot", resource=str(id)), vm.unless_gone():
                # One of an earlier try under the same name holds something else
                self._replace(id)
                operations.append(self.azure.put(id, body, stop=self.run.stop))
        return wait_all(operations, stop=self.run.stop)

    def _replace(self, id: ResourceId) -> None:
        if id in self._taken:
            self.azure.delete(id, stop=self.run.stop).wait(stop=self.run.stop)
        self._taken.add(id)

    def _group(self, location: str) -> None:
        """Make the group that outlives runs, where the spec gives none. Its own tags name no run: it is nobody's."""
        group = kept_group(location, self._names.given_group)
        if group == self._names.given_group or group in self._groups:
            return
        id = group_id(self.azure.subscription, group)
        if self.azure.find(id) is None:
            with self.run.effect("azure.group", resource=str(id)):
                own = tag.foreign(self._provisioner.machine.tags)
                body = {"location": location, "tags": {**own, tag.TOOL: str(self._provisioner.tags()[tag.TOOL])}}
                self.azure.put(id, body, stop=self.run.stop).wait(stop=self.run.stop)
        self._groups.add(group)

    def wait_copied(self, snapshots: Sequence[Json]) -> list[Json]:
        """Wait until incremental snapshots have copied all their data in the background. Raises BuildError."""
        clock = self.azure.clock
        began = clock.now()
        found = list(snapshots)
        while any(not _is_done(snapshot) for snapshot in found):
            passed = clock.now() - began
            if passed > COPY_SECONDS:
                raise BuildError(
                    "Azure has not copied a checkpoint's data within 4 hours", code="azure-timeout",
                    hint="run build apply again",
                )  # fmt: skip
            clock.sleep(next_poll(passed), self.run.stop)
            self.run.check_stop()
            found = [
                snapshot if _is_done(snapshot) else self.azure.get(ResourceId.parse(snapshot["id"]))
                for snapshot in found
            ]
        return found
