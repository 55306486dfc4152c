"""What stands in the way of Sysprep, found before anything is lost: facts of a Windows, and rules over them.

Sources: Microsoft's pages on Sysprep ("Sysprep (Generalize) a Windows installation", its table of server roles) and on
preparing a Windows disk for Azure, where a deployed machine is set up from a virtual DVD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from builder.errors import BuildError
from builder.model.sysprep_roles import SOURCE, Role, Support, installed_roles

COMPLETE = "IMAGE_STATE_COMPLETE"
# A Windows that was never generalized has this many rearms; evaluation editions have a few
ALL_REARMS = 1001
# Microsoft's older text allows an image eight runs, its newer one a thousand: from here on we say so
MANY_RUNS = 8
# HKLM\SYSTEM\Setup\Status\SysprepStatus of a Windows that no Sysprep is halfway through
GENERALIZATION_DONE, CLEANUP_DONE = 7, 2
# Start types of drivers: loaded by the boot loader, or when the kernel starts
LOADED_AT_BOOT = (0, 1)
PENDING: Mapping[str, str] = {
    "servicing": "changes of Windows components wait for a restart",
    "updates": "Windows Update waits for a restart",
}


@dataclass(frozen=True)
class StoreApp:
    """An app of the Store that an account has. `provisioned`: new accounts get it too, in another version."""

    name: str
    provisioned: bool


@dataclass(frozen=True)
class SysprepFacts:
    """What templates/sysprep_check.ps1 tells.

    `encrypted_volumes` are drives that BitLocker has not fully decrypted, `pending_restart` the reasons of one
    (servicing, updates, renames), `agents` the states of services by their names. None stands for what is not there.
    """

    edition: str
    installation: str
    build: str
    features: tuple[str, ...]
    encrypted_volumes: tuple[str, ...]
    pending_restart: tuple[str, ...]
    domain: str
    store_apps: tuple[StoreApp, ...]
    cdrom_start: int | None
    storage_denied: bool
    image_state: str
    generalization_state: int | None
    cleanup_state: int | None
    skip_rearm: bool
    rearms_left: int | None
    left_overs: tuple[str, ...]
    agents: Mapping[str, str]
    virtual_switches: int
    encrypted_credentials: bool

    @staticmethod
    def from_result(result: Mapping[str, Any]) -> SysprepFacts:
        """The facts of a script's result. Raises BuildError when something is missing."""
        missing = [item.name for item in fields(SysprepFacts) if item.name not in result]
        if missing:
            raise BuildError(f"the guest told nothing about {', '.join(missing)}", code="guest-result")
        lists = ("features", "encrypted_volumes", "pending_restart", "left_overs")
        return SysprepFacts(
            **{
                **{item.name: result[item.name] for item in fields(SysprepFacts)},
                **{name: tuple(result[name]) for name in lists},
                "store_apps": tuple(StoreApp(app["name"], bool(app["provisioned"])) for app in result["store_apps"]),
                "agents": {agent["name"]: agent["state"] for agent in result["agents"]},
            }
        )

    @property
    def earlier_runs(self) -> int | None:
        """How often this Windows was generalized before, by the rearms that are gone. None where these don't tell."""
        return runs_before(self.rearms_left)


def runs_before(rearms_left: int | None) -> int | None:
    """How often Sysprep has run in a Windows that has so many rearms left. None where these don't tell."""
    if rearms_left is None or not 0 <= ALL_REARMS - rearms_left <= ALL_REARMS // 2:
        return None
    return ALL_REARMS - rearms_left


@dataclass(frozen=True)
class SysprepFinding:
    """One thing that Sysprep, or a machine made of the image, would stumble over. `blocks`: it surely would."""

    code: str
    message: str
    remedy: str
    blocks: bool = True

    def describe(self) -> str:
        """A line for people."""
        return f"{self.message} [{self.code}]: {self.remedy}"


Found = Iterator[SysprepFinding]


def _state(facts: SysprepFacts) -> Found:
    """Only an installed Windows that nobody began to seal can be sealed."""
    if facts.image_state != COMPLETE:
        yield SysprepFinding(
            "image-state",
            f"Windows is in the state {facts.image_state or '(none)'} instead of {COMPLETE}",
            "start from a disk that no Sysprep has worked on, or from the checkpoint before it",
        )
    elif (facts.generalization_state, facts.cleanup_state) not in (
        (GENERALIZATION_DONE, CLEANUP_DONE),
        (None, None),
    ):
        yield SysprepFinding(
            "sysprep-status",
            f"an earlier Sysprep left GeneralizationState {facts.generalization_state} and CleanupState "
            f"{facts.cleanup_state}",
            f"a finished one leaves {GENERALIZATION_DONE} and {CLEANUP_DONE}: start from the disk before it",
            blocks=False,
        )


def _runs(facts: SysprepFacts) -> Found:
    """Every run takes a rearm of the licence."""
    if facts.rearms_left == 0 and not facts.skip_rearm:
        yield SysprepFinding(
            "rearms",
            "no rearm of the licence is left, and Sysprep needs one",
            "start from an image that was generalized less often",
        )
    elif facts.earlier_runs is not None and facts.earlier_runs >= MANY_RUNS:
        yield SysprepFinding(
            "many-runs",
            f"this Windows was generalized {facts.earlier_runs} times before",
            f"Microsoft's pages disagree on how often is allowed ({MANY_RUNS} or 1001): start from a newer image",
            blocks=False,
        )


def _roles(facts: SysprepFacts) -> Found:
    """Roles whose state belongs to one machine."""
    for role in installed_roles(facts.features):
        if role.support == Support.NO:
            yield SysprepFinding(
                "role",
                f"Sysprep doesn't support {role.name}: {role.reason} ({SOURCE}; unconfirmed for newer editions)",
                "install it when a machine is made from the image, or write `generalize: false`",
            )
        elif role.support == Support.CONDITION:
            yield from _condition(role, facts)


def _condition(role: Role, facts: SysprepFacts) -> Found:
    """Roles that are fine when something is so. Where the facts can't tell, people have to."""
    broken = {"Hyper-V": facts.virtual_switches > 0, "Web Server (IIS)": facts.encrypted_credentials}.get(role.name)
    if broken is None or broken:
        yield SysprepFinding(
            "role",
            f"{role.name}: {role.reason} ({SOURCE})",
            "see to it in a `run` step" if broken else "make sure that it is so",
            blocks=bool(broken),
        )


def _encryption(facts: SysprepFacts) -> Found:
    """Sysprep refuses an encrypted system drive, and no other machine could unlock the others."""
    if facts.encrypted_volumes:
        yield SysprepFinding(
            "bitlocker",
            f"BitLocker has not fully decrypted {', '.join(facts.encrypted_volumes)}",
            "turn it off in a `run` step (Disable-BitLocker) and wait until the drive is fully decrypted",
        )


def _restart(facts: SysprepFacts) -> Found:
    """Sysprep refuses while Windows waits for a restart. Files to be renamed alone are common and harmless."""
    reasons = [text for name, text in PENDING.items() if name in facts.pending_restart]
    if reasons:
        yield SysprepFinding(
            "pending-restart", "; ".join(reasons), "write `- restart: {}` as the last step of `prepare`"
        )
    elif facts.pending_restart:
        yield SysprepFinding(
            "pending-renames",
            "files wait to be renamed at the next start",
            "write `- restart: {}` as the last step of `prepare` when a machine of the image lacks them",
            blocks=False,
        )


def _domain(facts: SysprepFacts) -> Found:
    """Sysprep takes the machine out of its domain, and leaves what the domain set."""
    if facts.domain:
        yield SysprepFinding(
            "domain",
            f"the machine is in the domain {facts.domain}, which Sysprep takes it out of",
            "join machines of the image to it, not the image",
            blocks=False,
        )


def _store_apps(facts: SysprepFacts) -> Found:
    """Apps that an account has and new accounts would not get make Sysprep fail (0x80073cf2)."""
    for app in facts.store_apps:
        if app.provisioned:
            message = f"an account has the app {app.name} in another version than new accounts get"
            remedy = "switch off updates of the Store while the image is made, when Sysprep refuses it"
        else:
            message = f"an account has the app {app.name}, which new accounts don't get"
            remedy = "remove it in a `run` step (Remove-AppxPackage -AllUsers), or provision it for all"
        yield SysprepFinding("store-app", message, remedy, blocks=not app.provisioned)


def _dvd(facts: SysprepFacts) -> Found:
    """A deployed machine reads its settings from a DVD at its first start, and hangs without."""
    if facts.cdrom_start not in LOADED_AT_BOOT:
        value = "there is none" if facts.cdrom_start is None else f"it is {facts.cdrom_start}"
        yield SysprepFinding(
            "cdrom",
            f"the CD-ROM driver does not load at boot (Start must be 1, {value}): machines would hang at set-up",
            r"write `- registry: [{path: HKLM\SYSTEM\CurrentControlSet\Services\cdrom, name: Start, type: DWord, "
            "value: 1}]`",
        )
    if facts.storage_denied:
        yield SysprepFinding(
            "storage-policy",
            "a policy denies removable storage: machines would hang at set-up",
            r"remove it below HKLM\SOFTWARE\Policies\Microsoft\Windows\RemovableStorageDevices",
        )


def _agents(facts: SysprepFacts) -> Found:
    """Without its agent a machine of the image can be neither set up nor managed."""
    if not facts.agents:
        yield SysprepFinding(
            "agent",
            "no virtual machine agent is installed",
            "install it in a `run` step, so that machines of the image can be managed",
            blocks=False,
        )


RULES: tuple[Callable[[SysprepFacts], Found], ...] = (
    _state, _runs, _roles, _encryption, _restart, _domain, _store_apps, _dvd, _agents,
)  # fmt: skip


def sysprep_findings(facts: SysprepFacts) -> list[SysprepFinding]:
    """All that the rules find; what blocks comes first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: not finding.blocks)


def blocking(findings: Sequence[SysprepFinding]) -> list[SysprepFinding]:
    """Those with which Sysprep must not begin."""
    return [finding for finding in findings if finding.blocks]
