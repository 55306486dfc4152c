"""A small project in a folder, read by the real loader, and versions published in its gallery."""

from __future__ import annotations

from pathlib import Path

from builder.apply.manifests import recorded_step
from builder.cli.planning import PlanRequest, make_plan
from builder.disk.vhd import FOOTER_SIZE
from builder.model.artifact import Inventory, Manifest, ManifestDisk
from builder.model.hardware import host_architecture
from builder.model.plan import Action
from builder.records.files import write_json

DISK_SIZE = 30 * 1024**3
WEB = """\
name: web
os: {family: linux, distribution: debian, release: "12"}
source: {bootstrap: {}}
prepare:
  - packages: {install: [nginx]}
  - script: {path: tidy.sh}
"""
APP = """\
name: app
os: {family: linux, distribution: debian, release: "12"}
source: {image: web}
prepare:
  - run: {command: make, secrets: {TOKEN: {env: APP_TOKEN}}}
"""
# Its machine and one of its destinations are in Azure
FAR = """\
name: far
os: {family: linux, distribution: debian, release: "12"}
source:
  marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2, version: latest}
machine:
  azure: {}
publish:
  to:
    - gallery: {resourceGroup: images, gallery: corp, definition: web, regions: [westeurope]}
    - directory: {path: gallery}
"""
# Blocked for three reasons that can be known on this host alone
STUCK = """\
name: stuck
os: {family: linux, distribution: debian, architecture: ARCHITECTURE}
source:
  file: {path: stuck.raw, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
publish:
  to:
    - directory: {path: taken}
""".replace("ARCHITECTURE", "arm64" if host_architecture() == "x64" else "x64")
TIDY = "#!/bin/sh\necho one\necho two\necho three\n"


def make_project(folder: Path) -> Path:
    """A project of two images, one standing on the other."""
    (folder / "build.yaml").write_text("{}\n")
    (folder / "images").mkdir()
    (folder / "images/web.yaml").write_text(WEB)
    (folder / "images/app.yaml").write_text(APP)
    (folder / "images/tidy.sh").write_text(TIDY)
    (folder / "images/stuck.raw").write_bytes(b"a disk")
    return folder


def publish_all(root: Path) -> None:
    """Put versions with true manifests where an apply of everything would put them; their disks are missing."""
    for image in make_plan(PlanRequest(root=root)).plan.images:
        if image.action in (Action.NONE, Action.BLOCKED):
            continue
        steps = tuple(recorded_step(item.step) for item in image.steps if item.step.identity)
        manifest = Manifest(
            image=image.image,
            version=str(image.version),
            digest=image.digest,
            created="2026-11-23T04:10:02+00:00",
            tool="build 0.1.0",
            run="run-1",
            generalized=True,
            kind="vmImage",
            architecture="x64",
            generation=2,
            source={},
            steps=steps,
            disks=(ManifestDisk("os.vhd", None, DISK_SIZE, "sha256:" + "ab" * 32, 1024**3),),
            recorded_inventory=Inventory().as_dict(),
        )
        folder = root / "gallery" / image.image / str(image.version)
        write_json(folder / "manifest.json", manifest.as_dict())
        with (folder / "os.vhd").open("wb") as disk:
            disk.truncate(DISK_SIZE + FOOTER_SIZE)
