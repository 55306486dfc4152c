"""What of this host's package settings and proxies a guest gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.machines.local.gifts import host_gifts, lend_settings, proxies, with_certificates
from builder.machines.local.sandbox import PutIn
from builder.model.run import GuestFacts

DEBIAN = GuestFacts("linux", "debian", "12", "x64", "apt", {"ID": "debian", "VERSION_CODENAME": "bookworm"})
ROCKY = GuestFacts("linux", "rocky", "9", "x64", "dnf", {"ID": "rocky"})
LENT = "/run/build/host-certificates-{}.crt"


def test_certificates_are_lent_below_run(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.crt", tmp_path / "theirs.crt"
    ours.write_text("our authority\n")
    theirs.write_text("their authority\n")
    settings, put_in = lend_settings(
        {
            "Acquire::https::CaInfo": str(ours),
            "Acquire::https::one.example::CAInfo": str(theirs),
            "Acquire::https::two.example::CaInfo": str(ours),
            "Acquire::http::Proxy": "http://proxy.example:3128/",
            "Acquire::Check-Valid-Until": "false",
        }
    )
    assert settings == {
        "Acquire::https::CaInfo": LENT.format(0),
        "Acquire::https::one.example::CAInfo": LENT.format(1),
        "Acquire::https::two.example::CaInfo": LENT.format(0),
        "Acquire::http::Proxy": "http://proxy.example:3128/",
        "Acquire::Check-Valid-Until": "false",
    }
    assert put_in == [PutIn(LENT.format(0), "our authority\n"), PutIn(LENT.format(1), "their authority\n")]


@pytest.mark.parametrize("option", ["CaPath", "CrlFile", "SslCert", "SslKey", "CaInfo"])
def test_no_other_path_of_this_host_reaches_a_guest(tmp_path: Path, option: str) -> None:
    path = tmp_path / "file"
    if option != "CaInfo":
        path.write_text("not for a guest")
    assert lend_settings({f"Acquire::https::{option}": str(path)}) == ({}, [])


@pytest.mark.parametrize(
    ("settings", "sources", "there", "added"),
    [
        ({}, "URIs: https://mirror.example/debian\n", True, True),
        ({}, "URIs: http://mirror.example/debian\n", True, False),
        ({}, "URIs: https://mirror.example/debian\n", False, False),
        ({"Acquire::https::CAInfo": "/own.crt"}, "URIs: https://mirror.example/debian\n", True, False),
        ({"Acquire::https::a.example::CaInfo": "/own.crt"}, "URIs: https://mirror.example/debian\n", True, True),
    ],
)
def test_https_sources_get_this_host_s_certificates(
    tmp_path: Path, settings: dict[str, str], sources: str, there: bool, added: bool
) -> None:
    bundle = tmp_path / "bundle.crt"
    if there:
        bundle.write_text("all authorities\n")
    expected = {**settings, "Acquire::https::CaInfo": str(bundle)} if added else settings
    assert with_certificates(settings, sources, bundle) == expected


def test_proxies_are_those_of_the_environment() -> None:
    said = {"http_proxy": "http://one.example", "HTTPS_PROXY": "http://two.example", "NO_PROXY": "localhost"}
    assert proxies({**said, "no_proxy": "", "ftp_proxy": "http://three.example", "HOME": "/root"}) == said


def test_the_image_s_own_sources_need_no_proxy_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:password@proxy.example:3128")
    gifts = host_gifts(DEBIAN, "image")
    assert (gifts.env, gifts.hidden) == ({}, ())
    assert not any("proxy.example" in gift.content for gift in gifts.put_in)


def test_apt_s_sources_serve_no_other_package_manager() -> None:
    with pytest.raises(BuildError, match="can't serve rocky"):
        host_gifts(ROCKY, "host")
