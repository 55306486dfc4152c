"""What a person reads on the command line: mistakes that are made with specs and surroundings, and what they are told.

Each is one line of a spec, of the subscription or of the environment that is not as it should be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.azure import Clock, Simulator
from tests.integration.azure.checking import ROOT
from tests.integration.azure.conftest import Recorder
from tests.integration.azure.connection import connected
from tests.integration.azure.examples_world import ROCKY_PLAN, furnish, variables
from tests.integration.azure.world import World

SECONDS = 300


@dataclass
class Desk:
    """A project of the examples, a subscription, and somebody at the command line."""

    azure: Simulator
    project: Path
    environment: dict[str, str]

    def build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "builder", *arguments], cwd=self.project, env=self.environment | environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.project / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path, recorder: Recorder) -> Iterator[Desk]:
    shutil.copytree(ROOT / "examples/azure", tmp_path / "azure")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with Simulator(clock=Clock(speed=60)) as azure:
        furnish(azure)
        yield Desk(azure, tmp_path / "azure", environment | variables(azure) | {"PYTHONPATH": str(ROOT)})
        recorder.add(azure)


def words(text: str) -> str:
    """Text as it was before it was wrapped."""
    return " ".join(text.split())


def _generation_1(desk: Desk) -> None:
    """A definition of the name that the spec gives, for another generation."""
    world = World(desk.azure, connected(desk.azure), "images-rg")
    world.group("images-rg")
    world.gallery()
    world.definition("ubuntu-web", hyperVGeneration="V1")


@dataclass(frozen=True)
class Mistake:
    """`make` makes it; `says` is in the plan, in the order of what is read."""

    spec: str
    make: Callable[[Desk], object]
    says: tuple[str, ...]
    silent: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


MISTAKES = {
    "terms that nobody accepted": Mistake(
        "rocky-plan.yaml",
        lambda desk: desk.azure.catalogue.accepted_terms.remove(ROCKY_PLAN),
        (
            "the terms of resf/rockylinux-x86_64/9-base have not been accepted in this subscription",
            "rocky-plan.yaml:8",
            "az vm image terms accept --urn resf:rockylinux-x86_64:9-base:9.6.20250531 --subscription 11111111-",
        ),
    ),
    "a region that is none": Mistake(
        "ubuntu-web.yaml",
        lambda desk: desk.replace("build.yaml", "location: westeurope", "location: westeuropa"),
        (
            "westeuropa is no region that offers VMs to this subscription",
            "build.yaml:5",
            "az account list-locations",
        ),
        ("the Marketplace has no", "is not offered in"),
    ),
    "sizes that are not to be had": Mistake(
        "ubuntu-web.yaml",
        lambda desk: desk.replace(
            "ubuntu-web.yaml", "[Standard_D2s_v5, Standard_D2as_v5]", "[Standard_D1_v2, Standard_D9s_v9]"
        ),
        (
            "Standard_D1_v2 boots generation 1 only, has no Trusted Launch, takes no Premium disks; "
            "Standard_D9s_v9 is not offered in westeurope",
            "ubuntu-web.yaml:11",
            "for example `size: [",
        ),
    ),
    "an image definition of another generation": Mistake(
        "ubuntu-web.yaml",
        _generation_1,
        (
            "image definition corp/ubuntu-web has hyperVGeneration V1, and the spec wants V2: Azure can't change that",
            "ubuntu-web.yaml:6",
            "name another `definition`",
        ),
    ),
    "a machine that is not there": Mistake(
        "captured-vm.yaml",
        lambda desk: desk.replace("captured-vm.yaml", "name: app-1}", "name: app-9}"),
        (
            "there is no virtualMachines/app-9 in resource group production (Azure managed disks)",
            "captured-vm.yaml:8",
            "check the names, the subscription",
        ),
    ),
    "a resource group that is not there": Mistake(
        "specialized-copy.yaml",
        lambda desk: desk.replace("specialized-copy.yaml", "resourceGroup: production", "resourceGroup: productoin"),
        ("there is no resource group productoin in subscription 11111111-", "specialized-copy.yaml:7"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_do(desk: Desk, name: str) -> None:
    mistake = MISTAKES[name]
    mistake.make(desk)
    mark = len(desk.azure.traffic.pairs)
    done = desk.build("plan", mistake.spec)

    assert done.returncode == 1, done.stdout + done.stderr
    told = words(done.stdout)
    assert "Plan: 1 blocked." in told, done.stderr
    for text in mistake.says:
        assert text in told, done.stdout
    for text in mistake.silent:
        assert text not in told, done.stdout
    assert done.stderr.splitlines()[-1] == "  hint: mend what the plan says blocks it"
    assert desk.azure.traffic.writes(mark) == []


def test_who_can_not_sign_in_is_told_once_and_shown_no_plan(desk: Desk) -> None:
    refusal = "AADSTS7000215: Invalid client secret provided."
    desk.azure.cloud.refuse_tokens = refusal
    done = desk.build("plan")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count(refusal) == 1
    assert "error[azure-login]: signing in by client secret failed" in done.stderr
    assert "look at AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET" in done.stderr
    assert "not-so-secret" not in done.stderr


def test_who_has_not_signed_in_hears_of_every_way(desk: Desk) -> None:
    done = desk.build("plan", AZURE_CLIENT_SECRET="", AZURE_TOKEN_CREDENTIALS="EnvironmentCredential")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[azure-login]: nobody is signed in to Azure\n  hint: az login; or set" in done.stderr
    assert "  | client secret: AZURE_CLIENT_SECRET is not set\n" in done.stderr


def test_a_failed_step_says_what_is_kept(desk: Desk) -> None:
    """Checkpoints cost money in the cloud: only marked steps leave one."""
    desk.replace("rocky-plan.yaml", "[nginx]", "[nginx-with-a-typo]")
    done = desk.build("apply", "--yes", "rocky-plan.yaml")
    assert done.returncode == 1
    assert "rocky-plan.yaml:10:15: error[step-failed]: step 2 “install nginx-with-a-typo”" in done.stderr
    assert "  | Error: Unable to find a match: nginx-with-a-typo" in done.stderr
    assert "it starts at the last checkpoint, else at the source" in done.stderr
    assert "finished steps are kept" not in done.stderr
