"""Asks a live guest what it is."""

from __future__ import annotations

from collections.abc import Callable

from builder.model.hardware import HOST_ARCHITECTURES
from builder.model.run import GuestFacts, GuestScript

PREFIX = "build: "
# As the local machine finds them on a disk, most specific first: a manager and a program that it comes with
MANAGERS = (
    ("apt", "apt-get"),
    ("dnf", "dnf"),
    ("dnf", "dnf5"),
    ("tdnf", "tdnf"),
    ("yum", "yum"),
    ("zypper", "zypper"),
    ("apk", "apk"),
)
LINUX = """\
cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release
echo "build: architecture $(uname -m)"
for pair in {pairs}; do
    if command -v "${{pair#*:}}" >/dev/null 2>&1; then echo "build: manager ${{pair%%:*}}"; break; fi
done
"""
WINDOWS = """\
$found = Get-ItemProperty -LiteralPath 'HKLM:\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion'
$values = [ordered]@{
    ID = 'windows'
    NAME = $found.ProductName
    VERSION_ID = '10.0.' + $found.CurrentBuildNumber
    BUILD_ID = '10.0.' + $found.CurrentBuildNumber + '.' + $found.UBR
    VARIANT_ID = $found.EditionID
}
foreach ($name in $values.Keys) { Write-Output ($name + '="' + $values[$name] + '"') }
Write-Output "build: architecture $env:PROCESSOR_ARCHITECTURE"
foreach ($name in 'winget', 'choco') {
    if (Get-Command -Name $name -ErrorAction SilentlyContinue) { Write-Output "build: manager $name"; break }
}
"""
SECONDS = 300.0


def read_facts(read: Callable[[GuestScript], str], family: str) -> GuestFacts:
    """What a guest says of itself. `read` runs a script in it and returns what that prints."""
    from builder.disk.system import parse_os_release

    if family == "windows":
        from builder.guest.powershell import script

        text = read(script("what this machine is", WINDOWS.splitlines(), timeout=SECONDS))
    else:
        pairs = " ".join(f"{manager}:{program}" for manager, program in MANAGERS)
        text = read(GuestScript(LINUX.format(pairs=pairs), timeout=SECONDS))
    told = dict(line.removeprefix(PREFIX).partition(" ")[::2] for line in text.splitlines() if line.startswith(PREFIX))
    release = parse_os_release("\n".join(line for line in text.splitlines() if not line.startswith(PREFIX)))
    machine = told.get("architecture", "").strip()
    return GuestFacts(
        family=family,
        distribution=release.get("ID", ""),
        release=release.get("VERSION_ID", ""),
        architecture=ARCHITECTURES.get(machine.lower(), machine),
        package_manager=told.get("manager", "").strip(),
        os_release=release,
    )


ARCHITECTURES = {"amd64": "x64", "arm64": "arm64", **{key.lower(): value for key, value in HOST_ARCHITECTURES.items()}}
