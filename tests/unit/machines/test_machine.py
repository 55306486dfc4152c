"""What the local machine says against an image before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from builder.errors import Place
from builder.machines.local.machine import LocalMachine
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
