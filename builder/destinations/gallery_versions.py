"""Versions of a gallery: what is sent to make one, what one that is there says, and how it differs from the spec.

Of a version that stands, Azure changes regions, replica counts, end of life, exclusion and safety; not its source,
storage type, replication mode, or encryption. A version that was whole once stands, even when a change of it failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builder.azure import tags as tag_names
from builder.azure.ids import ResourceId
from builder.azure.names import region_name
from builder.destinations import azure_manifests as manifests
from builder.destinations.gallery_definition import Difference, moment_text, same_moment
from builder.errors import BuildError
from builder.model.artifact import Artifact, ManifestDisk
from builder.model.observed import VersionState
from builder.model.spec import KeyPath

Json = dict[str, Any]
Values = Mapping[str, Any]

GIB = 1024**3
SUCCEEDED, FAILED = "Succeeded", "Failed"
# While a version has one of these states, something goes on with it
MOVING = ("Creating", "Updating", "Migrating", "Deleting")
# What a version can be made of as a whole, and the name that its body gives it
WHOLE_SOURCES = {
    "microsoft.compute/galleries/images/versions": "id",
    "microsoft.compute/images": "id",
    "microsoft.compute/virtualmachines": "virtualMachineId",
}
# What confidential VMs encrypt, in the spec's word and in a version's
CONFIDENTIAL = {
    "VMGuestStateOnly": "EncryptedVMGuestStateOnlyWithPmk",
    "DiskWithVMGuestState": "EncryptedWithPmk",
    "NonPersistedTPM": "NonPersistedTPM",
}


def wanted_regions(values: Values, location: str) -> list[Json]:
    """The regions of the spec; that of the gallery when it names none."""
    given = values.get("regions")
    if given:
        return [dict(region) for region in given]
    return [{"name": location, "replicas": values["replicas"], "storageType": values["storageType"]}]


def publishing_profile(values: Values, location: str, *, held: bool) -> Json:
    """What a version is published with; encryption needs the disks' LUNs and comes with `encrypted`."""
    found: Json = {
        "targetRegions": [
            {
                "name": region["name"],
                "regionalReplicaCount": region["replicas"],
                "storageAccountType": region["storageType"],
            }
            for region in wanted_regions(values, location)
        ],
        "replicaCount": values["replicas"],
        "excludeFromLatest": held or values["excludeFromLatest"],
        "storageAccountType": values["storageType"],
        "replicationMode": "Shallow" if values["shallow"] else "Full",
    }
    if "endOfLife" in values:
        found["endOfLifeDate"] = moment_text(values["endOfLife"])
    return found


def encrypted(profile: Json, sets: Mapping[str, str], confidential: str, luns: Sequence[int]) -> Json:
    """The profile with each region's disk encryption set, and what a confidential VM's image encrypts."""
    for region in profile["targetRegions"]:
        with_set = {"diskEncryptionSetId": sets[region["name"]]} if region["name"] in sets else {}
        os_disk: Json = dict(with_set)
        if confidential:
            os_disk["securityProfile"] = {"confidentialVMEncryptionType": CONFIDENTIAL[confidential]}
        if os_disk:
            region["encryption"] = {"osDiskImage": os_disk}
        if with_set and luns:
            region["encryption"]["dataDiskImages"] = [{"lun": lun, **with_set} for lun in luns]
    return profile


def encryption_sets(values: Values) -> dict[str, str]:
    """The disk encryption sets that the spec gives, by region."""
    return {
        region["name"]: region["diskEncryptionSet"]
        for region in values.get("regions", ())
        if "diskEncryptionSet" in region
    }


def storage_profile(artifact: Artifact, sources: Sequence[Mapping[str, str]]) -> Json:
    """Where a version's content comes from: the disks' `sources`, in the artifact's order, or the artifact as a whole.

    Raises BuildError for a whole that Azure can't publish from.
    """
    if not sources:
        kind = ResourceId.parse(artifact.resource).kind.lower()
        if kind not in WHOLE_SOURCES:
            raise BuildError(f"a version can't be made of {artifact.resource}", code="artifact-unsuitable")
        return {"source": {WHOLE_SOURCES[kind]: artifact.resource}}
    found: Json = {"osDiskImage": {"hostCaching": "ReadWrite", "source": dict(sources[0])}}
    data = [
        {"lun": disk.lun, "hostCaching": "None", "source": dict(source)}
        for disk, source in zip(artifact.disks[1:], sources[1:], strict=True)
    ]
    if data:
        found["dataDiskImages"] = data
    return found


def stored(body: Values) -> Json:
    """The storage profile of a version that is there, as a change has to name it again."""
    profile = body["properties"].get("storageProfile", {})
    if profile.get("source"):
        return {"source": {key: value for key, value in profile["source"].items() if value}}
    found: Json = {}
    if profile.get("osDiskImage"):
        found["osDiskImage"] = {key: profile["osDiskImage"][key] for key in ("hostCaching", "source")
                                if profile["osDiskImage"].get(key)}  # fmt: skip
    if profile.get("dataDiskImages"):
        found["dataDiskImages"] = [
            {key: disk[key] for key in ("lun", "hostCaching", "source") if disk.get(key) not in (None, {})}
            for disk in profile["dataDiskImages"]
        ]
    return found


def provisioning(body: Values) -> str:
    """Azure's word for how far a version is."""
    return str(body.get("properties", {}).get("provisioningState", ""))


def is_broken(body: Values) -> bool:
    """Whether a version stands in some region, and failed to come to others. The body has its replication."""
    return provisioning(body) == FAILED and any(state == "Completed" for _, state, _ in replication(body))


def state_of(body: Values) -> VersionState:
    """How far a version of ours is. One that is being changed stands all the while. The body has its replication."""
    state = provisioning(body)
    if state == FAILED and not is_broken(body):
        return VersionState.FAILED
    if state not in (SUCCEEDED, FAILED, "Updating"):
        return VersionState.UNFINISHED
    tag = (body.get("tags") or {}).get(tag_names.STATE, manifests.PROMOTED)
    return manifests.STATES.get(tag, VersionState.PROMOTED)


def standing_regions(body: Values) -> tuple[str, ...]:
    """The regions that have a replica, as far as it is known."""
    told = replication(body)
    if told:
        return tuple(region_name(name) for name, state, _ in told if state == "Completed")
    profile = body["properties"].get("publishingProfile", {})
    return tuple(region_name(region["name"]) for region in profile.get("targetRegions", ()))


def manifest_disks(body: Values) -> tuple[ManifestDisk, ...]:
    """The disks that a version says it has; Azure knows nothing of their content."""
    profile = body["properties"].get("storageProfile", {})
    disks = [(None, profile.get("osDiskImage", {}))]
    disks += [(disk.get("lun"), disk) for disk in profile.get("dataDiskImages") or ()]
    return tuple(
        ManifestDisk("os" if lun is None else f"data-{lun}", lun, int(disk.get("sizeInGB") or 0) * GIB, "", 0)
        for lun, disk in disks
    )


def differences(
    body: Values, values: Values, location: str, path: KeyPath, tags: Mapping[str, str]
) -> Iterator[Difference]:
    """How a version that stands differs from the spec. One that is held back stays excluded from the latest."""
    held = state_of(body) == VersionState.HELD
    wanted = publishing_profile(values, location, held=held)
    there = body["properties"].get("publishingProfile", {})
    if provisioning(body) == FAILED:
        yield Difference("replication", "failed", "again", (*path, "regions"))
    yield from profile_differences(there, wanted, path)
    kept = {region["name"] for region in wanted["targetRegions"]}
    yield from _encryption(there, kept, encryption_sets(values), path)
    blocks = bool(body["properties"].get("safetyProfile", {}).get("blockDeletionBeforeEndOfLife"))
    if blocks != values["blockDeletionBeforeEndOfLife"]:
        where = (*path, "blockDeletionBeforeEndOfLife")
        yield Difference("blockDeletionBeforeEndOfLife", _yes(blocks), _yes(not blocks), where)
    have = {name.lower(): value for name, value in (body.get("tags") or {}).items()}
    for name, value in tags.items():
        if have.get(name.lower()) != value:
            yield Difference(f"tag {name}", have.get(name.lower(), "none"), value, ("publish", "tags"))


def profile_differences(there: Values, wanted: Values, path: KeyPath = ()) -> Iterator[Difference]:
    """How a version's publishing profile differs from the one that is wanted."""
    yield from _regions(there, wanted, path)
    yield from _fixed(there, wanted, path)
    if bool(there.get("excludeFromLatest")) != wanted["excludeFromLatest"]:
        before, after = (_yes(there.get("excludeFromLatest")), _yes(wanted["excludeFromLatest"]))
        yield Difference("excludeFromLatest", before, after, (*path, "excludeFromLatest"))
    if not same_moment(there.get("endOfLifeDate"), wanted.get("endOfLifeDate")):
        before, after = str(there.get("endOfLifeDate", "none")), str(wanted.get("endOfLifeDate", "none"))
        yield Difference("endOfLife", before, after, (*path, "endOfLife"))


def _regions(there: Values, wanted: Values, path: KeyPath) -> Iterator[Difference]:
    before = {region_name(region["name"]): region for region in there.get("targetRegions", ())}
    after = {region_name(region["name"]): region for region in wanted["targetRegions"]}
    where = (*path, "regions")
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = (_replicas(region) for region in (before.get(name), after.get(name)))
        if old != new:
            yield Difference(f"region {name}", old, new, where)
        elif before[name].get("storageAccountType") != after[name]["storageAccountType"]:
            types = [str(region[name].get("storageAccountType")) for region in (before, after)]
            yield Difference(f"storage type in {name}", types[0], types[1], where, updatable=False)


def _replicas(region: Values | None) -> str:
    if region is None:
        return "none"
    count = region.get("regionalReplicaCount", 1)
    return f"{count} {'replica' if count == 1 else 'replicas'}"


def _fixed(there: Values, wanted: Values, path: KeyPath) -> Iterator[Difference]:
    """What Azure refuses to change: PropertyChangeNotAllowed."""
    for key, name, default in (
        ("replicationMode", "shallow", "Full"),
        ("storageAccountType", "storageType", "Standard_LRS"),
    ):
        before, after = there.get(key, default), wanted[key]
        if before != after:
            yield Difference(key, str(before), str(after), (*path, name), updatable=False)


def _encryption(there: Values, kept: set[str], wanted: Mapping[str, str], path: KeyPath) -> Iterator[Difference]:
    """Replicas are encrypted when they are made. Only regions that stay are compared."""
    for region in there.get("targetRegions", ()):
        name = region_name(region["name"])
        if name not in kept:
            continue
        before = str(((region.get("encryption") or {}).get("osDiskImage") or {}).get("diskEncryptionSetId") or "none")
        after = wanted.get(name, "none")
        if before.lower() != after.lower():
            where = (*path, "regions")
            yield Difference(f"disk encryption set in {name}", before, after, where, updatable=False)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def removed_regions(body: Values, wanted: Values) -> list[str]:
    """The regions whose replicas go."""
    kept = {region_name(region["name"]) for region in wanted["targetRegions"]}
    there = body["properties"].get("publishingProfile", {}).get("targetRegions", ())
    return [region["name"] for region in there if region_name(region["name"]) not in kept]


def replication(body: Values) -> list[tuple[str, str, int]]:
    """The regions of a version that was read with its replication: name, state, per cent."""
    status = body.get("properties", {}).get("replicationStatus") or {}
    return [
        (str(entry.get("region", "")), str(entry.get("state", "")), int(entry.get("progress") or 0))
        for entry in status.get("summary") or ()
    ]


def replication_faults(body: Values) -> str:
    """What Azure says of regions that failed, a line each."""
    status = body.get("properties", {}).get("replicationStatus") or {}
    return "\n".join(
        f"{entry.get('region')}: {entry.get('details') or 'no reason given'}"
        for entry in status.get("summary") or ()
        if entry.get("state") == FAILED
    )
