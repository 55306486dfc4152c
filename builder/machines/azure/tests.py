"""The test stage on Azure: VMs that are made of the published version, as everybody will make them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from builder.azure.errors import AzureError, Remedy
from builder.azure.ids import ResourceId
from builder.errors import BuildError, Interrupted
from builder.machines.azure.guest import AzureGuest
from builder.machines.azure.kinds import plan_of
from builder.machines.azure.resolved import TEST_IDENTITY, TEST_PROVISION, TEST_RUN, ResolvedSource, SourceDisk
from builder.machines.azure.vm import Vm
from builder.model.kinds import KINDS, Kind
from builder.model.run import CheckResult, GuestScript, StepContext
from builder.model.steps import Stage, Step
from builder.process import TAIL_LINES

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession

# What a VM is made of as a whole
DEPLOYABLE = ("microsoft.compute/galleries/images/versions", "microsoft.compute/images")
FIRST, SECOND = "test", "test-2"
RUN_SECONDS = 600.0
# What a guest that was reached, or that should have been, says about its version
VERDICTS = frozenset({"test-failed", "agent-not-ready", "guest-unreachable", "step-failed", "step-timeout"})
# What Azure refuses or fails to make a VM for, and blames on the image: codes as a whole, parts of messages. All other
# codes are the surroundings': network, quota, capacity, rights, policies, terms, faults inside Azure
IMAGE_CODES = re.compile(
    r"OSProvisioning\w*|VMAgentStatusCommunicationError|(?!\w*Not(Found|Ready|Available)$)\w*(Image|Vhd)\w*",
    re.IGNORECASE,
)
IMAGE_MESSAGES = re.compile("cannot boot", re.IGNORECASE)
HELD = "the version stands, held back until its tests have run: the same apply runs them once that is mended"
# What must differ between two machines of an image: a line "name value" for each
IDENTITY_LINUX = r"""
echo "machine-id $(cat /etc/machine-id 2>/dev/null)"
echo "hostname $(hostname 2>/dev/null || cat /etc/hostname)"
for key in /etc/ssh/ssh_host_*_key.pub; do
    [ ! -f "$key" ] || echo "${key##*/} $(sha256sum < "$key" | cut -d ' ' -f 1)"
done
"""
IDENTITY_WINDOWS = r"""
Write-Output ('hostname ' + $env:COMPUTERNAME)
$account = Get-CimInstance -ClassName Win32_UserAccount -Filter 'LocalAccount = True' | Select-Object -First 1
Write-Output ('machine-sid ' + ($account.SID -replace '-[0-9]+$', ''))
Write-Output ('machine-guid ' + (Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Cryptography').MachineGuid)
"""


def _run_provision(step: Step, context: StepContext) -> None:
    session: AzureSession = context.session
    generalized = bool(step.inputs["generalized"])
    with Reported(step, context):
        began = time.monotonic()
        vm, guest = _machine(step, context, FIRST)
        _check(context, "the VM is provisioned, and its agent is ready", "", began)
        began = time.monotonic()
        identity = read_identity(guest)
        wrong = ""
        if generalized and identity.get("hostname", "").lower() != computer_name(vm).lower():
            wrong = f"it calls itself {identity.get('hostname') or 'nothing'}, and should be {computer_name(vm)}"
        elif session.image.os.family == "linux" and not _is_machine_id(identity.get("machine-id", "")):
            wrong = "it has no machine-id"
        _check(context, "it has an identity of its own", wrong, began)
    _end_after_last(step, context)


def _run_command(step: Step, context: StepContext) -> None:
    from builder.guest.powershell import author_script

    session: AzureSession = context.session
    command, env = str(step.inputs["command"]), step.inputs.get("env") or {}
    with Reported(step, context):
        _, guest = _machine(step, context, FIRST)
        began = time.monotonic()
        if session.image.os.family == "windows":
            script = author_script(step.title, command, env=env)
        else:
            script = GuestScript(command.rstrip("\n") + "\n", env=env)
        failed, lines = "", list[str]()

        def tell(line: str) -> None:
            context.log(line)
            lines[:] = [*lines, *line.split("\n")][-TAIL_LINES:]

        try:
            guest.execute(_limited(script, step.timeout or RUN_SECONDS), tell)
        except BuildError as error:
            if error.code not in ("step-failed", "step-timeout"):
                raise
            failed = error.message
        _check(context, step.title, failed, began, detail="\n".join(lines))
    _end_after_last(step, context)


def _run_identity(step: Step, context: StepContext) -> None:
    with Reported(step, context):
        _, first = _machine(step, context, FIRST)
        began = time.monotonic()
        _, second = _machine(step, context, SECOND)
        one, other = read_identity(first), read_identity(second)
        shared = sorted(name for name, value in one.items() if value and other.get(name) == value)
        _check(context, step.title, "both VMs have the same " + ", ".join(shared) if shared else "", began)
    _end_after_last(step, context)


class Reported:
    """A block of checks: what the version fails at is a failed test, told with what the console shows.

    What fails beside it is told as it is, and the version waits for its tests.
    """

    def __init__(self, step: Step, context: StepContext) -> None:
        self._step = step
        self._context = context

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, BuildError) or isinstance(error, Interrupted):
            return
        if not is_verdict(error):
            # Of a VM that is gone, nothing is built again: another is made of the version
            error.hint = HELD if error.code == "machine-gone" else "; ".join(filter(None, (error.hint, HELD)))
            return
        context = self._context
        if error.code != "test-failed":
            context.checks.append(CheckResult(self._step.title, False, 0.0, error.message))
        session: AzureSession = context.session
        console = [vm.console_tail() for vm, _ in session.test_vms.values()]
        raise BuildError(
            error.message if error.code == "test-failed" else f"test failed: {error.message}",
            code="test-failed",
            where=self._step.place,
            hint="the version is held back: nobody gets it as the latest; "
            + (error.hint or "the next apply makes it again once the spec is mended"),
            detail="\n".join(part for part in (error.detail, *console) if part) or None,
        ) from error


def is_verdict(error: BuildError) -> bool:
    """Whether an error says something about the version, and not about what a VM of it stands in."""
    if error.code in VERDICTS:
        return True
    if not isinstance(error, AzureError) or error.remedy in (Remedy.RETRY, Remedy.WAIT):
        return False
    blamed = IMAGE_CODES.fullmatch(error.azure_code) or IMAGE_MESSAGES.search(error.message)
    return blamed is not None


def _machine(step: Step, context: StepContext, role: str) -> tuple[Vm, AzureGuest]:
    """The VM of a role, made of the version in the first place where it stands as something that VMs are made of."""
    session: AzureSession = context.session
    if role in session.test_vms:
        return session.test_vms[role]
    ids = [ResourceId.parse(location) for location in context.locations if location.startswith("/")]
    version = next((id for id in ids if id.kind.lower() in DEPLOYABLE), None)
    if version is None:
        raise BuildError("there is no published version to test", code="test-without-version", where=step.place)
    context.progress(0, None, "", "making a VM from the version")
    source = version_source(session, version, generalized=bool(step.inputs["generalized"]))
    vm = session.provisioner(source).make(source, role)
    vm.wait_agent()
    session.test_vms[role] = vm, session.guest_of(vm)
    return session.test_vms[role]


def version_source(session: AzureSession, version: ResourceId, *, generalized: bool) -> ResolvedSource:
    """A published version (of a gallery, or a managed image) as what a VM starts from."""
    image = session.image
    return ResolvedSource(
        kind="version",
        name=version.short,
        family=image.os.family,
        generation=image.os.generation,
        architecture=image.os.architecture,
        generalized=generalized,
        disks=(SourceDisk(None, 0), *_data_disks(session.azure.get(version))),
        reference={"id": str(version)},
        plan=plan_of(session.azure, version),
    )


def _data_disks(body: dict[str, Any]) -> list[SourceDisk]:
    profile = body["properties"]["storageProfile"]
    found = profile.get("dataDiskImages") or profile.get("dataDisks") or []
    return [SourceDisk(int(disk["lun"]), 0) for disk in found]


def read_identity(guest: AzureGuest) -> dict[str, str]:
    """What tells a machine from another, by name."""
    if guest.family == "windows":
        from builder.guest.powershell import script

        text = guest.read(script("identity", IDENTITY_WINDOWS.strip().splitlines()))
    else:
        text = guest.read(GuestScript(IDENTITY_LINUX))
    return dict(line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip())


def computer_name(vm: Vm) -> str:
    """The name that the VM was given."""
    return str(vm.body["properties"].get("osProfile", {}).get("computerName", ""))


def _is_machine_id(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


def _limited(script: GuestScript, seconds: float) -> GuestScript:
    from dataclasses import replace

    return replace(script, timeout=seconds)


def _check(context: StepContext, name: str, wrong: str, began: float, *, detail: str = "") -> None:
    """Record a check. Raises BuildError ("test-failed") when something is wrong."""
    context.checks.append(CheckResult(name, not wrong, time.monotonic() - began, wrong))
    context.log(f"{'FAILED' if wrong else 'passed'}: {name} {wrong}".rstrip())
    if wrong:
        raise BuildError(f"test failed: {name}: {wrong}", code="test-failed", detail=detail or None)


def _end_after_last(step: Step, context: StepContext) -> None:
    """Have the VMs removed once no later test needs them; what is left of them goes with the session."""
    if step.index == max(other.index for other in context.steps if other.stage == Stage.TEST):
        session: AzureSession = context.session
        for vm, _ in session.test_vms.values():
            try:
                with context.run.effect("azure.remove", resource=str(vm.id)):
                    session.azure.delete(vm.id)
            except AzureError as error:
                # The version has passed: what is left of its tests says nothing against it
                what = f"{vm.id} could not be removed after its tests: {error.message}"
                session.warn(f"{what}; what the end of the run leaves of it, `build gc` removes", "left-over")
        session.test_vms.clear()


KINDS.register(Kind(TEST_PROVISION, 1, _run_provision))
KINDS.register(Kind(TEST_RUN, 1, _run_command))
KINDS.register(Kind(TEST_IDENTITY, 1, _run_identity))
