"""What the local machine says against an image before anything is made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.disk.partitions import GptPartition, write_gpt
from builder.disk.vhd import COOKIE, FOOTER_SIZE
from builder.errors import Place
from builder.machines.local.machine import LocalMachine
from builder.machines.local.sources import source_step
from builder.model.hardware import host_architecture
from builder.model.spec import Choice, DisksSpec, ImageSpec, OsSpec, Places, PublishSpec
from builder.records.store import Store

SOURCES: dict[str, dict[str, Any]] = {
    "bootstrap": {},
    "file": {"url": "https://disks.example/arm.qcow2", "sha256": "ab" * 32},
    "image": {"name": "base"},
}


def image(root: Path, architecture: Any, source: str) -> ImageSpec:
    return ImageSpec(
        name="web",
        os=OsSpec("linux", "debian", "12", architecture),
        source=Choice(source, SOURCES[source], ("source", source)),
        machine=Choice("local", {}),
        disks=DisksSpec(),
        prepare=(),
        generalize=None,
        capture="osImage",
        test=(),
        publish=PublishSpec(),
        root=root,
        file="web.yaml",
        places=Places({(): Place("web.yaml"), ("os", "architecture"): Place("web.yaml", 2, 20)}),
    )


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("uname", "architecture", "message"),
    [
        ("x86_64", "x64", None),
        ("aarch64", "arm64", None),
        ("x86_64", "arm64", "the image is for arm64, and this host runs x64"),
        ("aarch64", "x64", "the image is for x64, and this host runs arm64"),
        ("riscv64", "x64", "the image is for x64, and this host runs riscv64"),
    ],
)
def test_an_image_for_other_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, uname: str, architecture: str, message: str | None, source: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: uname)
    facts = LocalMachine(Store(tmp_path)).observe(image(tmp_path, architecture, source))
    assert [blocker.message for blocker in facts.blockers] == ([message] if message else [])
    for blocker in facts.blockers:
        assert blocker.place == Place("web.yaml", 2, 20)
        assert blocker.hint == f"build it on a host of {architecture}"


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("kind", "resolved", "title", "size"),
    [
        ("bootstrap", {"distribution": "debian", "suite": "bookworm", "size": 3 << 30}, "bootstrap debian bookworm",
         "3072 MiB"),
        ("image", {"image": "base", "version": "1.0.1", "digest": "sha256:00"}, "start from image base 1.0.1", ""),
        ("file", {"url": "https://disks.example/arm.qcow2"}, "import https://disks.example/arm.qcow2", ""),
    ],
)  # fmt: skip
def test_a_source_is_told_as_far_as_it_is_known(
    tmp_path: Path, kind: str, resolved: dict[str, Any], title: str, size: str
) -> None:
    step = source_step(image(tmp_path, "x64", kind), resolved)
    (change,) = step.changes
    assert (step.title, change.name, change.detail) == (title, "os", size)


def partition(path: Path, content: bytes, at: int = 0) -> None:
    """A disk with one partition that holds something."""
    write_gpt(path, 64 * MIB, [GptPartition(1, MIB, 62 * MIB)])
    with path.open("r+b") as file:
        file.seek(MIB + at)
        file.write(content)


# How a disk file is made, and what a plan says of it
DISKS = {
    "ext4": (lambda path: partition(path, b"\x53\xef", 1024 + 56), None),
    "text": (lambda path: path.write_text("hello\n" * 1000), "not-a-disk"),
    "empty": (lambda path: path.write_bytes(b""), "not-a-disk"),
    "compressed": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(2000)), "not-a-disk"),
    "luks": (lambda path: partition(path, b"LUKS\xba\xbe\x00\x02"), "encrypted-disk"),
    "no filesystem": (lambda path: partition(path, b"nothing"), "no-root-filesystem"),
    "checksum": (lambda path: path.write_bytes(bytes(MIB) + COOKIE.ljust(FOOTER_SIZE, b"\1")), "vhd-checksum"),
}


@pytest.mark.parametrize("what", DISKS)
def test_a_disk_file_is_looked_at(tmp_path: Path, what: str) -> None:
    make, code = DISKS[what]
    make(tmp_path / "base.disk")
    architecture = host_architecture()
    source = Choice("file", {"path": "base.disk"}, ("source", "file"))
    wanted = replace(image(tmp_path, architecture, "file"), source=source, root=tmp_path)
    facts = LocalMachine(Store(tmp_path / "store")).observe(wanted)
    assert [blocker.code for blocker in facts.blockers] == ([code] if code else [])
    # Without a source, nothing is decided on
    assert bool(facts.source) == (code is None)
