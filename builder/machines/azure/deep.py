"""`verify: deep`: the captured disk is looked at by another machine, made of what the build itself started from.

Nothing of the build has ever run in that one: not even when the build started at a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import BuildError
from builder.guest.generalize import place_of
from builder.machines.azure.attaching import attach
from builder.machines.azure.bodies import disk_body
from builder.machines.azure.guest import ScriptFailed
from builder.machines.azure.kinds import source_of
from builder.machines.azure.resolved import SOURCE, ResolvedSource, SourceDisk
from builder.machines.azure.scripts import here
from builder.model.run import GuestScript, StepContext

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession
    from builder.machines.azure.vm import Vm

TEMPLATES = Path(__file__).parent / "templates"
ROLE = "verify"
# The exit code that says that something was found; others say that nobody can tell
FOUND = 10


def verify_deeply(context: StepContext, snapshot: Mapping[str, Any]) -> None:
    """Check the OS disk in a snapshot from a second VM, of the spec's source.

    Raises BuildError ("not-generalized", or "not-looked-at" when nobody can tell).
    """
    session: AzureSession = context.session
    context.progress(0, None, "", "making a second VM to look at the captured disk")
    source = source_of(next(step for step in context.steps if step.kind == SOURCE), context)
    vm = session.second_vm(ROLE, source)
    lun = _attach(session, vm, source, snapshot)
    context.progress(0, None, "", "looking at the captured disk")
    try:
        session.guest_of(vm).execute(deep_script(session.check_of_generalize(), str(lun)), context.log)
    except ScriptFailed as error:
        if error.status == FOUND:
            raise BuildError(
                "the captured disk is not generalized: things of the build VM would go into every VM",
                code="not-generalized",
                where=place_of(session.image),
                hint="if one belongs in the image, keep it: `generalize: {keep: [PATH]}`",
                detail=error.detail,
            ) from error
        raise BuildError(
            "the captured disk could not be looked at",
            code="not-looked-at",
            where=session.image.place(*session.image.machine.path, "verify"),
            hint="leave `verify: deep` out: the build VM itself has been looked at before it was captured",
            detail=error.detail,
        ) from error
    with context.run.effect("azure.remove", resource=str(vm.id)):
        session.azure.delete(vm.id)


def _attach(session: AzureSession, vm: Vm, source: ResolvedSource, snapshot: Mapping[str, Any]) -> int:
    """Attach a copy, after the VM has started: two disks with the same names may not meet at boot. Returns its LUN."""
    made, stop = session.provisioner_made, session.run.stop
    id = made.names.compute("disks", f"{ROLE}-captured")
    copied = SourceDisk(0, 0, "snapshot", str(snapshot["id"]))
    body = disk_body(copied, source, made.machine, copied_from=copied.resource, size=None, tags=made.tags())
    with session.run.effect("azure.disk", resource=str(id)):
        session.azure.put(id, body, stop=stop).wait(stop=stop)
    return attach(vm, id)


def deep_script(check: GuestScript, disk: str) -> GuestScript:
    """The script that mounts a disk (by its LUN, or a device) and runs the check in its root."""
    text = "\n".join((TEMPLATES / f"{name}.sh").read_text(encoding="utf-8") for name in ("devices", "deep"))
    # The check comes by the standard input of the whole
    whole = here(f"cat > {CHECK}", check.text) + "\n" + here(f"cat > {DEEP}", text)
    line = f"unshare --mount --propagation private /bin/sh -eu {DEEP} {disk} < {CHECK}"
    return GuestScript(f"{whole}\n{line}\n", timeout=check.timeout)


CHECK, DEEP = "/run/build-check", "/run/build-deep"
