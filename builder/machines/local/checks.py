"""The test stage of the local machine: the captured image rehearses its deployment in QEMU, as Azure would do it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from builder.errors import BuildError
from builder.model.kinds import KINDS, Kind
from builder.model.observed import Blocker
from builder.model.run import CheckResult, StepContext
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Stage, Step

if TYPE_CHECKING:
    from builder.machines.local.rehearsal.vm import RehearsedVm
    from builder.machines.local.session import LocalSession

# Azure gives up on a VM that has not reported itself ready after 20 minutes (OSProvisioningTimedOut)
PROVISION_SECONDS = 1200.0
RUN_SECONDS = 600.0
SHOWN_COMMAND = 60


def test_steps(image: ImageSpec) -> list[Step]:
    """The steps of the test stage. Every one works on a throw-away layer: the artifact is never written to."""
    return [_step(choice, image) for choice in image.test]


def blocked_tests(image: ImageSpec) -> tuple[Blocker, ...]:
    """The tests that can't work for this image."""
    commands = [choice for choice in image.test if choice.kind != "provision"]
    if not commands:
        return ()
    from builder.machines.local.rehearsal.vm import can_run_commands

    found = []
    for choice in commands:
        try:
            can_run_commands(generalized=image.generalize is not None, where=image.place(*choice.path))
        except BuildError as error:
            assert error.where is not None
            found.append(Blocker(error.message, error.where, error.hint, error.code))
    return tuple(found)


def _first_line(command: str) -> str:
    lines = command.strip().splitlines() or [""]
    return lines[0][:SHOWN_COMMAND]


def _step(choice: Choice, image: ImageSpec) -> Step:
    values = choice.values
    title = {
        "provision": "provision a VM from it" if image.generalize else "boot a VM from it",
        "identity": "two VMs from it share no identity",
        "run": f"run {_first_line(values.get('command', ''))}",
    }[choice.kind]
    machine = image.machine.values
    hardware = {"memory": machine["memory"], "cpus": machine["cpus"], "generation": image.os.generation}
    return Step(
        stage=Stage.TEST,
        kind=f"test.{choice.kind}",
        title=title,
        inputs={**values, **hardware, "generalized": image.generalize is not None},
        preview=Preview.OPAQUE if choice.kind == "run" else Preview.EXACT,
        changes=(Change("check", "test", title),),
        place=image.place(*choice.path),
        timeout=values.get("timeout"),
        identity=False,
    )


def _start(step: Step, context: StepContext, stack: ExitStack, name: str) -> RehearsedVm:
    from builder.machines.local.rehearsal.vm import rehearse

    session: LocalSession = context.session
    assert context.artifact is not None
    inputs = step.inputs
    vm = stack.enter_context(
        rehearse(
            [disk.file for disk in context.artifact.disks],
            luns=[disk.lun for disk in context.artifact.disks],
            generation=inputs["generation"],
            architecture=context.run.image.os.architecture,
            work=session.work / name,
            memory_mib=int(inputs["memory"]) // (1024 * 1024),
            cpus=int(inputs["cpus"]),
            timeout=step.timeout or PROVISION_SECONDS,
            on_line=context.log,
            progress=lambda doing: context.progress(0, None, "", doing),
            stop=context.run.stop,
            generalized=bool(inputs["generalized"]),
        )
    )
    vm.wait_ready()
    return vm


def _run_provision(step: Step, context: StepContext) -> None:
    session: LocalSession = context.session
    vm = _start(step, context, session.stack, "vm")
    session.vm = vm
    for check in vm.checks():
        _report(check, step, context)
    _end_after_last(step, context)


def _run_command(step: Step, context: StepContext) -> None:
    session: LocalSession = context.session
    if session.vm is None:
        raise BuildError(
            "there is no VM to run this in",
            code="test-without-vm",
            where=step.place,
            hint="write `- provision: {}` before it",
        )
    started = time.monotonic()
    timeout = step.timeout or RUN_SECONDS
    env: Mapping[str, Any] = step.inputs.get("env") or {}
    exit_code, output = session.vm.run(str(step.inputs["command"]), timeout=timeout, env=env)
    if output:
        context.log(output)
    passed = exit_code == 0
    detail = "" if passed else f"exit code {exit_code}"
    _report(CheckResult(step.title, passed, time.monotonic() - started, detail), step, context, output=output)
    _end_after_last(step, context)


def _run_identity(step: Step, context: StepContext) -> None:
    """Boot a second VM (and a first where none runs yet) and compare what must differ."""
    from builder.machines.local.rehearsal.checks import shared_identity

    session: LocalSession = context.session
    started = time.monotonic()
    with ExitStack() as stack:
        first = session.vm or _start(step, context, stack, "vm-first")
        one = first.identity()
        second = _start(step, context, stack, "vm-second")
        shared = shared_identity(one, second.identity())
    detail = "" if not shared else "both VMs have the same " + ", ".join(shared)
    _report(CheckResult(step.title, not shared, time.monotonic() - started, detail), step, context)
    _end_after_last(step, context)


def _report(check: CheckResult, step: Step, context: StepContext, output: str = "") -> None:
    """Record a check; a failed one fails the step, so that nothing is published."""
    context.checks.append(check)
    context.log(f"{'passed' if check.passed else 'FAILED'}: {check.name} {check.detail}".rstrip())
    if not check.passed:
        session: LocalSession = context.session
        tail = "\n".join(output.splitlines()[-20:])
        console = session.vm.console_tail() if session.vm and not tail else ""
        raise BuildError(
            f"test failed: {check.name}: {check.detail}".rstrip(": "),
            code="test-failed",
            where=step.place,
            hint="nothing was published; the captured artifact is kept, so that the next apply only tests again",
            detail=tail or console,
        )


def _end_after_last(step: Step, context: StepContext) -> None:
    """Turn the VM off once no later test needs it."""
    last = max(other.index for other in context.steps if other.stage == Stage.TEST)
    if step.index == last:
        session: LocalSession = context.session
        session.vm = None
        session.stack.close()


KINDS.register(Kind("test.provision", 1, _run_provision))
KINDS.register(Kind("test.run", 1, _run_command))
KINDS.register(Kind("test.identity", 1, _run_identity))
