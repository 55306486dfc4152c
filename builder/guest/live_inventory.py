"""What a running Linux guest holds, told by its own programs: what `builder.guest.inventory` reads from a disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.errors import BuildError
from builder.model.artifact import Inventory, InventoryFile, Package, User
from builder.model.run import GuestScript

SECONDS = 600.0
END = "[end]"
# Sections of tab-separated lines; each program is asked only where it is
SCRIPT = r"""
echo '[os]'
cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null || :
echo '[kernel]'
for folder in /lib/modules/*/kernel; do
    [ -d "$folder" ] || continue
    folder=${folder%/kernel}
    printf '%s\n' "${folder##*/}"
done
echo '[deb]'
if [ -s /var/lib/dpkg/status ]; then
    dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n' | sed -n 's/^installed\t//p'
fi
echo '[rpm]'
if command -v rpm >/dev/null 2>&1 && { [ -d /usr/lib/sysimage/rpm ] || [ -d /var/lib/rpm ]; }; then
    rpm -qa --qf '%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n' | grep -v '^gpg-pubkey' || :
fi
echo '[apk]'
for file in /lib/apk/db/installed /usr/lib/apk/db/installed; do
    [ ! -L "$file" ] && [ -f "$file" ] || continue
    awk -F: '/^P:/ { name = $2 } /^V:/ { version = substr($0, 3) } /^A:/ { architecture = $2 }
        /^$/ && name { print name "\t" version "\t" architecture; name = "" }' "$file"
done
echo '[users]'
cat /etc/passwd
echo '[services]'
find /etc/systemd/system/*.wants /etc/systemd/system/*.requires /etc/systemd/system/*.upholds /etc/runlevels/* \
    -mindepth 1 -maxdepth 1 2>/dev/null | sed 's,.*/,,' | while read -r unit; do
    # A masked unit doesn't start, whoever wants it
    own=/etc/systemd/system/$unit
    if [ "$(readlink "$own")" = /dev/null ] || { [ -f "$own" ] && [ ! -s "$own" ]; }; then continue; fi
    printf '%s\n' "$unit"
done
echo '[files]'
for path; do
    [ ! -L "$path" ] && [ -f "$path" ] || continue
    sum=$(sha256sum < "$path")
    printf '%s\t%s\t%s\t%s\n' "${sum%% *}" "$(stat -c %a "$path")" "$(stat -c %U:%G "$path")" "$path"
done
echo '[end]'
"""


def inventory_script(paths_of_ours: Sequence[str] = ()) -> GuestScript:
    """Prints what `parse_inventory` reads. `paths_of_ours` are the files that the spec put there."""
    return GuestScript(SCRIPT, interpreter=("/bin/sh", "-u"), arguments=tuple(paths_of_ours), timeout=SECONDS)


def parse_inventory(text: str) -> Inventory:
    """The inventory in what the script printed. Raises BuildError when its end is missing."""
    from builder.disk.system import parse_os_release

    sections = _sections(text)
    if END not in sections:
        raise BuildError(
            "the guest did not tell all that it holds", code="guest-result", hint="the run's log has what it printed"
        )
    packages = [package for kind in ("deb", "rpm", "apk") for package in _packages(sections[f"[{kind}]"], kind)]
    return Inventory(
        os=parse_os_release("\n".join(sections["[os]"])),
        kernel=tuple(sorted(set(sections["[kernel]"]))),
        packages=tuple(sorted(packages, key=lambda item: (item.name, item.architecture, item.version))),
        files=tuple(_files(sections["[files]"])),
        users=tuple(sorted(_users(sections["[users]"]), key=lambda user: (user.uid, user.name))),
        services=tuple(sorted(set(sections["[services]"]))),
    )


def _sections(text: str) -> dict[str, list[str]]:
    names = ("[os]", "[kernel]", "[deb]", "[rpm]", "[apk]", "[users]", "[services]", "[files]", END)
    found: dict[str, list[str]] = {}
    here: list[str] = []
    for line in text.splitlines():
        if line in names and line not in found:
            here = found[line] = []
        elif line:
            here.append(line)
    return found if all(name in found for name in names) else {}


def _packages(lines: Sequence[str], kind: str) -> Iterator[Package]:
    for line in lines:
        fields = line.split("\t")
        if len(fields) == 3:
            yield Package(fields[0], fields[1], fields[2], kind)


def _users(lines: Sequence[str]) -> Iterator[User]:
    for line in lines:
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and fields[3].isdecimal():
            yield User(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6])


def _files(lines: Sequence[str]) -> Iterator[InventoryFile]:
    for line in sorted(lines, key=lambda item: item.rpartition("\t")[2]):
        fields = line.split("\t")
        if len(fields) == 4:
            yield InventoryFile(fields[3], fields[0], f"{int(fields[1], 8):04o}", fields[2])
