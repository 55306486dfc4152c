"""The workflow of docs/pull-requests.md, as a runner does it: its own shell, with the real command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs/pull-requests.md"
SPEC = """
name: web
os: {family: linux, distribution: debian, release: "12"}
"""
LOCAL = SPEC + "source: {bootstrap: {}}\npublish: {to: [{directory: {path: gallery}}]}\n"
AZURE = (
    SPEC
    + """
source: {marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}}
machine: {azure: {location: westeurope}}
publish: {to: [{gallery: {resourceGroup: images, gallery: corp, definition: web}}]}
"""
)


def steps() -> list[dict[str, Any]]:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    job = yaml.safe_load(block)["jobs"]["plan"]
    return list(job["steps"])


def test_what_a_pull_request_holds_is_never_installed() -> None:
    checkouts = [place for place, step in enumerate(steps()) if step.get("uses", "").startswith("actions/checkout@")]
    installs = [place for place, step in enumerate(steps()) if "pip" in step.get("run", "")]
    tool, pull_request = checkouts
    assert steps()[tool]["with"].keys() >= {"repository", "ref", "path"}
    assert "repository" not in steps()[pull_request]["with"]
    assert tool < min(installs) <= max(installs) < pull_request


@pytest.mark.parametrize(
    ("spec", "fork", "status", "head", "said"),
    [
        (LOCAL, "false", 0, "<!-- build:plan v1 ", "`web` | 1.0.0"),
        (AZURE, "true", 0, "<!-- build:plan v1 ", "no cloud was asked"),
        (AZURE, "false", 1, "### build plan: failed (exit code 1)\n\n", "    error[azure-login]: nobody is signed in"),
        (
            LOCAL.replace("linux", "linx"),
            "false",
            3,
            "### build plan: failed (exit code 3)\n\n",
            "    images/web.yaml:3",
        ),
    ],
)
def test_the_comment_always_has_something_to_say(
    tmp_path: Path, spec: str, fork: str, status: int, head: str, said: str
) -> None:
    repository, runner = tmp_path / "repository", tmp_path / "runner"
    (repository / "images").mkdir(parents=True)
    (repository / "images/web.yaml").write_text(spec)
    runner.mkdir()
    (script,) = [step["run"] for step in steps() if step.get("id") == "plan"]
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AZURE_TOKEN_CREDENTIALS": "dev",
        "FORK": fork,
        "RUNNER_TEMP": str(runner),
        "GITHUB_STEP_SUMMARY": str(runner / "summary.md"),
    }
    # As GitHub runs a step that names no shell
    ended = subprocess.run(["bash", "-e", "-c", script], cwd=repository, env=environment, check=False)
    assert ended.returncode == status
    comment = (runner / "plan.md").read_text()
    assert comment.startswith(head)
    assert said in comment
    assert (runner / "summary.md").read_text() == comment
