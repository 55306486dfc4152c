"""The generalize step of Windows images: look what stands in the way, then Sysprep, with an end and a cause.

Until Sysprep begins nothing is lost; a machine takes its checkpoint before this step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder.errors import BuildError, Place
from builder.guest.kinds.windows import told
from builder.guest.powershell import call, script
from builder.guest.results import ResultReader
from builder.guest.sysprep_findings import SysprepFacts, blocking, sysprep_findings
from builder.model.kinds import KINDS, Kind
from builder.model.run import GuestScript, StepContext
from builder.model.spec import ImageSpec
from builder.model.steps import Change, Preview, Stage, Step

# Raise it when the templates or the tables make Sysprep do something else
VERSION = 1
MODE = "vm"
# Seconds: for Sysprep itself, for services to run before it, for its state to show after it, and for all the rest
SEAL_SECONDS = 30 * 60
AGENT_SECONDS = 5 * 60
GRACE_SECONDS = 60
OTHER_SECONDS = 5 * 60
CHECK_SECONDS = 10 * 60

# Logs and answer files of earlier set-ups: Sysprep and machines of the image would take them for their own
LEFT_OVERS = (
    r"%SystemRoot%\Panther",
    r"%SystemRoot%\System32\Sysprep\Panther",
    r"%SystemRoot%\System32\Sysprep\unattend.xml",
)
# The services by which a machine of the image is set up and managed; the second is part of older ones only
AGENTS = ("RdAgent", "WindowsAzureTelemetryService", "WindowsAzureGuestAgent")


@dataclass(frozen=True)
class Cause:
    """Why Sysprep failed: the exit code of our script, what its logs say then, and what helps."""

    name: str
    code: int
    message: str
    hint: str
    pattern: str = ""


# The first whose pattern is in the logs is it, so that the general ones come last
CAUSES = (
    Cause("agent", 20, "the virtual machine agent did not start", "look at its logs in C:\\WindowsAzure\\Logs"),
    Cause("timeout", 21, "Sysprep did not end in time", "the log has the last lines of its own: what it waits for"),
    Cause(
        "store-app",
        22,
        "Sysprep refuses an app of the Store that only some accounts have",
        "remove it in a `run` step: Get-AppxPackage -AllUsers NAME | Remove-AppxPackage -AllUsers",
        r"0x80073cf2|not provisioned for all users",
    ),
    Cause(
        "bitlocker",
        23,
        "Sysprep refuses a drive that BitLocker has encrypted",
        "turn it off in a `run` step and wait until the drive is fully decrypted",
        r"0x80310039|BitLocker is on",
    ),
    Cause(
        "restart",
        24,
        "Sysprep refuses while Windows is updating or waits for a restart",
        "write `- windowsUpdates: {}` and `- restart: {}` as the last steps of `prepare`",
        r"require a reboot|0x800F0975|reserved storage",
    ),
    Cause(
        "rearm",
        25,
        "no rearm of the licence is left",
        "start from an image that was generalized less often",
        r"0xC004D307",
    ),
    # Which words a role leaves in the logs is not documented: it is the check before that finds roles
    Cause(
        "role",
        26,
        "Sysprep refuses a server role",
        "install it when a machine is made from the image, or write `generalize: false`",
        r"domain controller|server role",
    ),
    Cause("other", 29, "Sysprep failed", "the log has the last lines of Sysprep's own logs"),
)


def sysprep_step(image: ImageSpec, *, timeout: float | None = None) -> Step:
    """The step that seals a Windows image. `timeout` in seconds is how long Sysprep itself may take."""
    place = image.place("generalize") if ("generalize",) in image.places.by_path else image.place("name")
    return Step(
        stage=Stage.GENERALIZE,
        kind="sysprep",
        title="generalize with Sysprep",
        inputs={"mode": MODE},
        preview=Preview.PREDICTED,
        changes=(Change("clear", "identity", "of this machine", "by Sysprep"),),
        place=place,
        places={"mode": place},
        timeout=timeout,
        checkpoint=True,
    )


def check_script() -> GuestScript:
    """Tells the facts that `SysprepFacts.from_result` reads."""
    line = f"Write-Result ({call('Get-SysprepFact', LeftOvers=LEFT_OVERS, Agents=AGENTS)})"
    return script("sysprep-check", [line], templates=("result", "sysprep_check"), timeout=CHECK_SECONDS)


def sysprep_script(mode: str = MODE, *, seconds: float = SEAL_SECONDS) -> GuestScript:
    """Clean, wait for the agents, run Sysprep, wait until the image is sealed. `seconds` bound Sysprep itself.

    Ends with 0 when it is; else tells the cause as its result and ends with the cause's code.
    """
    arguments = ("/generalize", "/oobe", "/quit", f"/mode:{mode}", "/quiet")
    lines = [
        *_causes(),
        call("Remove-LeftOvers", Paths=LEFT_OVERS),
        call("Wait-Agents", Names=AGENTS, Seconds=AGENT_SECONDS),
        call("Invoke-Sysprep", Arguments=arguments, Seconds=int(seconds), Grace=GRACE_SECONDS),
    ]
    whole = seconds + AGENT_SECONDS + GRACE_SECONDS + OTHER_SECONDS
    return script("sysprep", lines, templates=("result", "sysprep"), timeout=whole)


def logs_script() -> GuestScript:
    """Tells what Sysprep's own logs say, where the script that ran it was ended from outside; fails as that would."""
    lines = [*_causes(), call("Stop-Failed", Name="timeout")]
    return script("sysprep-logs", lines, templates=("result", "sysprep"), timeout=CHECK_SECONDS)


def _causes() -> list[str]:
    return [call("Add-Cause", Name=item.name, Code=item.code, Pattern=item.pattern or None) for item in CAUSES]


def check(context: StepContext, where: Place | None = None) -> SysprepFacts:
    """Read the facts in the guest and log what is found. Raises BuildError when something blocks Sysprep."""
    facts = SysprepFacts.from_result(told(context, check_script()))
    findings = sysprep_findings(facts)
    if facts.earlier_runs is not None:
        context.log(f"earlier runs of Sysprep: {facts.earlier_runs}; rearms left: {facts.rearms_left}")
    for finding in findings:
        context.log(f"{'blocks' if finding.blocks else 'note'}: {finding.describe()}")
    found = blocking(findings)
    if found:
        more = f" (and {len(found) - 1} more)" if found[1:] else ""
        raise BuildError(
            f"Windows can't be generalized: {found[0].message}{more}",
            code="sysprep-blocked",
            where=where,
            hint=found[0].remedy,
            detail="\n".join(finding.describe() for finding in found),
        )
    return facts


def _run(step: Step, context: StepContext) -> None:
    check(context, step.place)
    reader = ResultReader(context.log)
    seal = sysprep_script(str(step.inputs["mode"]), seconds=step.timeout or SEAL_SECONDS)
    try:
        context.session.guest.execute(seal, reader)
    except BuildError as error:
        if error.code == "step-timeout" and not reader.given:
            raise _ended_from_outside(error, step, context) from error
        if error.code != "step-failed" or not reader.given:
            raise
        raise explained(reader.result(), error, step.place) from error


def _ended_from_outside(error: BuildError, step: Step, context: StepContext) -> BuildError:
    """The error of a Sysprep that nobody saw the end of: with its logs, as long as the guest tells them."""
    reader = ResultReader(context.log)
    try:
        context.session.guest.execute(logs_script(), reader)
    except BuildError as told:
        if reader.given:
            return explained(reader.result(), told, step.place)
        context.log(f"Sysprep's logs can't be read: {told.message}")
    return error


def explained(result: dict[str, Any], error: BuildError, where: Place | None) -> BuildError:
    """The error for the cause that the script told."""
    cause = next((item for item in CAUSES if item.name == result.get("cause")), CAUSES[-1])
    state = result.get("state") or "unknown"
    return BuildError(
        f"{cause.message} (the image's state is {state})",
        code=f"sysprep-{cause.name}",
        where=where,
        hint=cause.hint,
        detail=error.detail,
    )


KINDS.register(Kind("sysprep", VERSION, _run))
