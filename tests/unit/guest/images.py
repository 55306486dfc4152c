"""Small images for tests of the guest floor: an ImageSpec in a temporary project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import Place
from builder.model.run import GuestFacts
from builder.model.spec import Choice, DisksSpec, GeneralizeSpec, ImageSpec, KeyPath, OsSpec, Places, PublishSpec

FACTS = GuestFacts("linux", "debian", "12", "x64", "apt", {"ID": "debian"})


def make_image(
    root: Path,
    prepare: Sequence[Choice] = (),
    *,
    generalize: GeneralizeSpec | None = GeneralizeSpec(),  # noqa: B008 (frozen)
    places: Mapping[KeyPath, Place] | None = None,
    machine: str = "local",
) -> ImageSpec:
    """An image whose spec is images/web.yaml below `root`."""
    (root / "images").mkdir(exist_ok=True)
    return ImageSpec(
        name="web",
        os=OsSpec("linux", "debian", "12"),
        source=Choice("bootstrap", {}, ("source", "bootstrap")),
        machine=Choice(machine, {}, ("machine", machine)),
        disks=DisksSpec(),
        prepare=tuple(prepare),
        generalize=generalize,
        capture="vmImage",
        test=(),
        publish=PublishSpec(),
        root=root,
        file="images/web.yaml",
        places=Places({(): Place("images/web.yaml"), **(places or {})}),
    )


def entry(kind: str, index: int = 0, **values: Any) -> Choice:
    """An entry of `prepare`, as the spec floor normalises it."""
    return Choice(kind, values, ("prepare", index, kind))


def place_file(root: Path, path: str, content: str | bytes, mode: int = 0o644) -> Path:
    """A file of the repository."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    target.chmod(mode)
    return target
