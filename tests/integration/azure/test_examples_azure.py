"""Every example of `examples/azure`, from the command line to a published version: nothing there is only for show.

The command runs as a user's does: a process of its own, signed in as a service principal over https, waiting in real
time; the simulator's minutes are seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.azure import Clock, Simulator
from tests.azure.guests import Tree
from tests.integration.azure.checking import ROOT
from tests.integration.azure.conftest import Recorder
from tests.integration.azure.examples_world import furnish, variables

SPEED = 60
SECONDS = 600
# Each example and its image definition
DEFINITIONS = {
    "captured-vm": "app-server",
    "rocky-plan": "rocky-9",
    "specialized-copy": "app-server-copy",
    "sql-server": "sql-server",
    "ubuntu-web": "ubuntu-web",
    "windows-iis": "windows-iis",
}
Done = subprocess.CompletedProcess[str]


@dataclass
class Applied:
    """What the commands said, in their order, and the subscription they left behind."""

    azure: Simulator
    plan: Done
    apply: Done
    again: Done
    show: Done
    written_by_plans: list[str]

    def version(self, example: str) -> dict[str, Any]:
        found: dict[str, Any] = self.azure.resource(f"images/{DEFINITIONS[example]}/versions/1.0.0").body
        return found

    def definition(self, example: str) -> dict[str, Any]:
        found: dict[str, Any] = self.azure.resource(f"galleries/corp/images/{DEFINITIONS[example]}").body
        return found

    def tree(self, example: str) -> Tree:
        found: Tree = self.azure.resource(f"images/{DEFINITIONS[example]}/versions/1.0.0").hidden["facts"].tree
        return found


@pytest.fixture
def applied(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[Applied]:
    """The whole folder, planned and applied once: six images side by side."""
    project = tmp_path_factory.mktemp("checkout") / "azure"
    shutil.copytree(ROOT / "examples/azure", project)
    with Simulator(clock=Clock(speed=SPEED)) as azure:
        furnish(azure)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
        environment |= variables(azure) | {"PYTHONPATH": str(ROOT)}

        def build(*arguments: str) -> Done:
            return subprocess.run(
                [sys.executable, "-m", "builder", *arguments], cwd=project, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip

        mark = len(azure.traffic.pairs)
        plan = build("plan", "--detailed-exitcode")
        written = [pair.operation for pair in azure.traffic.writes(mark)]
        apply = build("apply", "--yes")
        mark = len(azure.traffic.pairs)
        again, show = build("plan", "--detailed-exitcode"), build("show", "ubuntu-web")
        written += [pair.operation for pair in azure.traffic.writes(mark)]
        yield Applied(azure, plan, apply, again, show, written)
        recorder.add(azure)


def test_every_example_is_in_the_list() -> None:
    names = {path.stem for path in (ROOT / "examples/azure").glob("*.yaml")} - {"build"}
    assert names == set(DEFINITIONS)


def check_that_the_plan_says_what_will_be_done_and_writes_nothing(applied: Applied) -> None:
    assert applied.plan.returncode == 2, applied.plan.stdout + applied.plan.stderr
    said = applied.plan.stdout
    assert "Plan: 6 to build." in said
    # What a reviewer asks: where, what costs money afterwards, who gets it when
    assert "+ virtual machine build VM  Standard_D2s_v5 or Standard_D2as_v5 in westeurope\n" in said
    kept = "until it expires, in resource group build-checkpoints-westeurope"
    assert f"+ checkpoint after “script scripts/harden.sh”  {kept}\n" in said
    assert "replicas in westeurope (2), northeurope (1); not the latest before its tests have passed\n" in said
    assert applied.written_by_plans == []


def check_that_it_is_built_and_published(applied: Applied, example: str) -> None:
    assert applied.apply.returncode == 0, applied.apply.stdout + applied.apply.stderr
    body = applied.version(example)
    assert body["properties"]["provisioningState"] == "Succeeded"
    assert body["properties"]["publishingProfile"]["excludeFromLatest"] is False
    assert (body["tags"]["build-image"], body["tags"]["build-state"]) == (example, "promoted")
    assert f"{example} 1.0.0 done in" in applied.apply.stderr
    assert body["id"] in applied.apply.stderr


def check_that_nothing_changes_then(applied: Applied) -> None:
    assert applied.again.returncode == 0, applied.again.stdout + applied.again.stderr
    assert "No changes. 6 images match their specs (checked 6, 0 skipped)." in applied.again.stdout


def check_that_the_version_is_shown(applied: Applied) -> None:
    assert applied.show.returncode == 0, applied.show.stderr
    assert "1.0.0" in applied.show.stdout
    assert applied.version("ubuntu-web")["id"] in applied.show.stdout


def check_that_what_the_specs_ask_for_is_in_the_images(applied: Applied) -> None:
    web = applied.tree("ubuntu-web")
    assert web.text("/etc/nginx/conf.d/tokens.conf") == "server_tokens off;\n"
    assert "log_martians" in web.text("/etc/sysctl.d/60-harden.conf")
    assert "Package: nginx\n" in web.text("/var/lib/dpkg/status")
    assert (web.path / "etc/systemd/system/multi-user.target.wants/nginx.service").is_symlink()
    assert applied.tree("rocky-plan").text("/var/lib/rpm/simulated").startswith("nginx-common\t")
    for windows in ("windows-iis", "sql-server"):
        tree = applied.tree(windows)
        assert (tree.image_state, tree.sysprep_runs) == ("IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", 1)


def check_that_a_machine_is_copied_and_left_as_it_was(applied: Applied) -> None:
    original = applied.azure.resource("virtualMachines/app-1")
    assert (original.hidden["power"], original.hidden["generalized"]) == ("running", False)
    name = original.hidden["facts"].tree.text("/etc/hostname")
    for example, state, kept in (("captured-vm", "Generalized", False), ("specialized-copy", "Specialized", True)):
        tree = applied.tree(example)
        assert tree.text("/srv/application") == "version 7\n"
        assert (tree.text("/etc/hostname") == name) is kept
        disks = applied.version(example)["properties"]["storageProfile"]["dataDiskImages"]
        assert [disk["lun"] for disk in disks] == [0, 1]
        assert applied.definition(example)["properties"]["osState"] == state


def check_that_plans_and_regions_arrive(applied: Applied) -> None:
    plan = applied.definition("rocky-plan")["properties"]["purchasePlan"]
    assert plan == {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}
    regions = applied.version("ubuntu-web")["properties"]["publishingProfile"]["targetRegions"]
    assert [(region["name"], region["regionalReplicaCount"]) for region in regions] == [
        ("West Europe", 2),
        ("North Europe", 1),
    ]


def check_that_what_was_made_for_the_builds_is_gone(applied: Applied) -> None:
    left = {
        pair.url.partition("/resourceGroups/")[2].partition("?")[0]
        for pair in applied.azure.traffic.pairs
        if pair.method == "PUT" and pair.operation == "PUT Microsoft.Resources/resourceGroups"
    }
    runs = {group for group in left if group.startswith("build-") and not group.startswith("build-checkpoints")}
    gone = {
        pair.url.partition("/resourceGroups/")[2].partition("?")[0]
        for pair in applied.azure.traffic.pairs
        if pair.operation == "DELETE Microsoft.Resources/resourceGroups"
    }
    assert len(runs) == len(DEFINITIONS)
    assert gone == runs


def check_that_the_secret_is_said_nowhere(applied: Applied) -> None:
    said = json.dumps([(done.stdout, done.stderr) for done in (applied.plan, applied.apply, applied.again)])
    assert "not-so-secret" not in said


def test_all_examples(applied: Applied) -> None:
    """One test, since it is one run: what is looked at has no effect on it."""
    check_that_the_plan_says_what_will_be_done_and_writes_nothing(applied)
    for example in DEFINITIONS:
        check_that_it_is_built_and_published(applied, example)
    check_that_nothing_changes_then(applied)
    check_that_the_version_is_shown(applied)
    check_that_what_the_specs_ask_for_is_in_the_images(applied)
    check_that_a_machine_is_copied_and_left_as_it_was(applied)
    check_that_plans_and_regions_arrive(applied)
    check_that_what_was_made_for_the_builds_is_gone(applied)
    check_that_the_secret_is_said_nowhere(applied)
