"""`packages`: upgrade, install and remove with the image's own package manager, each manager a row of a table.

Whether recommended packages come along is what the distribution's own configuration says, as at a prompt. Changed
configuration files stay as they are. Removing takes the package's configuration along; a package that isn't installed
is nothing to remove.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.errors import BuildError
from builder.guest.kinds import windows
from builder.guest.kinds.common import Staged, listed, make_step, place_of, register
from builder.model.run import GuestFacts, GuestScript
from builder.model.spec import Choice, ImageSpec
from builder.model.steps import Change, Preview, Step

VERSION = 1
# Seconds to wait for another package manager to end: a booted VM may be updating itself
LOCK_WAIT = 300

RPM_INSTALLED = 'rpm -q --quiet -- "$1"'


@dataclass(frozen=True)
class Manager:
    """One package manager: sh commands, to which `install` and `remove` get quoted names added.

    `installed` tests for the package `$1`. `version` joins a name and a version.
    """

    refresh: str
    upgrade: str
    install: str
    remove: str
    installed: str
    version: str = "{name}-{version}"
    env: Mapping[str, str] = field(default_factory=dict)
    functions: str = ""


# confdef, confold: keep what earlier steps wrote. Error-Mode: an index that can't be fetched is an error, not a
# warning (apt before 2.1 ignores it)
APT = (
    "apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
    f"-o DPkg::Lock::Timeout={LOCK_WAIT} -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "
    "-o APT::Keep-Downloaded-Packages=false -o Acquire::Languages=none"
)
DNF = "dnf -y --setopt=retries=10"
# yum 3 ends well when only some of the names exist
YUM = "yum -y --setopt=retries=10 --setopt=skip_missing_names_on_install=False"
APK = f"apk --no-progress --wait {LOCK_WAIT}"
# Reboot needed (102) and package manager restart needed (103) are no failures
ZYPPER_FUNCTION = """\
zypper() {
    status=0
    command zypper --non-interactive "$@" || status=$?
    case $status in 102 | 103) status=0 ;; esac
    return "$status"
}
"""

MANAGERS: Mapping[str, Manager] = {
    "apt": Manager(
        refresh=f"{APT} update",
        upgrade=f"{APT} upgrade --with-new-pkgs",
        install=f"{APT} install --allow-downgrades --",
        remove=f"{APT} purge --",
        installed="dpkg-query -W -f='${db:Status-Status}\\n' \"$1\" 2>/dev/null | grep -Eqvx 'not-installed'",
        version="{name}={version}",
        env={"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_SUSPEND": "1"},
    ),
    "dnf": Manager(
        refresh="",
        upgrade=f"{DNF} upgrade --refresh",
        install=f"{DNF} install --refresh --",
        remove=f"{DNF} remove --",
        installed=RPM_INSTALLED,
    ),
    "yum": Manager(
        refresh=f"{YUM} makecache",
        upgrade=f"{YUM} update",
        install=f"{YUM} install --",
        remove=f"{YUM} remove --",
        installed=RPM_INSTALLED,
    ),
    "tdnf": Manager(
        refresh="tdnf -y makecache",
        upgrade="tdnf -y update",
        install="tdnf -y install",
        remove="tdnf -y remove",
        installed=RPM_INSTALLED,
    ),
    "zypper": Manager(
        refresh="zypper refresh",
        upgrade="zypper update --auto-agree-with-licenses",
        install="zypper install --auto-agree-with-licenses --oldpackage --",
        remove="zypper remove --",
        installed=RPM_INSTALLED,
        version="{name}={version}",
        env={"ZYPP_LOCK_TIMEOUT": str(LOCK_WAIT)},
        functions=ZYPPER_FUNCTION,
    ),
    "apk": Manager(
        refresh=f"{APK} update",
        upgrade=f"{APK} upgrade",
        install=f"{APK} add --",
        remove=f"{APK} del --",
        installed='apk info -e "$1" >/dev/null',
        version="{name}={version}",
    ),
}


def step(choice: Choice, image: ImageSpec) -> Step:
    """The step: which packages come along as dependencies is only known when it runs."""
    values = choice.values
    install, remove = list(values.get("install", ())), list(values.get("remove", ()))
    if windows.is_windows(image):
        windows.check_packages([*install, *remove], place_of(choice, image))
    upgrade = bool(values.get("upgrade", False))
    parts = ["upgrade all packages"] if upgrade else []
    parts += [f"install {listed(install)}"] if install else []
    parts += [f"remove {listed(remove)}"] if remove else []
    changes = [Change("change", "package", "all installed packages", "upgraded")] if upgrade else []
    for item in install:
        name, _, version = item.partition("=")
        changes.append(Change("create", "package", name, version))
    changes += [Change("delete", "package", name) for name in remove]
    return make_step(
        choice,
        image,
        title="; ".join(parts) or "no packages",
        inputs={"upgrade": upgrade, "install": install, "remove": remove},
        preview=Preview.PREDICTED,
        changes=changes,
    )


def script(inputs: Mapping[str, Any], facts: GuestFacts, files: Staged) -> GuestScript:
    """Upgrade, then install, then remove: what is removed may be replaced by what is installed."""
    manager = MANAGERS.get(facts.package_manager)
    if manager is None:
        raise BuildError(
            f"{facts.distribution or 'the image'} has no package manager that build knows",
            code="no-package-manager",
            hint=f"known are {', '.join(MANAGERS)}; a `run` step can do what others need",
        )
    lines = [manager.functions] if manager.functions else []
    install, remove = inputs.get("install", ()), inputs.get("remove", ())
    if manager.refresh and (inputs.get("upgrade") or install):
        lines.append(manager.refresh)
    if inputs.get("upgrade"):
        lines.append(manager.upgrade)
    if install:
        names = shlex.join(_versioned(manager, item) for item in install)
        lines.append(f"{manager.install} {names}")
    if remove:
        lines.append(REMOVE.format(installed=manager.installed, remove=manager.remove, names=shlex.join(remove)))
    return GuestScript("\n".join(lines) + "\n", env=manager.env)


REMOVE = """\
installed() {{
    {installed}
}}
remove_installed() {{
    for name; do
        shift
        if installed "$name"; then set -- "$@" "$name"; else echo "$name is not installed: nothing to remove"; fi
    done
    [ $# -eq 0 ] || {remove} "$@"
}}
remove_installed {names}
"""


def _versioned(manager: Manager, item: str) -> str:
    name, sign, version = item.partition("=")
    return manager.version.format(name=name, version=version) if sign else item


register("packages", VERSION, {"linux": script, "windows": windows.packages_script})
