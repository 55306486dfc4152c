"""What Linux guests of the simulator make of themselves, and which programs they have."""

from __future__ import annotations

import re

import pytest

from tests.azure import Simulator
from tests.azure.answers import Json
from tests.integration.azure.asking import Asking

UBUNTU = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
WHO = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; grep ^someone: /etc/passwd"


@pytest.fixture
def ask(azure: Simulator) -> Asking:
    return Asking(azure)


def test_a_machine_of_an_image_is_one_of_its_own(azure: Simulator, ask: Asking) -> None:
    ask.machine(UBUNTU)
    said = ask.command(WHO)["output"].splitlines()
    assert said[0] == "vm"
    assert re.fullmatch("[0-9a-f]{32}", said[1])
    assert said[2].endswith("root@vm")
    assert said[3] == "someone:x:1000:1000::/home/someone:/bin/bash"


def test_a_machine_of_a_copied_disk_is_who_it_was(azure: Simulator, ask: Asking) -> None:
    ask.machine(UBUNTU)
    who = ask.command(WHO)["output"]
    disk = azure.resource("virtualMachines/vm").properties["storageProfile"]["osDisk"]["managedDisk"]["id"]
    creation = {"createOption": "Copy", "sourceResourceId": disk}
    ask.done("PUT", "disks/copy", {"location": "westeurope", "properties": {"creationData": creation}})
    ask.done("DELETE", "virtualMachines/vm")
    body = ask.machine_body()
    del body["properties"]["osProfile"]
    del body["properties"]["storageProfile"]["imageReference"]
    body["properties"]["storageProfile"]["osDisk"] = {
        "createOption": "Attach", "osType": "Linux", "managedDisk": {"id": ask.id("disks/copy")},
    }  # fmt: skip
    assert ask.done("PUT", "virtualMachines/vm", body)["status"] == "Succeeded"
    azure.clock.advance(60)
    assert ask.command(WHO)["output"] == who


def test_a_start_gives_a_machine_id_where_there_is_none(azure: Simulator, ask: Asking) -> None:
    ask.machine(UBUNTU)
    ask.command(": > /etc/machine-id; poweroff")
    ask.done("POST", "virtualMachines/vm/start")
    azure.clock.advance(60)
    assert re.fullmatch("[0-9a-f]{32}\n", ask.command("cat /etc/machine-id")["output"])


ROCKY = {"publisher": "resf", "offer": "rockylinux-x86_64", "sku": "9-base", "version": "latest"}
ROCKY_PLAN = {"name": "9-base", "product": "rockylinux-x86_64", "publisher": "resf"}


@pytest.mark.parametrize(
    ("image", "plan", "manager", "other", "installed"),
    [
        (UBUNTU, None, "apt-get", "dnf", "dpkg-query -W -f '${db:Status-Status}' nginx | grep -x installed"),
        (ROCKY, ROCKY_PLAN, "dnf", "apt-get", "rpm -q nginx"),
    ],
)
def test_a_guest_has_the_package_manager_of_its_distribution(
    azure: Simulator, ask: Asking, image: Json, plan: Json | None, manager: str, other: str, installed: str
) -> None:
    azure.catalogue.accepted_terms.add((ROCKY_PLAN["publisher"], ROCKY_PLAN["product"], ROCKY_PLAN["name"]))
    ask.network("nic")
    body = ask.machine_body(image) | ({"plan": plan} if plan else {})
    assert ask.done("PUT", "virtualMachines/vm", body)["status"] == "Succeeded"
    azure.clock.advance(60)

    def exit_code(script: str) -> int:
        found: int = ask.command(script)["exitCode"]
        return found

    assert exit_code(f"command -v {other}") != 0
    assert exit_code(f"{manager} -y install no-such-package") != 0
    assert exit_code(installed) != 0
    assert exit_code(f"{manager} -y install nginx && {installed}") == 0
    assert ask.command("systemctl enable --now nginx && systemctl is-active nginx")["output"] == "active\n"
    assert exit_code("systemctl disable nginx; systemctl is-active nginx") == 3
    assert exit_code(f"{manager} -y remove nginx") == 0
    assert exit_code(installed) != 0
