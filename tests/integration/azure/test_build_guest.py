"""What goes into the guest of a build, and what comes out of it, at its limits."""

from __future__ import annotations

import base64
import hashlib
import random
from pathlib import Path

import pytest

from tests.azure import Simulator
from tests.integration.azure.building import Build


@pytest.fixture
def build(azure: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(tmp_path, azure, monkeypatch)


def test_a_secret_does_not_show_where_output_is_left_out(
    azure: Simulator, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is cut there holds the half of one, which no mask would find."""
    key = base64.b64encode(b"".join(hashlib.sha256(bytes([number])).digest() for number in range(10))).decode()[:404]
    monkeypatch.setenv("APP_KEY", key)
    lines = "od -An -v -tx1 -w30 -N60000 /dev/urandom | while read -r random; do echo $random $KEY; done"
    build.write(f"prepare: [{{run: {{command: '{lines}', secrets: {{KEY: {{env: APP_KEY}}}}}}}}]\ngeneralize: false\n")
    build.apply()
    (log,) = (build.root / ".build/runs").rglob("web.log")
    text = log.read_text()
    assert "of the output are left out here" in text
    assert "(secret)" in text.partition("are left out here")[2]
    assert not [start for start in range(0, len(key) - 12) if key[start : start + 12] in text]


def test_a_long_script_arrives_and_runs(azure: Simulator, build: Build) -> None:
    """Azure keeps the text of a run command in the VM's settings, which hold 256 KiB."""
    lines = "".join(f"# {hashlib.sha256(str(number).encode()).hexdigest()}\n" for number in range(6000))
    script = f'#!/bin/sh\n{lines}sha256sum < "$0" > /etc/sum\n'
    assert len(script) > 400_000
    build.write("prepare: [{script: {path: long.sh}}]\ngeneralize: false\n")
    (build.root / "long.sh").write_text(script)
    build.apply()
    sent = [pair.request_body for pair in azure.traffic.pairs if pair.method == "PUT" and "/runCommands/" in pair.url]
    assert max(len(body["properties"]["source"]["script"]) for body in sent) < 200 * 1024
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert tree.text("/etc/sum").split()[0] == hashlib.sha256(script.encode()).hexdigest()


def test_files_of_any_size_arrive(azure_with_blobs: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a disk of their own: uploaded, attached, read, and removed; without a storage account of anybody's."""
    azure = azure_with_blobs
    build = Build(tmp_path, azure, monkeypatch)
    content = random.Random(5).randbytes((17 << 20) + 5)
    (build.root / "large").write_bytes(content)
    build.write("prepare:\n  - files: [{path: /opt/large, source: large}]\n  - run: echo done > /etc/done\n")
    build.apply()
    tree = azure.resource("images/web/versions/1.0.0").hidden["facts"].tree
    assert (tree.path / "opt/large").read_bytes() == content
    assert tree.text("/etc/done") == "done\n"
    assert [path.name for path in (tree.path / "var/tmp").iterdir()] == []
    attached = [
        [disk["lun"] for disk in pair.request_body["properties"]["storageProfile"]["dataDisks"]]
        for pair in azure.traffic.pairs
        if pair.operation == "PATCH Microsoft.Compute/virtualMachines"
    ]
    assert attached == [[0], []]
    commands = [pair for pair in azure.traffic.pairs if pair.method == "PUT" and "/runCommands/" in pair.url]
    assert len(commands) < 12
    azure.clock.advance(600)
    assert not list(azure.state.of_type("Microsoft.Compute/disks"))
    assert not list((build.root / ".build/work").iterdir())
