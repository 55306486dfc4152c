"""Whether a Linux disk is generalized: what the verifier finds, by how much it matters."""

from __future__ import annotations

from builder.disk.subvolumes import unseen_subvolumes
from builder.disk.system import OpenedSystem
from builder.disk.tree import GuestTree
from builder.guest.inspection.rules import DiskFinding, Wanted
from builder.guest.inventory import os_release_of
from builder.guest.kinds.users import KEYS
from builder.guest.operations import applicable, selected
from builder.guest.verifier import MACHINE_ID, Finding, verify

MOST_LINES = 20


def check_identity(tree: GuestTree, wanted: Wanted, *, machine_id: bool) -> tuple[str, list[DiskFinding]]:
    """What the disk is ("generalized", "specialized", "partly generalized"), and the findings.

    A disk with a machine-id has not been generalized: unless that was `wanted`, it is taken for a specialized one.
    """
    if wanted == "specialized":
        return "specialized", []
    if wanted == "auto" and machine_id:
        message = "/etc/machine-id is set: it was not checked what else is left of the machine"
        return "specialized", [DiskFinding("specialized", "/etc/machine-id", message)]
    left = verify(tree, applicable(selected(), os_release_of(tree)))
    tidying = _tidying()
    traces = [item for item in left if item.operation in tidying or _may_be_meant(item, machine_id)]
    identity = [item for item in left if item not in traces]
    findings = [*_summed("identity-left", identity), *_summed("left-over", traces)]
    return ("partly generalized" if identity else "generalized"), findings


def check_subvolumes(system: OpenedSystem) -> list[DiskFinding]:
    """A finding for each volume with subvolumes, snapshots or files that the verifier can't have seen."""
    found = []
    for volume in system.volumes:
        if names := unseen_subvolumes(system, volume):
            count = f"{len(names)} {'thing was' if len(names) == 1 else 'things were'} not looked at"
            found.append(DiskFinding("subvolume-unseen", f"partition {volume.number}", count, _first(names)))
    return found


def _first(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - MOST_LINES
    return (*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else []))


def _may_be_meant(item: Finding, machine_id: bool) -> bool:
    """How an empty machine-id is written, and whom an image's own users let in, is no machine's identity."""
    return item.path.endswith(f"/{KEYS}") or (item.path == MACHINE_ID and not machine_id)


def _tidying() -> frozenset[str]:
    """The operations that tidy up: what they leave is no machine's identity."""
    from builder.guest.operations_machine import NETWORK
    from builder.guest.operations_software import LEFT_OVERS

    return frozenset(item.id for item in (*NETWORK, *LEFT_OVERS))


def _summed(rule: str, items: list[Finding]) -> list[DiskFinding]:
    """One finding with a line for each thing that is left; the first few of them."""
    if not items:
        return []
    count = f"{len(items)} {'thing is' if len(items) == 1 else 'things are'} left of the machine"
    return [DiskFinding(rule, items[0].path, count, _first([item.describe() for item in items]))]
