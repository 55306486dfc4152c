"""validate and plan over many specs: 250, 500 and 1,000, so that growth shows.

Usage: .venv/bin/python benchmarks/local/specs.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from common import BUILD, ROOT, Table, timed

SPEC = """\
name: web-{number:04}
description: one of many
os: {{family: linux, distribution: debian, release: "12"}}
source:
  bootstrap: {{}}
prepare:
  - packages: {{install: [nginx, jq], upgrade: true}}
  - files:
      - {{path: /etc/nginx/conf.d/tokens.conf, source: files/tokens.conf, mode: "0644"}}
  - users: [{{name: app, system: true}}]
  - services: {{enable: [nginx]}}
  - script: {{path: scripts/tidy.sh, env: {{NUMBER: "{number}"}}, timeout: 10m}}
test:
  - provision: {{}}
publish:
  retain: {{versions: 3}}
  to:
    - directory: {{path: gallery}}
"""
COUNTS = (250, 500, 1000)


def project(root: Path, count: int) -> None:
    """`count` specs, each with a published version of the same digest: nothing to do."""
    (root / "images/files").mkdir(parents=True)
    (root / "images/scripts").mkdir()
    (root / "build.yaml").write_text("specs: [images/*.yaml]\n")
    (root / "images/files/tokens.conf").write_text("server_tokens off;\n")
    (root / "images/scripts/tidy.sh").write_text("#!/bin/sh\necho tidy\n")
    for number in range(count):
        (root / f"images/web-{number:04}.yaml").write_text(SPEC.format(number=number))
    publish_all(root)


def publish_all(root: Path) -> None:
    """The manifests that an apply would have left, without the disks: plan reads manifests only."""
    from builder.apply.manifests import recorded_step
    from builder.cli.planning import PlanRequest, make_plan
    from builder.model.artifact import Inventory, Manifest, Package

    packages = tuple(Package(f"package-{number}", "1.0-1", "amd64", "deb") for number in range(240))
    for item in make_plan(PlanRequest(specs=(root,))).plan.images:
        steps = [planned.step for planned in item.steps if planned.step.identity]
        manifest = Manifest(
            image=item.image,
            version="1.0.0",
            digest=item.digest,
            created="2026-01-01T00:00:00+00:00",
            tool="build",
            run="benchmark",
            generalized=True,
            kind="osImage",
            architecture="x64",
            generation=2,
            source={},
            steps=tuple(recorded_step(step) for step in steps),
            disks=(),
            recorded_inventory=Inventory(packages=packages).as_dict(),
        )
        folder = root / "gallery" / item.image / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest.as_dict(), indent=2))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    table = Table()
    env = {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        for count in COUNTS:
            project(Path(name) / str(count), count)
        for _ in range(options.runs):
            table.add("build --version", timed([*BUILD, "--version"], env=env))
            table.add("build --help", timed([*BUILD, "--help"], env=env))
            for count in COUNTS:
                folder = Path(name) / str(count)
                table.add(f"validate {count} specs", timed([*BUILD, "validate"], cwd=folder, env=env))
                table.add(f"plan {count} unchanged specs", timed([*BUILD, "plan"], cwd=folder, env=env))
    table.show("validate 1000 specs")


if __name__ == "__main__":
    main()
