"""What must be true in a machine that has provisioned itself: judged from facts that one script reads in the guest."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from builder.machines.local.rehearsal.deployment import Deployment
from builder.model.run import CheckResult

# POSIX shell and cat alone, because images differ in everything else. One fact a line: its name, a space, its value.
FACTS_SCRIPT = r"""
fact() { printf '%s %s\n' "$1" "$2"; }
fact host-name "$(cat /proc/sys/kernel/hostname)"
while read -r name value; do if [ "$name" = btime ]; then fact boot-time "$value"; fi; done </proc/stat
fact machine-id "$(stat -c %Y /etc/machine-id) $(cat /etc/machine-id)"
for key in /etc/ssh/ssh_host_*_key.pub; do
    if [ -e "$key" ]; then fact host-key "$(stat -c %Y "$key") $(cat "$key")"; fi
done
while read -r source point type rest; do fact mount "$point"; done </proc/self/mounts
while read -r source point type options rest; do fact fstab "$source $point $type $options"; done </etc/fstab
systemctl list-units --failed --plain --no-legend --no-pager 2>/dev/null |
    while read -r unit rest; do fact failed-unit "$unit"; done
fact end ''
"""

# The disk that Azure lends every machine isn't part of an image, and the rehearsal has none
TEMPORARY_DISK = r"comment=cloudconfig|azure_resource"


@dataclass(frozen=True)
class Identity:
    """What makes a machine itself. `host_keys` are the SHA-256 fingerprints of its ssh host keys, sorted."""

    host_name: str
    machine_id: str
    host_keys: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What the script found. Times are seconds since 1970; `fstab` holds source, mount point, type and options."""

    host_name: str
    boot_time: int
    machine_id: str
    machine_id_time: int
    host_keys: Mapping[str, int]
    mounts: frozenset[str]
    fstab: tuple[tuple[str, str, str, str], ...]
    failed_units: tuple[str, ...]
    complete: bool

    @property
    def identity(self) -> Identity:
        """The machine's identity."""
        return Identity(self.host_name, self.machine_id, tuple(sorted(self.host_keys)))


def fingerprint(public_key: str) -> str:
    """A public key's fingerprint as ssh-keygen shows it: `type SHA256:...`."""
    words = public_key.split()
    digest = hashlib.sha256(base64.b64decode(words[1])).digest()
    return f"{words[0]} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def parse_facts(output: str) -> Facts:
    """The facts in the script's output."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        found[name].append(value.strip())
    machine_id_time, _, machine_id = _one(found, "machine-id").partition(" ")
    host_keys = (value.partition(" ") for value in found["host-key"])
    fstab = (line.split() for line in found["fstab"] if line and not line.startswith("#"))
    return Facts(
        host_name=_one(found, "host-name"),
        boot_time=_number(_one(found, "boot-time")),
        machine_id=machine_id.strip(),
        machine_id_time=_number(machine_id_time),
        host_keys={fingerprint(key): _number(time) for time, _, key in host_keys},
        mounts=frozenset(_unescaped(point) for point in found["mount"]),
        fstab=tuple((words[0], _unescaped(words[1]), words[2], words[3]) for words in fstab if len(words) >= 4),
        failed_units=tuple(unit for unit in found["failed-unit"] if unit),
        complete="end" in found,
    )


def _one(found: Mapping[str, Sequence[str]], name: str) -> str:
    values = found.get(name) or [""]
    return values[0]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _unescaped(text: str) -> str:
    """A path of fstab and mounts, where blanks stand as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _host_name(facts: Facts, deployment: Deployment) -> tuple[bool, str]:
    return facts.host_name == deployment.host_name, f"is {facts.host_name!r}, asked was {deployment.host_name!r}"


def _machine_id(facts: Facts, deployment: Deployment) -> tuple[bool, str]:
    if not re.fullmatch(r"[0-9a-f]{32}", facts.machine_id):
        return False, f"/etc/machine-id is not 32 hexadecimal digits: {facts.machine_id[:40]!r}"
    # What was written before this machine started came with the disk, and all its copies have it
    return facts.machine_id_time >= facts.boot_time, "/etc/machine-id came with the image"


def _host_keys(facts: Facts, deployment: Deployment) -> tuple[bool, str]:
    if not facts.host_keys:
        return False, "there are no ssh host keys"
    old = [name.split()[0] for name, time in facts.host_keys.items() if time < facts.boot_time]
    return not old, f"these came with the image: {', '.join(sorted(old))}"


def _mounts(facts: Facts, deployment: Deployment) -> tuple[bool, str]:
    missing = [
        point
        for source, point, kind, options in facts.fstab
        if point.startswith("/")
        and kind != "swap"
        and "noauto" not in options.split(",")
        and not re.search(TEMPORARY_DISK, f"{source} {options}")
        and (point.rstrip("/") or "/") not in facts.mounts
    ]
    return not missing, f"fstab names them, but nothing is mounted: {', '.join(missing)}"


# Each gives whether it holds, and what to say when it doesn't
CHECKS: tuple[tuple[str, Callable[[Facts, Deployment], tuple[bool, str]]], ...] = (
    ("the host name is the one asked for", _host_name),
    ("the machine ID is new", _machine_id),
    ("the ssh host keys are new", _host_keys),
    ("the filesystems of fstab are mounted", _mounts),
)


def judge(facts: Facts, deployment: Deployment, seconds: float) -> list[CheckResult]:
    """The results of all checks; `seconds` is how long reading the facts took.

    Failed units don't fail the check: a unit may need what only Azure has. They are shown in its detail.
    """
    results = [CheckResult(f"the user {deployment.user} logs in with the key", True, seconds)]
    for name, check in CHECKS:
        passed, detail = check(facts, deployment)
        results.append(CheckResult(name, passed, 0.0, "" if passed else detail))
    units = ", ".join(facts.failed_units)
    results.append(CheckResult("units have started", True, 0.0, f"warning: failed units: {units}" if units else ""))
    return results


def shared_identity(first: Identity, second: Identity) -> list[str]:
    """What two machines share that each must have for itself; empty when they are distinct."""
    shared = []
    if first.machine_id == second.machine_id:
        shared.append("machine ID")
    if common := sorted(set(first.host_keys) & set(second.host_keys)):
        shared.append(f"ssh host keys ({', '.join(common)})")
    if first.host_name == second.host_name:
        shared.append("host name")
    return shared
