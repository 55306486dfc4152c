"""A build on Azure, from the Marketplace to a gallery: what is made, what is in it, and what is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.errors import BuildError, Interrupted
from builder.model.plan import Action
from tests.azure import Fault, Simulator
from tests.azure.guests import Scripted
from tests.integration.azure.building import Build

STEPS = """\
prepare:
  - files: [{path: /etc/web.conf, content: "one\\n"}]
  - script: {path: setup.sh, env: {LEVEL: strict}}
  - run: echo "$(cat /etc/web.conf) $(cat /etc/level)" > /etc/both
"""


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = Build(tmp_path, azure, monkeypatch)
    (build.root / "setup.sh").write_text('#!/bin/sh\nset -eu\necho "$LEVEL" > /etc/level\necho set up\n')
    return build


def test_from_the_marketplace_to_a_gallery(azure: Simulator, build: Build) -> None:
    build.write(STEPS)
    outcome = build.apply()

    assert outcome.version == "1.0.0"
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/both") == "one strict\n"
    assert tree.text("/etc/machine-id") != "0123456789abcdef0123456789abcdef\n"
    assert not (tree.path / "etc/ssh/ssh_host_ed25519_key").exists()
    assert [path.name for path in (tree.path / "run").glob("build-*")] == []
    assert "set up" in build.log
    assert build.decided().action == Action.NONE


OTHER = "22222222-2222-4333-8444-555555555555"


def test_a_build_vm_in_another_subscription_than_its_gallery(azure: Simulator, build: Build) -> None:
    azure.cloud.subscriptions[OTHER] = "Builds"
    build.write(machine=f"{{location: westeurope, subscription: {OTHER}}}")
    outcome = build.apply()
    assert outcome.error is None
    version = azure.resource("images/web/versions/1.0.0")
    assert version.id.lower().startswith(f"/subscriptions/{azure.subscription}/")
    assert OTHER in str(version.properties["storageProfile"])
    made = {pair.url.split("/")[4] for pair in azure.traffic.pairs if "/virtualMachines/" in pair.url}
    assert made == {OTHER}
    azure.clock.advance(azure.cloud.seconds("groups.delete"))
    left = [group.id for group in azure.state.of_type("Microsoft.Resources/resourceGroups") if OTHER in group.id]
    assert [id.rpartition("/")[2] for id in left] == ["build-checkpoints-westeurope"]


def test_nothing_is_reachable_and_everything_is_tagged(azure: Simulator, build: Build) -> None:
    build.write(STEPS, machine="{location: westeurope, tags: {team: web}}")
    build.apply()
    made = [pair for pair in azure.traffic.pairs if pair.method == "PUT" and "/runCommands/" not in pair.url]
    assert not [pair for pair in made if "publicIPAddresses" in pair.url]
    (rules,) = [pair.request_body for pair in made if "networkSecurityGroups" in pair.url]
    assert {rule["properties"]["access"] for rule in rules["properties"]["securityRules"]} == {"Deny"}
    for pair in made:
        if "/galleries/" not in pair.url and "build-checkpoints" not in pair.url and "/images?" not in pair.url:
            assert pair.request_body["tags"]["build-image"] == "web", pair.url
            assert pair.request_body["tags"]["team"] == "web", pair.url
            assert "build-expires" in pair.request_body["tags"], pair.url


def test_the_group_goes_without_being_waited_for(azure: Simulator, build: Build) -> None:
    build.apply()
    polls = [pair for pair in azure.traffic.pairs if "/operationresults/" in pair.url]
    assert polls == []
    azure.clock.advance(azure.cloud.seconds("groups.delete"))
    assert [group for group in build.groups() if group.startswith("build-web")] == []


def test_a_second_build_starts_at_the_deepest_checkpoint(azure: Simulator, build: Build) -> None:
    marked = STEPS.replace("env: {LEVEL: strict}}", "env: {LEVEL: strict}, checkpoint: true}")
    build.write(marked)
    build.apply()
    azure.clock.advance(60)  # the snapshots' data are copied in the background
    build.write(marked.replace("> /etc/both", "> /etc/other"))
    decided = build.decided()
    assert [item.action for item in decided.steps[:4]] == ["reuse", "reuse", "reuse", "run"]
    mark = len(azure.traffic.pairs)
    assert build.apply().version == "1.0.1"
    tree = azure.resource("images/web/versions/1.0.1").hidden["facts"].tree
    assert tree.text("/etc/other") == "one strict\n"
    (machine,) = [
        pair for pair in azure.traffic.pairs[mark:] if pair.operation == "PUT Microsoft.Compute/virtualMachines"
    ]
    assert "osProfile" not in machine.request_body["properties"]


def test_secrets_are_in_protected_parameters_alone(
    azure: Simulator, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_TOKEN", "tok'en with $igns")
    secrets = "secrets: {TOKEN: {env: APP_TOKEN}}"
    build.write(f"prepare:\n  - script: {{path: setup.sh, env: {{LEVEL: strict}}, {secrets}}}\n")
    (build.root / "setup.sh").write_text('#!/bin/sh\nprintf %s "$TOKEN" | sha256sum > /etc/sum\necho "it is $TOKEN"\n')
    build.apply()
    import hashlib

    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/sum").split()[0] == hashlib.sha256(b"tok'en with $igns").hexdigest()
    assert "it is (secret)" in build.log
    for pair in azure.traffic.pairs:
        body = pair.request_body if isinstance(pair.request_body, dict) else {}
        shown = {**body, "properties": {**(body.get("properties") or {}), "protectedParameters": None}}
        assert "tok'en" not in json.dumps(shown)
        assert "tok'en" not in pair.url
    journals = [path.read_text() for path in (build.root / ".build/runs").rglob("*") if path.is_file()]
    assert not [text for text in journals if "tok'en" in text]


def test_large_output_and_large_files_arrive_whole(azure: Simulator, build: Build) -> None:
    import random

    content = random.Random(4).randbytes(300_000)
    (build.root / "large").write_bytes(content)
    script = "#!/bin/sh\nfor number in $(seq 1 9000); do echo line $number; done\nsha256sum < /opt/large\n"
    (build.root / "setup.sh").write_text(script)
    steps = "prepare:\n  - files: [{path: /opt/large, source: large}]\n  - script: {path: setup.sh}\n"
    build.write(steps + "generalize: false\n")
    build.apply()
    (log,) = (build.root / ".build/runs").rglob("web.log")
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(1, 9001)]
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert (tree.path / "opt/large").read_bytes() == content


def test_a_step_that_fails_leaves_nothing(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: echo almost; exit 7\n")
    with pytest.raises(BuildError, match="ended with exit code 7") as caught:
        build.apply()
    assert caught.value.code == "step-failed"
    assert caught.value.detail == "almost"
    azure.clock.advance(120)
    assert build.groups() == []


def test_a_step_that_does_not_end_is_ended(azure: Simulator, build: Build) -> None:
    build.write('prepare:\n  - run: {command: "echo begun; sleep 60", timeout: 1s}\n')
    with pytest.raises(BuildError, match="did not end within 1 s") as caught:
        build.apply()
    assert (caught.value.code, caught.value.detail) == ("step-timeout", "begun")


def test_what_failed_is_kept_when_asked(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: exit 7\n", machine="{location: westeurope, onFailure: keep}")
    with pytest.raises(BuildError, match="exit code 7"):
        build.apply()
    azure.clock.advance(120)
    (group,) = build.groups()
    assert group in "".join(build.warnings)
    assert azure.resource("virtualMachines/build-vm").hidden["power"] == "running"


def test_without_room_for_a_size_the_next_one_is_taken(azure: Simulator, build: Build) -> None:
    build.write(STEPS, machine="{location: westeurope, size: [Standard_D2s_v5, Standard_D2as_v5]}")
    azure.faults.add(Fault("PUT Microsoft.Compute/virtualMachines", "fail", code="AllocationFailed"))
    assert build.apply().version == "1.0.0"
    sizes = [pair.request_body["properties"]["hardwareProfile"]["vmSize"] for pair in azure.traffic.pairs
             if pair.operation == "PUT Microsoft.Compute/virtualMachines"]  # fmt: skip
    assert sizes == ["Standard_D2s_v5", "Standard_D2as_v5"]
    assert "no room for Standard_D2s_v5" in "".join(build.warnings)


def test_no_room_at_all_is_told(azure: Simulator, build: Build) -> None:
    azure.faults.add(Fault("PUT Microsoft.Compute/virtualMachines", "fail", code="AllocationFailed", times=9))
    with pytest.raises(BuildError, match="AllocationFailed") as caught:
        build.apply()
    assert "machine.azure.size" in (caught.value.hint or "")
    azure.clock.advance(120)
    assert build.groups() == []


def test_what_generalize_leaves_behind_stops_the_build(azure: Simulator, build: Build) -> None:
    # An account of root's by another name is nothing that an operation removes
    build.write("prepare:\n  - run: echo 'toor:x:0:0::/root:/bin/sh' >> /etc/passwd\n")
    with pytest.raises(BuildError, match="ended with exit code 1") as caught:
        build.apply()
    assert "/etc/passwd: gives toor UID 0, all rights of root (checked always)" in (caught.value.detail or "")
    azure.clock.advance(120)
    assert build.groups() == ["build-checkpoints-westeurope"]


def test_a_guest_that_stays_on_is_given_up(azure: Simulator, build: Build) -> None:
    azure.guests.programs["systemctl"] = "#!/bin/sh\nexit 0\n"
    with pytest.raises(BuildError, match="did not switch itself off"):
        build.apply()
    assert azure.clock.elapsed < 2 * 3600


def test_a_restart_waits_for_the_agent(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: touch /etc/before\n  - restart: {}\n  - run: test -f /etc/before\n")
    assert build.apply().version == "1.0.0"
    restarts = [pair for pair in azure.traffic.pairs if pair.url.partition("?")[0].endswith("/restart")]
    assert len(restarts) == 1


def test_user_data_and_custom_data_come_from_files(azure: Simulator, build: Build) -> None:
    (build.root / "cloud.yaml").write_text("#cloud-config\n")
    build.write(machine="{location: westeurope, customData: cloud.yaml, userData: cloud.yaml}")
    build.apply()
    (machine,) = [pair for pair in azure.traffic.pairs if pair.operation == "PUT Microsoft.Compute/virtualMachines"]
    given = machine.request_body["properties"]
    assert given["userData"] == given["osProfile"]["customData"] == "I2Nsb3VkLWNvbmZpZwo="


def test_an_interrupted_build_is_ended_and_removed(azure: Simulator, build: Build) -> None:
    azure.guests.answer(Scripted("echo forever", hangs=True, seconds=1e9))
    build.write("prepare:\n  - run: echo forever\n")
    azure.clock.after(150, build.stop.set)
    with pytest.raises(Interrupted):
        build.apply()
    assert azure.clock.elapsed < 400
    azure.clock.advance(120)
    assert build.groups() == []


SPOT = "{location: westeurope, spot: {retries: 1}}"


def test_an_evicted_build_goes_on_from_its_checkpoint(azure: Simulator, build: Build) -> None:
    marked = STEPS.replace("env: {LEVEL: strict}}", "env: {LEVEL: strict}, checkpoint: true}")
    build.write(marked.replace("- run: echo", "- run: 'echo evict' # echo").split("  - run")[0], machine=SPOT)
    build.write(marked, machine=SPOT)
    evictions: list[str] = []

    def evict() -> None:
        if not evictions:
            evictions.append("once")
            azure.evict("virtualMachines/build-vm")

    azure.guests.answer(
        Scripted("> /etc/both", hangs=True, machine="build-vm", stages=((5, "going on\n"),), then=None, seconds=1e9)
    )
    azure.clock.after(120, evict)
    assert build.apply().version == "1.0.0"
    assert evictions == ["once"]
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/both") == "one strict\n"
    assert any("taken away" in message for message in build.warnings)


def test_evictions_have_an_end(azure: Simulator, build: Build) -> None:
    build.write("prepare:\n  - run: echo evicted\n", machine=SPOT)
    azure.guests.answer(Scripted("echo evicted", hangs=True, seconds=1e9))
    for moment, name in ((120, "build-vm"), (500, "build-vm-2")):
        azure.clock.after(moment, lambda name=name: azure.evict(f"virtualMachines/{name}"))  # type: ignore[misc]
    with pytest.raises(BuildError, match="took the spot VM away 2 times") as caught:
        build.apply()
    assert caught.value.code == "machine-lost"


def test_captured_disks_are_adopted_after_a_failed_publish(azure: Simulator, build: Build) -> None:
    build.write(STEPS)
    azure.faults.add(Fault("PUT Microsoft.Compute/galleries/images/versions", "refuse", code="Nope", times=1))
    with pytest.raises(BuildError, match="Nope"):
        build.apply()
    azure.clock.advance(120)
    assert build.decided().action == Action.ADOPT
    mark = len(azure.traffic.pairs)
    assert build.apply().version == "1.0.0"
    assert not [pair for pair in azure.traffic.pairs[mark:] if "/virtualMachines/" in pair.url]
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/both") == "one strict\n"


def test_in_a_group_of_somebody_else_only_our_things_go(azure: Simulator, build: Build) -> None:
    build.world.group("theirs")
    disk = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    from builder.azure.ids import compute

    other = compute(azure.subscription, "theirs", "disks", "precious")
    build.world.put(other, {"location": "westeurope", "properties": disk})
    build.write(STEPS, machine="{location: westeurope, resourceGroup: theirs}")
    build.apply()
    azure.clock.advance(300)
    left = [
        item.id.rpartition("/providers/")[2]
        for item in azure.state.under(f"/subscriptions/{azure.subscription}/resourceGroups/theirs")
    ]
    assert [name for name in left if "snapshots" not in name and name] == ["Microsoft.Compute/disks/precious"]
    assert all("build-step" in azure.resource(name).body["tags"] for name in left if "snapshots" in name)
