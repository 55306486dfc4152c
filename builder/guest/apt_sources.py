"""This host's apt configuration, as far as it may serve a guest: its sources of one suite, and how it fetches.

A host's sources name its mirror, and its settings the proxy to reach it. A guest of the same distribution can use
both while it is built; third-party repositories of the host are none of the guest's business and are left out.
Sources: sources.list(5) for both formats, apt.conf(5) for `Acquire`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder import process
from builder.errors import BuildError

SOURCES = Path("/etc/apt")
# What a suite's own archive adds to the suite's name. Third parties invent others (bookworm-pgdg, cloud-sdk-bookworm)
POCKETS = ("", "-updates", "-security", "-backports", "-proposed-updates", "-proposed", "/updates")
COMPONENTS = frozenset({"main", "contrib", "non-free", "non-free-firmware", "restricted", "universe", "multiverse"})
# Archives of distributions are signed by keyrings with these names (debian-archive-keyring, ubuntu-keyring)
ARCHIVE_KEYRINGS = ("debian-archive-", "ubuntu-archive-")
KEPT_OPTIONS = ("Architectures", "Signed-By", "Trusted", "Allow-Insecure", "Check-Valid-Until", "Check-Date")
# Languages, index formats and hooks belong to a system; these say how to reach an archive and whether to believe it
KEPT_SETTINGS = (
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::ForceIPv4",
    "Acquire::ForceIPv6",
    "Acquire::Max-FutureTime",
    "Acquire::Retries",
    "Acquire::http::",
    "Acquire::https::",
)
# A program of the host, which a guest doesn't have
HOST_PROGRAMS = ("Proxy-Auto-Detect", "ProxyAutoDetect")

_OPTION_NAMES = {"arch": "Architectures"}
_ONE_LINE = re.compile(r"^(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)(.*)$")
_SETTING = re.compile(r'^(\S+) "(.*)";$')


@dataclass(frozen=True)
class AptSource:
    """Repositories of one kind: every URI holds every suite, every suite every component."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As a deb822 stanza for binary packages."""
        fields = {
            "Types": "deb",
            "URIs": " ".join(self.uris),
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
            **self.options,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def sources_text(sources: Sequence[AptSource]) -> str:
    """A deb822 `.sources` file."""
    return "\n".join(source.text() for source in sources)


def host_sources(suite: str, *, folder: Path = SOURCES) -> str:
    """The host's sources for `suite` and its pockets (updates, security, ...), as the text of a `.sources` file.

    Raises BuildError when the host has none: it runs another release, or another distribution.
    """
    found = [source for source in read_sources(folder) if _is_archive(source)]
    matching = [kept for source in found if (kept := _only_suite(source, suite)).suites]
    if not matching:
        raise BuildError(
            f"this host has no package sources for {suite}",
            code="package-sources",
            hint="write `package_sources: image` to use the distribution's own mirror",
        )
    return sources_text(list({source.text(): source for source in matching}.values()))


def host_settings() -> dict[str, str]:
    """How the host's apt reaches its archives: proxies, time-outs, validity checks, by apt's names for them.

    Raises BuildError when apt is not installed here.
    """
    program = process.find_program("apt-config", package="apt", why="read this host's package settings")
    return parse_settings(process.run([program, "dump"]).output)


def parse_settings(dump: str) -> dict[str, str]:
    """The settings worth passing on from what `apt-config dump` prints."""
    settings = {}
    for line in dump.splitlines():
        found = _SETTING.match(line)
        if found is None or not found[2]:
            continue
        name = found[1]
        kept = any(name.startswith(item) if item.endswith("::") else name == item for item in KEPT_SETTINGS)
        if kept and not name.endswith((*HOST_PROGRAMS, "::")):
            settings[name] = found[2]
    return settings


def read_sources(folder: Path = SOURCES) -> list[AptSource]:
    """All enabled sources of binary packages of an apt configuration folder, in apt's order of files."""
    parts = folder / "sources.list.d"
    files = [folder / "sources.list", *sorted([*parts.glob("*.list"), *parts.glob("*.sources")])]
    found: list[AptSource] = []
    for file in files:
        if file.is_file():
            text = file.read_text(errors="replace")
            found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return found


def parse_one_line(text: str) -> list[AptSource]:
    """The sources of a `.list` file; lines that apt would refuse are left out."""
    found = []
    for line in text.splitlines():
        parts = _ONE_LINE.match(line.split("#", 1)[0].strip())
        if parts is None or parts[1] != "deb":
            continue
        options = {}
        for word in (parts[2] or "").split():
            name, _, value = word.partition("=")
            field_name = _OPTION_NAMES.get(name.lower(), name.title())
            options[field_name] = value.replace(",", " ") if field_name == "Architectures" else value
        found.append(AptSource((parts[3],), (parts[4],), tuple(parts[5].split()), _kept(options)))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """The sources of a `.sources` file; stanzas that are disabled or lack a field are left out."""
    found = []
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").strip().lower() in ("no", "false", "off", "0", "without", "disable"):
            continue
        if "deb" not in stanza.get("types", "").split() or not {"uris", "suites"} <= stanza.keys():
            continue
        options = {name: stanza[name.lower()] for name in KEPT_OPTIONS if name.lower() in stanza}
        found.append(
            AptSource(
                tuple(stanza["uris"].split()),
                tuple(stanza["suites"].split()),
                tuple(stanza.get("components", "").split()),
                options,
            )
        )
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Fields of each stanza, by lower-case name. Comments may stand inside a stanza; they don't end it."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            yield fields


def _kept(options: Mapping[str, str]) -> dict[str, str]:
    return {name: options[name] for name in KEPT_OPTIONS if name in options}


def _is_archive(source: AptSource) -> bool:
    """Whether this is the distribution's own archive or a mirror of it, as far as the entry itself tells."""
    signed_by = source.options.get("Signed-By", "")
    own_key = not signed_by or all(
        Path(name).name.startswith(ARCHIVE_KEYRINGS) for name in signed_by.replace(",", " ").split()
    )
    return own_key and bool(source.components) and set(source.components) <= COMPONENTS


def _only_suite(source: AptSource, suite: str) -> AptSource:
    wanted = {suite + pocket for pocket in POCKETS}
    suites = tuple(name for name in source.suites if name.rstrip("/") in wanted)
    # A CD-ROM is asked for by name, at a terminal that isn't there
    uris = tuple(uri for uri in source.uris if not uri.startswith("cdrom:"))
    return AptSource(uris, suites if uris else (), source.components, source.options)
