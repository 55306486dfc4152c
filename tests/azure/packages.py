"""Package managers of Linux guests: those of the distribution, over a small archive of packages.

What is installed is recorded where the real ones record it, as far as their readers ask: dpkg's status file, which the
real dpkg-query reads, and a list for rpm. A package that the archive lacks is refused, in the manager's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """`services` are units that start it; `needs` come along."""

    version: str
    services: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


ARCHIVE: Mapping[str, Package] = {
    "curl": Package("8.5.0-2"),
    "jq": Package("1.7.1-3", needs=("libjq1",)),
    "libjq1": Package("1.7.1-3"),
    "nginx": Package("1.24.0-2", services=("nginx",), needs=("nginx-common",)),
    "nginx-common": Package("1.24.0-2"),
    "openssh-server": Package("9.6p1-3", services=("ssh",)),
}
# Programs by which a distribution is told from another; a guest sees none of the host's that are not its own
MANAGERS = ("apt-get", "apt", "dpkg", "dpkg-query", "dnf", "dnf5", "tdnf", "yum", "zypper", "apk", "rpm")
OWN: Mapping[str, tuple[str, ...]] = {
    "debian": ("apt-get", "apt", "dpkg", "dpkg-query"),
    "ubuntu": ("apt-get", "apt", "dpkg", "dpkg-query"),
}
RPM_FAMILY = ("dnf", "rpm")
# Files that make a program of the archive known to systemd; a guest's /usr/lib is its host's
UNITS = "/usr/local/lib/systemd/system"

_COMMON = """#!/bin/sh
# A package manager of a simulated guest
set -eu
{archive}
unit() {{
    mkdir -p {units}
    printf '[Unit]\\nDescription=%s\\n[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' \\
        "$1" > "{units}/$1.service"
}}
"""
_APT = """
status=/var/lib/dpkg/status
mkdir -p /var/lib/dpkg /var/lib/apt/lists /var/cache/apt/archives
[ -e "$status" ] || : > "$status"
installed() { grep -qx "Package: $1" "$status"; }
add() {
    ! installed "$1" || return 0
    find_package "$1" || { echo "E: Unable to locate package $1" >&2; exit 100; }
    for need in $needs; do ( add "$need" ); done
    find_package "$1"
    printf 'Package: %s\\nStatus: install ok installed\\nArchitecture: amd64\\nVersion: %s\\n%s\\n%s\\n\\n' \\
        "$1" "$version" "Maintainer: nobody" "Description: $1" >> "$status"
    for service in $services; do unit "$service"; done
    echo "Setting up $1 ($version) ..."
}
purge() {
    installed "$1" || { echo "Package '$1' is not installed, so not removed"; return 0; }
    awk -v name="$1" 'BEGIN { RS = ""; ORS = "\\n\\n" } $2 != name' "$status" > "$status.new"
    mv "$status.new" "$status"
    echo "Removing $1 ..."
}
verb=
while [ $# -gt 0 ]; do
    case "$1" in
        -o | -t | -c) shift ;;
        --) shift; break ;;
        -*) ;;
        *) [ -z "$verb" ] || break; verb=$1 ;;
    esac
    shift
done
echo "Reading package lists..."
case "$verb" in
    install) for item; do [ "$item" = -- ] || add "${item%%=*}"; done ;;
    remove | purge) for item; do [ "$item" = -- ] || purge "$item"; done ;;
    update | upgrade | dist-upgrade | full-upgrade | autoremove | clean | autoclean) ;;
    *) echo "E: Invalid operation $verb" >&2; exit 100 ;;
esac
"""
_DNF = """
list=/var/lib/rpm/simulated
mkdir -p /var/lib/rpm
[ -e "$list" ] || : > "$list"
installed() { grep -q "^$1	" "$list"; }
add() {
    ! installed "$1" || { echo "Package $1 is already installed."; return 0; }
    find_package "$1" || { echo "Error: Unable to find a match: $1" >&2; exit 1; }
    for need in $needs; do ( add "$need" ); done
    find_package "$1"
    printf '%s\\t%s\\n' "$1" "$version" >> "$list"
    for service in $services; do unit "$service"; done
    echo "  Installing : $1-$version.x86_64"
}
drop() {
    sed -i "/^$1	/d" "$list"
    echo "  Erasing : $1"
}
verb=
while [ $# -gt 0 ]; do
    case "$1" in
        --) shift; break ;;
        -*) ;;
        *) [ -z "$verb" ] || break; verb=$1 ;;
    esac
    shift
done
case "$verb" in
    install) for item; do add "$item"; done; echo "Complete!" ;;
    remove) for item; do drop "$item"; done; echo "Complete!" ;;
    upgrade | update | makecache | clean | autoremove) echo "Nothing to do." ;;
    *) echo "No such command: $verb" >&2; exit 1 ;;
esac
"""
_RPM = """#!/bin/sh
# Answers what is asked of rpm's database: whether a package is installed, or the list of all
list=/var/lib/rpm/simulated
case " $* " in
    *" -qa "*)
        [ ! -e "$list" ] || while IFS='	' read -r name version; do
            printf '%s\\t%s\\tx86_64\\n' "$name" "$version"
        done < "$list" ;;
    *" -q "*) for last; do :; done; grep -q "^$last	" "$list" 2>/dev/null ;;
    *) echo "rpm: $*: not simulated" >&2; exit 1 ;;
esac
"""


def _archive(archive: Mapping[str, Package]) -> str:
    """The archive as a shell function that sets what is known of `$1`."""
    rows = "\n".join(
        f"        {name}) version='{package.version}' services='{' '.join(package.services)}'"
        f" needs='{' '.join(package.needs)}' ;;"
        for name, package in archive.items()
    )
    return f'find_package() {{\n    case "$1" in\n{rows}\n        *) return 1 ;;\n    esac\n}}'


def programs(os_name: str, archive: Mapping[str, Package] = ARCHIVE) -> dict[str, str]:
    """The package manager of a distribution, by the names of its programs."""
    common = _COMMON.format(archive=_archive(archive), units=UNITS)
    if os_name in OWN:
        return {"apt-get": common + _APT}
    return {"dnf": common + _DNF, "rpm": _RPM}


def hidden(os_name: str) -> list[Path]:
    """Programs of this host that a guest of this distribution hasn't."""
    own = OWN.get(os_name, RPM_FAMILY)
    places = (Path("/usr/bin"), Path("/usr/sbin"))
    return [path for name in MANAGERS if name not in own for place in places if (path := place / name).is_file()]
