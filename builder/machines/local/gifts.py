"""What this host lends to a step for as long as it runs: its resolver, and on request its package sources.

To the sources belongs how they are reached: apt's settings, proxies, and the certificates that this host believes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from builder.errors import BuildError
from builder.machines.local.sandbox import HostGifts, PutIn
from builder.model.run import GuestFacts

RESOLVER = Path("/etc/resolv.conf")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# In /run, a tmpfs: nothing of them can stay in the image
LENT_CERTIFICATES = "/run/build/host-certificates-{}.crt"
# apt's option that names a file of certificates, for all hosts or (with the host's name in it) for one
FOR_ALL, CERTIFICATES_OPTION = "Acquire::https::CaInfo", "::cainfo"
# Some programs know the names in small letters only, some in capitals only
PROXIES = ("http_proxy", "https_proxy", "no_proxy")

# invoke-rc.d's contract (Debian Policy 9.3.3.1): 101 forbids every action, so no service starts in the image
POLICY_RC_D = "#!/bin/sh\nexit 101\n"
# A lost layer is made again: dpkg need not sync every file. The layer itself is synced before it gets its name
UNSAFE_IO = "force-unsafe-io\n"

OWN_SOURCES = "/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources"


def host_gifts(facts: GuestFacts, package_sources: str) -> HostGifts:
    """What a guest gets; `package_sources` is `host` or `image`.

    Raises BuildError when the host's package sources can't serve the guest, or when it has no apt.
    """
    resolver = RESOLVER.read_text() if RESOLVER.exists() else ""
    put_in = [PutIn("/etc/resolv.conf", resolver, through_link=True)]
    hidden: tuple[str, ...] = ()
    env: dict[str, str] = {}
    if facts.package_manager == "apt":
        put_in += [
            PutIn("/usr/sbin/policy-rc.d", POLICY_RC_D, "0755"),
            PutIn("/etc/dpkg/dpkg.cfg.d/zz-build", UNSAFE_IO),
        ]
    if package_sources == "host":
        put_in += _apt_of_the_host(facts)
        hidden = (OWN_SOURCES,)
        env = proxies(os.environ)
    return HostGifts(put_in=tuple(put_in), hidden=hidden, env=env)


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """How programs besides apt get out, as this host's environment says, under the names it says it by."""
    names = (spelling for name in PROXIES for spelling in (name, name.upper()))
    return {name: environment[name] for name in names if environment.get(name)}


def lend_settings(settings: Mapping[str, str]) -> tuple[dict[str, str], list[PutIn]]:
    """apt's settings of this host as they hold in a guest, and the files of certificates that they name there.

    Other settings that name a file of this host are left out: a guest doesn't have it, and a client's private key is
    not for scripts to read.
    """
    lent: dict[str, str] = {}
    certificates: dict[str, str] = {}
    for name, value in sorted(settings.items()):
        if not value.startswith("/"):
            lent[name] = value
        elif name.lower().endswith(CERTIFICATES_OPTION) and Path(value).is_file():
            lent[name] = certificates.setdefault(value, LENT_CERTIFICATES.format(len(certificates)))
    return lent, [PutIn(inside, Path(path).read_text()) for path, inside in certificates.items()]


def with_certificates(settings: Mapping[str, str], sources: str, bundle: Path = CERTIFICATES) -> dict[str, str]:
    """The settings with this host's bundle of certificates, where https sources need one and none is named.

    A small image has no certificates at all, and no image has those of a company's own authority.
    """
    named = FOR_ALL.lower() in {name.lower() for name in settings}
    if "https://" in sources and not named and bundle.is_file():
        return {FOR_ALL: str(bundle), **settings}
    return dict(settings)


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
    sources = host_sources(suite)
    settings, certificates = lend_settings(with_certificates(host_settings(), sources))
    text = "".join(f'{name} "{value}";\n' for name, value in sorted(settings.items()))
    return [
        PutIn("/etc/apt/sources.list.d/build-host.sources", sources),
        PutIn("/etc/apt/apt.conf.d/zz-build-host", text),
        *certificates,
    ]
