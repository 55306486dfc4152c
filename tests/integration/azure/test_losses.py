"""What Azure takes away, forgets or fails at under a build: it goes on where it can, and says what was lost if not."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from builder.apply.executor import Executor, Options
from builder.errors import BuildError
from builder.events import Event, ImageFailed, ImageFinished, ImageStarted
from builder.machines.azure.last import LastGuest
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.azure.guests import Scripted
from tests.integration.azure.building import Build

VMS = "Microsoft.Compute/virtualMachines"
STEPS = """\
prepare:
  - run: echo one > /etc/one
  - {run: {command: cat /etc/one > /etc/two, checkpoint: true}}
  - run: cat /etc/two > /etc/three
"""
SPOT = "{location: westeurope, spot: {retries: 2}}"


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(tmp_path, azure, monkeypatch)


def requests(azure: Simulator, operation: str) -> list[str]:
    """The names of what such requests were about."""
    found = [pair for pair in azure.traffic.pairs if pair.operation == operation]
    return [pair.url.partition("?")[0].rpartition("/")[2] for pair in found]


def evict_once(azure: Simulator, name: str) -> Callable[[], None]:
    return lambda: azure.evict(f"virtualMachines/{name}")


@pytest.mark.parametrize("moment", [52, 55, 75, 76, 90, 100, 110])
def test_an_evicted_vm_is_made_again_whatever_the_build_does_at_that_moment(
    azure: Simulator, build: Build, moment: float
) -> None:
    build.write(STEPS, machine=SPOT)
    azure.clock.after(moment, evict_once(azure, "build-vm"))
    assert build.apply().version == "1.0.0"
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert [tree.text(f"/etc/{name}") for name in ("one", "two", "three")] == ["one\n"] * 3
    assert requests(azure, f"PUT {VMS}") == ["build-vm", "build-vm-2"]
    assert any("taken away" in message for message in build.warnings)


def test_a_vm_that_is_evicted_while_it_takes_its_identity_out(
    azure: Simulator, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.write(STEPS, machine=SPOT)
    execute, began = LastGuest.execute, list[float]()

    def evicted(*arguments: object) -> None:
        if not began:
            began.append(azure.clock.elapsed)
            azure.clock.after(10.5, evict_once(azure, "build-vm"))
        execute(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LastGuest, "execute", evicted)
    assert build.apply().version == "1.0.0"
    assert requests(azure, f"PUT {VMS}") == ["build-vm", "build-vm-2"]
    assert azure.clock.elapsed - began[0] < 900


@pytest.mark.parametrize("first", ["a build", "a build from a checkpoint"])
def test_a_vm_that_is_evicted_before_its_agent_answers(azure: Simulator, build: Build, first: str) -> None:
    if first != "a build":
        build.write(STEPS + "  - run: exit 3\n", machine=SPOT)
        with pytest.raises(BuildError, match="exit code 3"):
            build.apply()
        azure.clock.advance(300)
    build.write(STEPS, machine=SPOT)
    azure.cloud.latencies.update({"virtualMachines.firstAgent": 40, "virtualMachines.agent": 40})
    mark, began = len(azure.traffic.pairs), azure.clock.elapsed
    evictions: list[str] = []

    def look() -> None:
        found = [item for item in azure.state.of_type(VMS) if item.hidden["power"] == "running"]
        if found and not evictions:
            evictions.append(found[0].name)
            azure.evict(f"virtualMachines/{found[0].name}")
        elif not evictions and azure.clock.elapsed - began < 600:
            azure.clock.after(5, look)

    look()
    assert build.apply().version == "1.0.0"
    assert evictions == ["build-vm"]
    made = [pair for pair in azure.traffic.pairs[mark:] if pair.operation == f"PUT {VMS}"]
    assert [pair.url.partition("?")[0].rpartition("/")[2] for pair in made] == ["build-vm", "build-vm-2"]
    deleted = [pair.url.partition("?")[0] for pair in azure.traffic.pairs[mark:] if pair.operation == f"DELETE {VMS}"]
    assert [url.rpartition("/")[2] for url in deleted] == ["build-vm"]


def test_vms_that_test_are_not_of_the_kind_that_azure_takes_away(azure: Simulator, build: Build) -> None:
    build.write("test:\n  - provision: {}\n  - run: test -f /etc/os-release\n", machine=SPOT)
    assert build.apply().version == "1.0.0"
    made = [pair.request_body["properties"] for pair in azure.traffic.pairs if pair.operation == f"PUT {VMS}"]
    assert [properties.get("priority") for properties in made] == ["Spot", None]


def test_a_test_vm_that_somebody_stops_says_nothing_about_the_version(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted("sleep forever", hangs=True, seconds=math.inf))
    build.write("test:\n  - provision: {}\n  - run: sleep forever\n")

    def look() -> None:
        found = [item for item in azure.state.of_type(f"{VMS}/runCommands") if "/build-test/" in item.id]
        if found:
            azure.evict("virtualMachines/build-test")
        else:
            azure.clock.after(5, look)

    look()
    with pytest.raises(BuildError, match="the VM is deallocated") as caught:
        build.apply()
    assert caught.value.code == "machine-stopped"
    assert "held back until its tests have run" in (caught.value.hint or "")
    assert azure.resource("images/web/versions/1.0.0").body["tags"]["build-state"] == "held"
    azure.guests.answer(Scripted("sleep forever"))
    azure.clock.advance(120)
    assert build.decided().action != Action.REBUILD
    assert build.apply().version == "1.0.0"
    assert azure.resource("images/web/versions/1.0.0").body["tags"]["build-state"] == "promoted"


@pytest.mark.parametrize("what", ["VM", "group"])
@pytest.mark.parametrize("moment", [56, 62, 75, 90, 100])
def test_what_somebody_deletes_under_a_build_is_named(azure: Simulator, build: Build, what: str, moment: float) -> None:
    build.write(STEPS)
    part = "virtualMachines/build-vm" if what == "VM" else "/resourceGroups/build-web"

    def delete() -> None:
        for item in list(azure.state):
            if part in item.id:
                azure.state.delete(item.id)

    azure.clock.after(moment, delete)
    with pytest.raises(BuildError, match="is gone: it was deleted under this run") as caught:
        build.apply()
    assert caught.value.code == "machine-gone"
    assert ("resource group" in caught.value.message) == (what == "group")
    assert "virtualMachines/build-vm" in caught.value.message
    assert "the same apply builds again from the last checkpoint" in (caught.value.hint or "")
    azure.clock.advance(600)
    assert build.apply().version == "1.0.0"


def test_a_test_vm_that_somebody_deletes_says_nothing_about_the_version(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted("sleep forever", hangs=True, seconds=math.inf))
    build.write("test:\n  - provision: {}\n  - run: sleep forever\n")

    def look() -> None:
        found = [item for item in azure.state if "/build-test/runCommands/" in item.id]
        if found:
            for item in [item for item in azure.state if "virtualMachines/build-test" in item.id]:
                azure.state.delete(item.id)
        else:
            azure.clock.after(5, look)

    look()
    with pytest.raises(BuildError, match=r"build-test .* is gone") as caught:
        build.apply()
    assert caught.value.code == "machine-gone"
    assert "held back until its tests have run" in (caught.value.hint or "")
    assert "checkpoint" not in (caught.value.hint or "")


@pytest.mark.parametrize("code", ["InternalServerError", "InternalExecutionError", "OSProvisioningTimedOut"])
def test_a_vm_that_azure_failed_to_make_is_made_anew(azure: Simulator, build: Build, code: str) -> None:
    azure.faults.add(Fault(f"PUT {VMS}", "fail", code=code, times=2))
    build.write(STEPS)
    assert build.apply().version == "1.0.0"
    assert requests(azure, f"PUT {VMS}") == ["build-vm"] * 3
    assert requests(azure, f"DELETE {VMS}") == ["build-vm"] * 2
    assert [message for message in build.warnings if code in message and "made anew" in message]


@pytest.mark.parametrize(("code", "tries", "console"), [
    ("InternalServerError", 3, ""), ("OSProvisioningTimedOut", 3, "Linux version 6.1"),
    ("OSProvisioningClientError", 1, "Linux version 6.1"),
])  # fmt: skip
def test_a_vm_that_can_not_be_made_is_given_up(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, tries: int, console: str
) -> None:
    build = Build(tmp_path, azure_with_blobs, monkeypatch)
    azure_with_blobs.faults.add(Fault(f"PUT {VMS}", "fail", code=code, times=99))
    with pytest.raises(BuildError, match=code) as caught:
        build.apply()
    assert requests(azure_with_blobs, f"PUT {VMS}") == ["build-vm"] * tries
    assert console in (caught.value.detail or "")
    azure_with_blobs.clock.advance(120)
    assert build.groups() == []


def test_a_command_that_azure_forgets_is_not_waited_for_for_ever(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted("echo never", hangs=True, seconds=math.inf))
    azure.faults.add(Fault(f"PUT {VMS}/runCommands", "hang", nth=2, times=99))
    build.write("prepare:\n  - run: {command: echo never, timeout: 60s}\n")
    with pytest.raises(BuildError, match="nothing has ended it; the agent is Ready") as caught:
        build.apply()
    assert caught.value.code == "guest-unreachable"
    assert azure.clock.elapsed < 1200


def test_an_agent_that_dies_under_a_step_is_named(
    azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure, build = azure_with_blobs, Build(tmp_path, azure_with_blobs, monkeypatch)

    def die() -> None:
        azure.resource("virtualMachines/build-vm").hidden["agent"] = False

    azure.guests.answer(Scripted("kill the agent", hangs=True, seconds=math.inf, stages=((2, "killing it\n"),)))
    azure.clock.after(100, die)
    build.write("prepare:\n  - run: {command: kill the agent, timeout: 60s}\n")
    with pytest.raises(BuildError, match="nothing was heard of a script any more; the agent is Not Ready") as caught:
        build.apply()
    assert caught.value.code == "guest-unreachable"
    assert "killed" not in caught.value.message
    assert "Linux version 6.1" in (caught.value.detail or "")
    assert "killing it" in build.log


def test_an_agent_that_never_answers_and_a_silent_console(azure: Simulator, build: Build) -> None:
    azure.cloud.latencies["virtualMachines.firstAgent"] = math.inf
    with pytest.raises(BuildError, match="did not get ready within 1200 s; the agent is Not Ready") as caught:
        build.apply()
    assert (caught.value.code, caught.value.detail) == ("agent-not-ready", None)
    assert "The console has shown nothing" in (caught.value.hint or "")


@pytest.mark.parametrize("operation", [f"PUT {VMS}", f"POST {VMS}/deallocate"])
def test_what_azure_never_ends_is_not_waited_for_for_ever(azure: Simulator, build: Build, operation: str) -> None:
    azure.faults.add(Fault(operation, "hang"))
    with pytest.raises(BuildError, match="Azure needs more than 3600 s") as caught:
        build.apply()
    assert caught.value.code == "azure-timeout"
    assert azure.clock.elapsed < 2 * 3600


def test_a_group_whose_making_was_never_confirmed_is_removed(azure: Simulator, build: Build) -> None:
    azure.faults.add(Fault("PUT Microsoft.Resources/resourceGroups", "lose", times=99))
    with pytest.raises(BuildError):
        build.apply()
    azure.clock.advance(120)
    assert build.groups() == []


def test_what_can_not_be_removed_from_somebodys_group_is_in_no_others_way(azure: Simulator, build: Build) -> None:
    build.world.group("theirs")
    azure.faults.add(Fault("DELETE Microsoft.Network/networkInterfaces", "refuse", code="NicReservedForAnotherVm",
                           message="The interface is reserved for another 180 s.", times=99))  # fmt: skip
    build.write(machine="{location: westeurope, resourceGroup: theirs}")
    assert build.apply().version == "1.0.0"
    assert len(requests(azure, "DELETE Microsoft.Network/virtualNetworks")) == 1
    assert len(requests(azure, "DELETE Microsoft.Network/networkSecurityGroups")) == 1
    assert [message for message in build.warnings if "NicReservedForAnotherVm" in message and "build gc" in message]


def test_the_subnet_of_a_build_reaches_the_internet(azure: Simulator, build: Build) -> None:
    build.apply()
    (made,) = [pair for pair in azure.traffic.pairs if pair.operation == "PUT Microsoft.Network/virtualNetworks"]
    (subnet,) = made.request_body["properties"]["subnets"]
    assert subnet["properties"]["defaultOutboundAccess"] is True


def test_a_snapshot_that_failed_is_made_again(azure: Simulator, build: Build) -> None:
    azure.faults.add(Fault("PUT Microsoft.Compute/snapshots", "fail", code="InternalServerError"))
    build.write(STEPS)
    assert build.apply().version == "1.0.0"
    assert len(azure.faults.fired) == 1


def test_images_wait_for_the_quota_that_others_of_their_run_use(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: touch /etc/made\n")
    text = (build.root / "web.image.yaml").read_text()
    for name in ("api", "job"):
        (build.root / f"{name}.image.yaml").write_text(text.replace("web", name))
    azure.catalogue.quotas["standarddsv5family"] = 4
    plan = build.plan()
    assert {image.action for image in plan.images} == {Action.BUILD}
    assert [[note.code for note in image.notes] for image in plan.images] == [[], [], ["waits_for_room"]]
    loaded, tools = build._tools()
    working: dict[str, ExitStack] = {}

    def hear(event: Event) -> None:
        """Time passes only while every image waits."""
        build.events.append(event)
        if isinstance(event, ImageStarted):
            working[event.image] = ExitStack()
            working[event.image].enter_context(azure.clock.worker())
        if isinstance(event, ImageFinished | ImageFailed):
            working[event.image].close()

    Executor(replace(tools, listener=hear), loaded.documents, Options(side_by_side=3)).apply(plan)
    versions = [item.name for item in azure.state.of_type("Microsoft.Compute/galleries/images/versions")]
    assert versions == ["1.0.0"] * 3
    assert [message for message in build.warnings if "use up the quota" in message]
    made = [pair for pair in azure.traffic.pairs if pair.operation == f"PUT {VMS}"]
    assert {pair.status for pair in made} == {201, 409}
