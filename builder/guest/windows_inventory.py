"""What a Windows image holds, told by the Windows itself: its databases can't be read from outside as Linux's can.

Read before Sysprep, since a sealed Windows runs nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import BuildError
from builder.guest.kinds.windows import told
from builder.guest.powershell import call, script
from builder.guest.sysprep_findings import runs_before
from builder.model.artifact import Inventory, InventoryFile, Package, User
from builder.model.hardware import HOST_ARCHITECTURES
from builder.model.run import GuestScript, StepContext

TIMEOUT_SECONDS = 15 * 60
PROGRAM, HOTFIX, FEATURE = "windows", "hotfix", "feature"
# The primary group of every local account ("None" on a machine of its own)
LOCAL_USERS = 513
# Beside what a system says of itself: how often it was generalized before, in all the images that it came from
EARLIER_RUNS = "EARLIER_SYSPREP_RUNS"


def inventory_script(paths_of_ours: Sequence[str] = ()) -> GuestScript:
    """Tells what `parse_inventory` reads. `paths_of_ours` are the files that the spec put there."""
    line = f"Write-Result ({call('Get-BuildInventory', Paths=sorted(set(paths_of_ours)))})"
    return script("inventory", [line], templates=("result", "inventory"), timeout=TIMEOUT_SECONDS)


def read_inventory(context: StepContext, paths_of_ours: Sequence[str] = ()) -> Inventory:
    """The inventory of the running guest. Raises BuildError when the guest doesn't tell."""
    return parse_inventory(told(context, inventory_script(paths_of_ours)))


def parse_inventory(result: Mapping[str, Any]) -> Inventory:
    """The inventory in a script's result. Raises BuildError when a part is missing or of another form.

    Programs have the type `windows`, updates `hotfix`, roles and features `feature`; a user's number is the last part
    of its security identifier.
    """
    try:
        build = f"{result['version']}.{result['revision']}"
        own = HOST_ARCHITECTURES[result["architecture"].lower()]
        found = {
            *_programs(result["programs"], {64: own, 32: "x86"}),
            *(Package(name, "", own, HOTFIX) for name in result["hotfixes"] if name),
            *(Package(name, build, own, FEATURE) for name in result["features"] if name),
        }
        runs = runs_before(result["rearms_left"])
        return Inventory(
            os={
                "ID": "windows",
                "VERSION_ID": build,
                "PRETTY_NAME": result["caption"].strip(),
                "VARIANT_ID": result["edition"],
                "VARIANT": result["installation"],
                "RELEASE": result["release"],
                **({} if runs is None else {EARLIER_RUNS: str(runs)}),
            },
            kernel=(build,),
            packages=tuple(sorted(found, key=lambda item: (item.type, item.name, item.architecture, item.version))),
            files=tuple(
                InventoryFile(item["path"], item["sha256"].lower(), "", item["owner"])
                for item in sorted(result["files"], key=lambda item: str(item["path"]))
            ),
            users=tuple(sorted(map(_user, result["users"]), key=lambda user: (user.uid, user.name))),
            services=tuple(sorted(set(result["services"]))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BuildError(f"the guest's inventory can't be read: {error!r}", code="guest-result") from error


def _programs(found: Sequence[Mapping[str, Any]], architectures: Mapping[int, str]) -> list[Package]:
    return [
        Package(item["name"].strip(), item["version"].strip(), architectures[item["bits"]], PROGRAM)
        for item in found
        if item["name"].strip()
    ]


def _user(item: Mapping[str, Any]) -> User:
    return User(item["name"], int(item["sid"].rsplit("-", 1)[1]), LOCAL_USERS, item["home"], "")
