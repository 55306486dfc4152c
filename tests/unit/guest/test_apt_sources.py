"""Which of a host's package sources and settings may serve a guest."""

from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.guest.apt_sources import (
    AptSource,
    host_sources,
    parse_deb822,
    parse_one_line,
    parse_settings,
    sources_text,
)

DEBIAN = """\
# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# a comment inside a stanza
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def folder_with(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_host_gives_its_archive_of_the_suite(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"sources.list.d/debian.sources": DEBIAN})
    assert host_sources("bookworm", folder=folder) == (
        "Types: deb\n"
        "URIs: http://mirror.example/debian\n"
        "Suites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        "\n"
        "Types: deb\n"
        "URIs: http://mirror.example/debian-security\n"
        "Suites: bookworm-security\n"
        "Components: main\n"
    )


def test_only_the_suites_that_are_asked_for_are_given(tmp_path: Path) -> None:
    text = "deb http://mirror.example/debian trixie main\ndeb http://mirror.example/debian bookworm-backports main\n"
    folder = folder_with(tmp_path, {"sources.list": text})
    given = host_sources("bookworm", folder=folder)
    assert "bookworm-backports" in given
    assert "trixie" not in given


def test_both_formats_and_the_main_file_are_read(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path,
        {
            "sources.list": "deb http://one.example/debian bookworm main\n",
            "sources.list.d/two.list": "deb http://two.example/debian bookworm-updates main\n",
            "sources.list.d/three.sources": "Types: deb\nURIs: http://three.example/d\nSuites: bookworm-security\n"
            "Components: main\n",
            "sources.list.d/off.list.disabled": "deb http://four.example/debian bookworm main\n",
        },
    )
    given = host_sources("bookworm", folder=folder)
    assert [name for name in ("one", "two", "three", "four") if f"{name}.example" in given] == ["one", "two", "three"]


THIRD_PARTIES = {
    "another suite's name": "deb http://other.example/apt cloud-sdk-bookworm main",
    "a pocket that the archive doesn't have": "deb http://other.example/apt bookworm-pgdg main",
    "a suite of its own": "deb http://other.example/apt nodistro main",
    "a component of its own": "deb http://other.example/debian bookworm stable",
    "a key of its own": "deb [signed-by=/usr/share/keyrings/other.gpg] http://other.example/debian bookworm main",
    "sources only": "deb-src http://other.example/debian bookworm main",
    "a disc": "deb cdrom:[Debian]/ bookworm main",
    "a flat repository": "deb http://other.example/debian ./",
}


@pytest.mark.parametrize("line", THIRD_PARTIES.values(), ids=THIRD_PARTIES.keys())
def test_third_party_repositories_stay_out(tmp_path: Path, line: str) -> None:
    own = "deb http://mirror.example/debian bookworm main\n"
    folder = folder_with(tmp_path, {"sources.list": own, "sources.list.d/other.list": line + "\n"})
    assert host_sources("bookworm", folder=folder) == sources_text(parse_one_line(own))


def test_a_host_without_the_suite_says_what_to_write(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"sources.list": "deb http://archive.example/ubuntu noble main\n"})
    with pytest.raises(BuildError, match="no package sources for bookworm") as caught:
        host_sources("bookworm", folder=folder)
    assert caught.value.hint is not None
    assert "package_sources: image" in caught.value.hint


def test_options_of_a_one_line_source_become_fields() -> None:
    line = "deb [ arch=amd64,arm64 trusted=yes lang=en ] http://mirror.example/debian bookworm main contrib # ours\n"
    options = {"Architectures": "amd64 arm64", "Trusted": "yes"}
    assert parse_one_line(line) == [
        AptSource(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib"), options)
    ]


def test_disabled_stanzas_are_left_out() -> None:
    assert parse_deb822("Enabled: no\n" + DEBIAN) == parse_deb822(DEBIAN)[1:]


def test_a_key_inside_a_stanza_is_kept_whole() -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBA\n -----END PGP PUBLIC KEY BLOCK-----\n"
    [source] = parse_deb822("Types: deb\nURIs: http://m.example/d\nSuites: bookworm\nComponents: main\n" + key)
    assert source.options["Signed-By"].splitlines()[1:] == key.splitlines()[1:]


def test_what_is_written_reads_back_the_same() -> None:
    sources = parse_deb822(DEBIAN)
    assert parse_deb822(sources_text(sources)) == sources


def test_settings_that_reach_an_archive_are_passed_on() -> None:
    dump = """\
Acquire "";
Acquire::Check-Valid-Until "false";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::http::Proxy-Auto-Detect "/usr/local/bin/find-proxy";
Acquire::http::Timeout "";
Acquire::Languages "";
Acquire::Languages:: "none";
Acquire::GzipIndexes "true";
APT::Architecture "amd64";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
"""
    assert parse_settings(dump) == {
        "Acquire::Check-Valid-Until": "false",
        "Acquire::http::Proxy": "http://proxy.example:3128/",
        "Acquire::http::Proxy::mirror.example": "DIRECT",
    }
