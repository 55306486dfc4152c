"""On a real Debian 12 disk with its real package manager: what is put in, what is put back, what an error says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.guest.inspection.inspecting import inspect_disk
from tests.integration.apply.conftest import Project
from tests.integration.conftest import package_sources
from tests.integration.left_overs import Left, left_in

SPEC = """\
name: tiny
os: {family: linux, distribution: debian, release: "12"}
source:
  file: {path: base.qcow2}
machine:
  local: {package_sources: SOURCES}
prepare:
  - packages: {install: [PACKAGES]}
  - users: [{name: app, system: true}]
  - services: {enable: [cron]}
  - run: systemctl restart cron && test ! -e /run/systemd/system
publish:
  to:
    - directory: {path: gallery}
"""


@pytest.fixture
def debian(tmp_path: Path, debian_base: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project")
    project.root.mkdir()
    project.write("build.yaml", "specs: ['*.image.yaml']\n")
    subprocess.run(["cp", "--sparse=always", str(debian_base), str(project.root / "base.qcow2")], check=True)
    yield project
    assert left_in(project.root) == Left()


def spec(packages: str) -> str:
    return SPEC.replace("SOURCES", package_sources("bookworm")).replace("PACKAGES", packages)


def test_packages_users_and_services_arrive_and_the_images_own_sources_stay(debian: Project) -> None:
    debian.write("tiny.image.yaml", spec("jq, cron"))
    result = debian.apply()
    assert result.code == 0, result.text
    inventory = debian.manifest()["inventory"]
    names = {package["name"] for package in inventory["packages"]}
    assert {"jq", "cron", "cloud-init", "waagent"} <= names
    assert "app" in {user["name"] for user in inventory["users"]}
    assert "cron.service" in inventory["services"]
    sbom = json.loads((debian.root / "gallery/tiny/1.0.0/sbom.cdx.json").read_text())
    assert {"jq", "cron"} <= {component["name"] for component in sbom["components"]}
    # Read from the published disk, without mounting it
    vhd = debian.root / "gallery/tiny/1.0.0/os.vhd"
    offset = next(
        part["start"] * 512
        for part in json.loads(
            subprocess.run(["sfdisk", "--json", str(vhd)], capture_output=True, text=True, check=True).stdout
        )["partitiontable"]["partitions"]
        if part["node"].endswith("vhd1")
    )

    def debugfs(request: str) -> str:
        command = ["debugfs", "-R", request, f"{vhd}?offset={offset}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "build-host" not in debugfs("ls -p /etc/apt/sources.list.d") + debugfs("ls -p /etc/apt/apt.conf.d")
    assert "build-kept" not in debugfs("ls -p /etc/apt/sources.list.d") + debugfs("ls -p /etc/apt")
    assert "policy-rc.d" not in debugfs("ls -p /usr/sbin")
    assert "zz-build" not in debugfs("ls -p /etc/dpkg/dpkg.cfg.d")
    assert debugfs("cat /etc/machine-id") == "uninitialized\n"
    found = inspect_disk(vhd, wanted="generalized")
    assert (found.findings, found.left_out) == ((), ())


def test_a_package_that_does_not_exist_is_named_with_the_managers_words(debian: Project) -> None:
    debian.write("tiny.image.yaml", spec("jq, no-such-package-here"))
    result = debian.apply()
    assert result.code == 1
    assert "tiny.image.yaml:8:" in result.err
    assert "Unable to locate package no-such-package-here" in result.err
    assert debian.versions() == []
