"""Both machines and all destinations: from an empty subscription to three versions, of which one is retired."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.azure.connection import Azure
from builder.azure.ids import ResourceId, compute, group_id
from builder.model.observed import Traits
from builder.model.plan import Action
from tests.azure import Simulator
from tests.azure.blobs import ACCOUNT, KEY, Blobs
from tests.integration.apply import conftest as local
from tests.integration.apply.conftest import SPEC, Project
from tests.integration.azure import publishing
from tests.integration.azure.building import Build
from tests.integration.azure.connection import connected, reaching
from tests.integration.azure.test_local_to_azure import HURRIED, Cloud, cloud, project, tiny_disk

__all__ = ["cloud", "project", "tiny_disk"]
CONTAINER = "every-destination"
VERSION = re.compile(r"\d+\.\d+\.\d+")
DESTINATIONS = {
    "gallery": "{resourceGroup: images, gallery: corp, definition: all, location: westeurope}",
    "managedImage": "{resourceGroup: images, location: westeurope}",
    "snapshot": "{resourceGroup: images, location: westeurope}",
    "blob": "{{account: {account}, container: {container}, endpoint: '{endpoint}'}}",
    "directory": "{path: gallery}",
}
LEFT = ["1.0.1", "1.0.2"]


@dataclass
class Places:
    """What stands at each destination."""

    azure: Azure
    blobs: Blobs
    container: str
    folder: Path

    def versions(self, destination: str) -> list[str]:
        """The versions there, by whatever carries a version's number."""
        looks: dict[str, Callable[[], list[str]]] = {
            "gallery": lambda: self._names(
                compute(self.azure.subscription, "images", "galleries", "corp", "images", "all"),
                "Microsoft.Compute/galleries/images/versions",
            ),
            "managedImage": lambda: self._names(self._group, "Microsoft.Compute/images"),
            "snapshot": lambda: self._names(self._group, "Microsoft.Compute/snapshots"),
            "blob": lambda: re.findall(
                "<Name>(.*?)</Name>",
                self.blobs.request("GET", self.container, {"restype": "container", "comp": "list"}).decode(),
            ),
            "directory": lambda: [entry.name for entry in self.folder.iterdir()],
        }
        found = (VERSION.search(name) for name in looks[destination]())
        return sorted({match[0] for match in found if match is not None})

    @property
    def _group(self) -> ResourceId:
        return group_id(self.azure.subscription, "images")

    def _names(self, place: ResourceId, kind: str) -> list[str]:
        return [str(body["name"]) for body in self.azure.list(place, kind)]


def listed(blobs: Blobs, container: str, *names: str) -> list[str]:
    blob = DESTINATIONS["blob"].format(account=ACCOUNT, container=container, endpoint=blobs.endpoint)
    return [f"{name}: {DESTINATIONS[name] if name != 'blob' else blob}" for name in names]


def test_disks_of_this_host_get_everywhere(project: Project, cloud: Cloud) -> None:
    destinations = "".join(f"    - {line}\n" for line in listed(cloud.blobs, cloud.container, *DESTINATIONS))
    places = Places(connected(cloud.azure), cloud.blobs, cloud.container, project.root / "gallery/tiny")
    for number in range(3):
        spec = SPEC.replace("echo first", f"echo {number}").replace("    - directory: {path: gallery}\n", destinations)
        project.write("tiny.image.yaml", spec.replace("publish:\n", "publish:\n  retain: {versions: 2}\n"))
        done = project.apply("--allow-delete", env=cloud.env, prelude=HURRIED)
        assert done.code == 0, done.text
    counts = cloud.azure.traffic.counts()

    assert {name: places.versions(name) for name in DESTINATIONS} == dict.fromkeys(DESTINATIONS, LEFT)
    again = project.build("plan", "--detailed-exitcode", env=cloud.env)
    assert again.code == 0, again.text
    assert cloud.blobs.vhd_size(f"{cloud.blobs.endpoint}/{cloud.container}/tiny/1.0.2/os.vhd") == local.DISK
    assert not [item.id for item in cloud.azure.state if item.type == "Microsoft.Compute/disks"], "only on the way"
    granted, ended = (f"POST Microsoft.Compute/disks/{action}" for action in ("beginGetAccess", "endGetAccess"))
    assert counts[granted] == counts[ended] == 9


def test_disks_of_a_build_vm_get_everywhere_in_azure(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = azure_with_blobs
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    build = Build(tmp_path, azure, monkeypatch)
    assert azure.blobs is not None
    places = Places(build.azure, azure.blobs, CONTAINER, build.root / "gallery/web")
    names = [name for name in DESTINATIONS if name != "directory"]
    destinations = ", ".join(f"{{{line}}}" for line in listed(azure.blobs, CONTAINER, *names))
    for number in range(3):
        build.write(
            f"prepare:\n  - run: echo {number} > /etc/number\n",
            machine="{location: westeurope, security: {type: Standard}}",
            publish=f"{{retain: {{versions: 2}}, to: [{destinations}]}}",
        )
        assert build.apply().version == f"1.0.{number}"

    assert {name: places.versions(name) for name in names} == dict.fromkeys(names, LEFT)
    assert build.decided().action == Action.NONE
    tree = azure.resource("images/all/versions/1.0.2").hidden["facts"].tree
    assert tree.text("/etc/number") == "2\n"


def test_disks_of_a_build_vm_do_not_get_here_and_the_plan_says_so(
    azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Build(tmp_path, azure, monkeypatch)
    build.write(publish=f"{{to: [{{directory: {DESTINATIONS['directory']}}}]}}")
    decided = build.decided()

    assert (decided.action, decided.reasons[0].code) == (Action.BLOCKED, "destination-elsewhere")


# Where a version stands, and what can be given it without a build: a version of a gallery, and a managed image, are
# given out as a whole only
COPIES = {
    "gallery": {"gallery"},
    "managedImage": {"gallery"},
    "snapshot": {"gallery", "managedImage", "snapshot", "blob"},
    "blob": {"gallery", "managedImage", "snapshot", "blob"},
}


@pytest.mark.parametrize("holder", COPIES)
def test_what_can_be_given_a_version_later_is_known_when_planning(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    project = publishing.Project(tmp_path / "project", azure_with_blobs)
    monkeypatch.setattr("builder.azure.connection.connect", reaching(project.azure))
    account = group_id(project.azure.subscription, "storage")
    project.azure.put(account, {"location": publishing.LOCATION}).wait()
    account = ResourceId.parse(f"{account}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}")
    body = {"location": publishing.LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    project.azure.put(account, body).wait()
    first, *others = listed(azure_with_blobs.blobs, project.container, holder, *(set(DESTINATIONS) - {holder}))
    project.write(first)
    project.apply()
    project.still.traits = Traits()  # as the local machine's: only then is a directory a destination at all
    given = set()
    for other in others:
        project.write(f"{first}\n    - {other}")
        decided = project.decided()
        if decided.action == Action.BLOCKED:
            assert [reason.code for reason in decided.reasons] == ["needs-new-version"]
            continue
        project.apply()
        assert project.decided().action == Action.NONE
        given.add(other.partition(":")[0])

    assert given == COPIES[holder] - {holder}
    assert len(project.still.captured) == 1
