"""Capture of a 30 GiB disk with 1 GiB of data, in turn with qemu-img convert, both with and without storing the result.

Ours hashes what it writes; both leave it in the host's memory (a build stores it before it gives it a name), and both
are timed with a sync as well.
Usage: .venv/bin/python benchmarks/local/capture.py [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, Table, timed

GIB = 1024**3
PIECES = 64
OURS = """
import sys
from pathlib import Path
from builder.disk.capture import write_fixed_vhd
write_fixed_vhd(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def make_layer(folder: Path) -> Path:
    """A qcow2 of 30 GiB with 64 pieces of 16 MiB of random data."""
    raw, layer = folder / "disk.raw", folder / "disk.qcow2"
    with raw.open("wb") as file:
        file.truncate(30 * GIB)
        for number in range(PIECES):
            file.seek(number * (30 * GIB // PIECES))
            file.write(os.urandom(GIB // PIECES))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(layer)], check=True)
    raw.unlink()
    return layer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder = Path(name)
        layer = make_layer(folder)
        convert = f"qemu-img convert -f qcow2 -O vpc -o subformat=fixed,force_size=on {layer} {folder}/theirs.vhd"
        ours = [sys.executable, "-c", OURS, str(layer), str(folder / "ours.vhd")]
        commands = {
            "capture": ours,
            "capture, then sync": ["sh", "-c", f"{shlex.join(ours)} && sync {folder}/ours.vhd"],
            "qemu-img convert, then sync": ["sh", "-c", f"{convert} && sync {folder}/theirs.vhd"],
            "qemu-img convert": ["sh", "-c", convert],
        }
        for _ in range(options.runs):
            for what, command in commands.items():
                table.add(what, timed(command, env={"PYTHONPATH": str(ROOT)}))
                for made in folder.glob("*.vhd"):
                    made.unlink()
    table.show("qemu-img convert")


if __name__ == "__main__":
    main()
