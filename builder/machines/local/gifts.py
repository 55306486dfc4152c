"""What this host lends to a step for as long as it runs: its resolver, and on request its package sources."""

from __future__ import annotations

from pathlib import Path

from builder.errors import BuildError
from builder.machines.local.sandbox import HostGifts, PutIn
from builder.model.run import GuestFacts

RESOLVER = Path("/etc/resolv.conf")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
GUEST_CERTIFICATES = "/run/build/host-certificates.crt"

# invoke-rc.d's contract (Debian Policy 9.3.3.1): 101 forbids every action, so no service starts in the image
POLICY_RC_D = "#!/bin/sh\nexit 101\n"
# A lost layer is made again: dpkg need not sync every file. The layer itself is synced before it gets its name
UNSAFE_IO = "force-unsafe-io\n"

OWN_SOURCES = "/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources"


def host_gifts(facts: GuestFacts, package_sources: str) -> HostGifts:
    """What a guest gets. Raises BuildError when the host's package sources can't serve it."""
    resolver = RESOLVER.read_text() if RESOLVER.exists() else ""
    put_in = [PutIn("/etc/resolv.conf", resolver, through_link=True)]
    hidden: tuple[str, ...] = ()
    if facts.package_manager == "apt":
        put_in += [
            PutIn("/usr/sbin/policy-rc.d", POLICY_RC_D, "0755"),
            PutIn("/etc/dpkg/dpkg.cfg.d/zz-build", UNSAFE_IO),
        ]
    if package_sources == "host":
        put_in += _apt_of_the_host(facts)
        hidden = (OWN_SOURCES,)
    return HostGifts(put_in=tuple(put_in), hidden=hidden)


def _apt_of_the_host(facts: GuestFacts) -> list[PutIn]:
    from builder.guest.apt_sources import host_settings, host_sources

    if facts.package_manager != "apt":
        raise BuildError(
            f"package_sources: host can't serve {facts.distribution}: this host has apt's, the image uses "
            f"{facts.package_manager or 'no known package manager'}",
            code="package-sources",
            hint="write `package_sources: image`",
        )
    suite = facts.os_release.get("VERSION_CODENAME", "")
    settings = "".join(f'{name} "{value}";\n' for name, value in sorted(host_settings().items()))
    return [
        PutIn("/etc/apt/sources.list.d/build-host.sources", host_sources(suite)),
        PutIn("/etc/apt/apt.conf.d/zz-build-host", settings),
    ]
