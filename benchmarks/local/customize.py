"""Whole customization: build, a hand-written chroot script, and virt-customize + virt-sysprep + qemu-img, in turn.

The same base disk and the same work: nginx and jq, three files, a script, generalize, a fixed VHD.
Usage: sudo .venv/bin/python benchmarks/local/customize.py [--runs 3] [--peer-runs 3]
Needs, for the peers: apt-get install libguestfs-tools linux-image-amd64
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from common import BUILD, ROOT, Table, base_disk, timed

HERE = Path(__file__).resolve().parent
SPEC = """\
name: bench
os: {{family: linux, distribution: debian, release: "12"}}
source:
  file: {{path: base.qcow2}}
machine:
  local: {{package_sources: host}}
prepare:
  - packages: {{install: [nginx, jq]}}
  - files:
      - {{path: /etc/nginx/conf.d/tokens.conf, content: "server_tokens off;\\n"}}
      - {{path: /var/www/html/index.html, content: "<h1>bench</h1>\\n"}}
      - {{path: /etc/motd, content: "bench\\n"}}
  - script: {{path: harden.sh}}
publish:
  to:
    - directory: {{path: gallery}}
"""
SCRIPT = "#!/bin/sh\nset -eu\nprintf 'net.ipv4.conf.all.rp_filter = 1\\n' > /etc/sysctl.d/60-bench.conf\nnginx -t\n"


def project(folder: Path, base: Path) -> Path:
    """A fresh project with nothing built yet."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "build.yaml").write_text("specs: [bench.yaml]\n")
    (folder / "bench.yaml").write_text(SPEC.format())
    (folder / "harden.sh").write_text(SCRIPT)
    (folder / "base.qcow2").hardlink_to(base)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / ".build" / "benchmarks")
    options = parser.parse_args()
    base = base_disk(options.work)
    apply = [*BUILD, "apply", "--yes", "--progress", "none", "bench.yaml"]
    table = Table()
    env = {"PYTHONPATH": str(ROOT)}
    for number in range(options.runs):
        folder = project(options.work / "project", base)
        table.add("build, everything", timed(apply, cwd=folder, env=env))
        table.add("build, nothing changed", timed(apply, cwd=folder, env=env))
        (folder / "harden.sh").write_text(SCRIPT + f"echo {number}\n")
        table.add("build, last script changed", timed(apply, cwd=folder, env=env))
        table.add("chroot script", timed(["sh", str(HERE / "chroot.sh"), str(base), str(options.work / "chroot")]))
        if number < options.peer_runs:
            table.add(
                "virt-customize + virt-sysprep + qemu-img",
                timed(["sh", str(HERE / "virt.sh"), str(base), str(options.work / "virt")]),
            )
    table.show("build, everything")


if __name__ == "__main__":
    main()
