"""A tiny Linux (busybox on ext4, on GPT) that builds in about a second, and projects to build it in."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.disk.partitions import GptPartition, write_gpt
from tests.integration.left_overs import Left, left_in

MIB = 1024 * 1024
DISK = 48 * MIB
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def tiny_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with the smallest Linux that steps can work in."""
    folder = tmp_path_factory.mktemp("tiny")
    root = folder / "root"
    folders = "bin sbin dev etc proc root run sys tmp usr/sbin usr/bin usr/lib/systemd var/log var/lib"
    for name in folders.split():
        (root / name).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    # A shell that runs the programs of its PATH, where busybox's runs its own
    (root / "bin/dash").write_bytes(Path("/bin/dash").read_bytes())
    (root / "bin/dash").chmod(0o755)
    needed = subprocess.run(["ldd", "/bin/dash"], capture_output=True, text=True, check=True).stdout
    needed = subprocess.run(["ldd", "/bin/dash"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", needed):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    # What generalize looks for before it writes `uninitialized`, a word of systemd's, into machine-id
    (root / "usr/lib/systemd/systemd").write_text("")
    (root / "etc/os-release").write_text('ID=tiny\nVERSION_ID="1"\nPRETTY_NAME="Tiny 1"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/fstab").write_text("# nothing else to mount\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "var/log/messages").write_text("the log of the machine it came from\n")
    disk = folder / "tiny.raw"
    with disk.open("wb") as file:
        file.truncate(DISK)
    write_gpt(disk, DISK, [GptPartition(1, MIB, DISK - 2 * MIB, name="root")])
    command = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-F",
        "-d",
        str(root),
        "-E",
        f"offset={MIB}",
        str(disk),
        f"{(DISK - 2 * MIB) // 1024}k",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return disk


@dataclass(frozen=True)
class Result:
    """One run of the command line."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Project:
    """A repository of specs with one image on the tiny disk."""

    root: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start(self, *arguments: str, prelude: str = "", env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command line in a process of its own; `prelude` is Python that runs before it."""
        program = f"{prelude}\nimport sys\nsys.argv[0] = 'build'\nfrom builder.cli.main import main\nmain()\n"
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def build(self, *arguments: str, prelude: str = "", env: dict[str, str] | None = None) -> Result:
        process = self.start(*arguments, prelude=prelude, env=env)
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, out, err)

    def apply(self, *arguments: str, **options: object) -> Result:
        return self.build("apply", "--yes", "--progress", "plain", *arguments, **options)  # type: ignore[arg-type]

    def versions(self, image: str = "tiny") -> list[str]:
        folder = self.root / "gallery" / image
        return sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".") if folder.is_dir() else []

    def manifest(self, version: str = "1.0.0", image: str = "tiny") -> dict:  # type: ignore[type-arg]
        return json.loads((self.root / "gallery" / image / version / "manifest.json").read_text())


SPEC = """\
name: tiny
os: {family: linux, distribution: tiny, architecture: x64, generation: 1}
source:
  file: {path: tiny.raw}
prepare:
  - files: [{path: /etc/one.conf, content: "one\\n"}]
  - run: echo first > /etc/first
  - script: {path: scripts/last.sh, env: {LEVEL: strict}}
publish:
  to:
    - directory: {path: gallery}
"""


@pytest.fixture
def project(tmp_path: Path, tiny_disk: Path) -> Iterator[Project]:
    """A fresh project; after the test no mount, loop device or process of it may be left."""
    project = Project(tmp_path / "project")
    project.root.mkdir()
    project.write("build.yaml", "specs: ['*.image.yaml']\n")
    project.write("tiny.image.yaml", SPEC)
    project.write("scripts/last.sh", "#!/bin/sh\nset -eu\necho last > /etc/last\necho done\n")
    os.link(tiny_disk, project.root / "tiny.raw")
    yield project
    assert left_in(project.root) == Left()


RunProject = Callable[[], Project]
