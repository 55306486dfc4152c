"""`verify: deep`: the captured disk is looked at by another machine, which nothing on that disk has ever run in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.azure.ids import ResourceId
from builder.errors import BuildError
from builder.guest.generalize import place_of
from builder.machines.azure.bodies import disk_body
from builder.machines.azure.resolved import SourceDisk
from builder.machines.azure.scripts import here
from builder.model.run import GuestScript, StepContext

if TYPE_CHECKING:
    from builder.machines.azure.session import AzureSession
    from builder.machines.azure.vm import Vm

TEMPLATES = Path(__file__).parent / "templates"
ROLE = "verify"


def verify_deeply(context: StepContext, snapshot: Mapping[str, Any]) -> None:
    """Check the OS disk in a snapshot from a second VM of the same source. Raises BuildError ("not-generalized")."""
    session: AzureSession = context.session
    context.progress(0, None, "", "making a second VM to look at the captured disk")
    vm = session.second_vm(ROLE)
    lun = next(number for number in range(64) if number not in {disk.lun for disk in vm.disks})
    _attach(session, vm, lun, snapshot)
    context.progress(0, None, "", "looking at the captured disk")
    try:
        session.guest_of(vm).execute(deep_script(session.check_of_generalize(), str(lun)), context.log)
    except BuildError as error:
        if error.code != "step-failed":
            raise
        raise BuildError(
            "the captured disk is not generalized: things of the build VM would go into every VM",
            code="not-generalized",
            where=place_of(session.image),
            hint="if one belongs in the image, keep it: `generalize: {keep: [PATH]}`",
            detail=error.detail,
        ) from error
    with context.run.effect("azure.remove", resource=str(vm.id)):
        session.azure.delete(vm.id)


def _attach(session: AzureSession, vm: Vm, lun: int, snapshot: Mapping[str, Any]) -> None:
    """Attach a copy, after the VM has started: two disks with the same names may not meet at boot."""
    made = session.provisioner_made
    source, stop = session.source, session.run.stop
    id = made.disk_id(ROLE, lun)
    copied = SourceDisk(lun, 0, "snapshot", str(snapshot["id"]))
    body = disk_body(copied, source, made.machine, copied_from=copied.resource, size=None, tags=made.tags())
    with session.run.effect("azure.disk", resource=str(id)):
        session.azure.put(id, body, stop=stop).wait(stop=stop)
    data = list(session.azure.get(vm.id)["properties"]["storageProfile"].get("dataDisks") or [])
    data.append({"lun": lun, "createOption": "Attach", "managedDisk": {"id": str(id)}, "deleteOption": "Detach"})
    with session.run.effect("azure.attach", resource=str(ResourceId.parse(str(id)))):
        change = {"properties": {"storageProfile": {"dataDisks": data}}}
        session.azure.patch(vm.id, change, stop=stop).wait(stop=stop)


def deep_script(check: GuestScript, disk: str) -> GuestScript:
    """The script that mounts a disk (by its LUN, or a device) and runs the check in its root."""
    text = "\n".join((TEMPLATES / f"{name}.sh").read_text(encoding="utf-8") for name in ("devices", "deep"))
    # The check comes by the standard input of the whole
    whole = here(f"cat > {CHECK}", check.text) + "\n" + here(f"cat > {DEEP}", text)
    line = f"unshare --mount --propagation private /bin/sh -eu {DEEP} {disk} < {CHECK}"
    return GuestScript(f"{whole}\n{line}\n", timeout=check.timeout)


CHECK, DEEP = "/run/build-check", "/run/build-deep"
