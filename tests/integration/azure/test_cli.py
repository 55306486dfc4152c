"""azure-cli, unmodified, over https, in real time on a fast clock: it logs in, creates and reads."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure import Clock, Simulator
from tests.integration.azure.checking import ROOT, TOOLS, require
from tests.integration.azure.conftest import Recorder

# azure-cli waits in real time: a minute of Azure is a second here
SPEED = 60
SECONDS = 280
MACHINE = ("--image Debian:debian-12:12-gen2:latest --size Standard_D2s_v5 --admin-username someone"
           " --admin-password Secret-of-ours-1 --public-ip-address= --nsg=")  # fmt: skip
COMMANDS = {
    "group": "group create -n g -l westeurope --tags run=1",
    "network": "network vnet create -g g -n vnet --subnet-name s",
    "machine": f"vm create -g g -n vm1 {MACHINE}",
    "once": "vm run-command invoke -g g -n vm1 --command-id RunShellScript --scripts id",
    "command": "vm run-command create -g g --vm-name vm1 --run-command-name rc --script hostname -l westeurope",
    "command view": "vm run-command show -g g --vm-name vm1 --run-command-name rc --instance-view",
    "disk": "disk create -g g -n d1 --size-gb 4",
    "snapshot": "snapshot create -g g -n snap --source d1 --incremental true",
    "deallocate": "vm deallocate -g g -n vm1",
    "generalize": "vm generalize -g g -n vm1",
    "image": "image create -g g -n img --source vm1 --hyper-v-generation V2",
    "gallery": "sig create -g g -r gal",
    "definition": "sig image-definition create -g g -r gal -i def --publisher p --offer o --sku s --os-type Linux",
    "version": "sig image-version create -g g -r gal -i def -e 1.0.0 --managed-image img",
    "replication": "sig image-version show -g g -r gal -i def -e 1.0.0 --expand ReplicationStatus",
    "machines": "vm list -g g -d",
    "refused": "vm start -g g -n vm1",
    "gone": "group delete -n g --yes --no-wait",
}


def login(azure: Simulator) -> list[str]:
    base = azure.secure_endpoint
    endpoints = ("resource-manager", "management", "active-directory", "active-directory-graph-resource-id",
                 "microsoft-graph-resource-id", "gallery", "sql-management")  # fmt: skip
    register = " ".join(f"--endpoint-{name} {base}" for name in endpoints)
    resource = "--endpoint-active-directory-resource-id https://management.azure.com/"
    rest = f"--endpoint-vm-image-alias-doc {base}/aliases.json --suffix-storage-endpoint core.windows.net"
    return [
        f"cloud register -n simulated {register} {resource} {rest}",
        "cloud set -n simulated",
        f"login --service-principal -u app -p secret --tenant {azure.tenant}",
    ]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[dict[str, Any]]:
    """The answer of every command, by its name above."""
    require((TOOLS / "azure-cli/installed").exists(), f"azure-cli is not in {TOOLS}; tests/azure/install puts it there")
    folder = tmp_path_factory.mktemp("azure-cli")
    with Simulator(clock=Clock(speed=SPEED), retry_after=1) as azure:
        bundle = folder / "bundle.pem"
        system = Path("/etc/ssl/certs/ca-certificates.crt")
        bundle.write_bytes((system.read_bytes() if system.exists() else b"") + azure.certificate.read_bytes())
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AZURE_CONFIG_DIR": str(folder / "config"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_CORE_SURVEY_MESSAGE": "no",
            "AZURE_CORE_CHECK_FOR_UPDATES": "no",
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_NO_COLOR": "1",
            "REQUESTS_CA_BUNDLE": str(bundle),
        }
        lines = [*login(azure), *COMMANDS.values()]
        done = subprocess.run(
            [TOOLS / "azure-cli/bin/python", ROOT / "tests/integration/azure/cli_driver.py"],
            input="".join(json.dumps(line.split()) + "\n" for line in lines),
            env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(answers) == len(lines), done.stdout + done.stderr
        for line, answer in zip(login(azure), answers[:3], strict=True):
            assert answer["code"] == 0, f"{line}: {answer['error']}"
        recorder.add(azure)
        yield dict(zip(COMMANDS, answers[3:], strict=True))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "refused"])
def test_command_succeeds(session: dict[str, Any], name: str) -> None:
    assert session[name]["code"] == 0, f"{COMMANDS[name]}: {session[name]['error']}"


def test_a_refusal_reaches_the_user(session: dict[str, Any]) -> None:
    assert session["refused"]["code"] != 0
    assert "since the VM is generalized" in session["refused"]["error"]


def test_what_commands_show(session: dict[str, Any]) -> None:
    found = {name: json.loads(answer["output"]) for name, answer in session.items() if answer["output"].strip()}

    assert "uid=0(root)" in found["once"]["value"][0]["message"]
    assert found["command view"]["instanceView"]["executionState"] == "Succeeded"
    assert found["machines"][0]["powerState"] == "VM deallocated"
    assert found["machines"][0]["publicIps"] == ""
    assert found["replication"]["replicationStatus"]["aggregatedState"] == "Completed"
    assert found["version"]["publishingProfile"]["targetRegions"][0]["name"] == "West Europe"
    assert found["snapshot"]["incremental"] is True
