"""Uploads of mostly empty fixed VHDs to Azurite: build, azcopy, azure-cli, the SDK's own upload_blob, in turn.

Each upload is a whole process, into an Azurite that was just started. What build and azcopy stored is compared with the
file once. The slow ways run only `--slow-runs` times.

    tests/azure/install
    npm install --prefix .tools/azcopy @azure-tools/azcopy-linux    # needs Debian's libsecret-1-0
    .venv/bin/python -m benchmarks.upload.upload --runs 5 --slow-runs 1
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from azure.core.credentials import AzureNamedKeyCredential

from benchmarks.local.common import ROOT, Table, timed
from builder.azure.blobs import PageBlob
from builder.disk import vhd
from builder.disk.contents import data_ranges
from tests.azure.blobs import ACCOUNT, KEY, Blobs

GIB = 1 << 30
DATA = 600_000_000
TOOLS = Path(os.environ.get("AZURE_TEST_TOOLS") or ROOT / ".tools")
AZCOPY = TOOLS / "azcopy/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64"
CONTAINER = "disks"
TICKS = os.sysconf("SC_CLK_TCK")

Command = tuple[Sequence[str], Mapping[str, str]]


def main() -> None:
    """Measure, and print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slow-runs", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 30], help="GiB")
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parser.parse_args()
    if AZCOPY.exists():
        AZCOPY.chmod(0o755)  # npm's package has it without
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        for gib in given.sizes:
            disk = make_disk(folder / f"disk-{gib}.vhd", gib * GIB)
            table = Table()
            service: dict[str, list[float]] = {way: [] for way in given.only}
            for run in range(given.runs):
                for way in given.only:
                    if way in QUICK or run < given.slow_runs:
                        service[way].append(measure(table, way, disk, folder, check=run == 0))
            print(f"\n{gib} GiB, {DATA // 1_000_000} MB of data\n")
            table.show("build")
            spent = ", ".join(f"{way} {statistics.median(seconds):.1f}" for way, seconds in service.items())
            print(f"\nAzurite's own CPU seconds, median: {spent}", flush=True)
            disk.unlink()


def measure(table: Table, way: str, disk: Path, folder: Path, *, check: bool) -> float:
    """One upload by `way` into an Azurite of its own. Returns the CPU seconds that Azurite needed for it."""
    with (
        tempfile.TemporaryDirectory(prefix="azurite-", dir=folder) as home,
        Blobs.start(TOOLS / "node", Path(home)) as blobs,
    ):
        blobs.request("PUT", CONTAINER, {"restype": "container"})
        path = f"{CONTAINER}/disk.vhd"
        command, env = WAYS[way](blobs, path, disk)
        quiet = {"AZCOPY_LOG_LOCATION": home, "AZCOPY_JOB_PLAN_LOCATION": home, "AZURE_CONFIG_DIR": home}
        before = cpu_seconds(blobs.process)
        table.add(way, timed(command, cwd=ROOT, env={**quiet, **env}))
        spent = cpu_seconds(blobs.process) - before
        if check and way in QUICK:
            compare(PageBlob(f"{blobs.endpoint}/{path}", credential=AzureNamedKeyCredential(ACCOUNT, KEY)), disk)
        return spent


def cpu_seconds(process: int) -> float:
    """The processor time of a process that runs, of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def by_build(blobs: Blobs, path: str, disk: Path) -> Command:
    """Build's upload."""
    return [sys.executable, "-m", "benchmarks.upload.ours", f"{blobs.endpoint}/{path}", str(disk)], {}


def by_azcopy(blobs: Blobs, path: str, disk: Path) -> Command:
    """With a signature: azcopy takes no account keys. It can't tell an emulator from a web server by itself."""
    options = ["--blob-type", "PageBlob", "--from-to", "LocalBlob", "--output-level", "essential"]
    return [str(AZCOPY), "copy", str(disk), blobs.sas(path, "rcw"), *options], {}


def by_cli(blobs: Blobs, path: str, disk: Path) -> Command:
    """The azure-cli command that its documentation shows."""
    connection = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={blobs.endpoint};"
    az = [str(TOOLS / "azure-cli/bin/python"), "-m", "azure.cli", "storage", "blob", "upload", "--type", "page"]
    words = ["--container-name", CONTAINER, "--name", "disk.vhd", "--file", str(disk), "--no-progress"]
    return [*az, *words], {"AZURE_STORAGE_CONNECTION_STRING": connection, "AZURE_CORE_COLLECT_TELEMETRY": "no"}


def by_sdk(threads: int) -> Callable[[Blobs, str, Path], Command]:
    """`upload_blob` with so many calls side by side."""
    return lambda blobs, path, disk: (
        [sys.executable, "-m", "benchmarks.upload.sdk", f"{blobs.endpoint}/{path}", str(disk), str(threads)],
        {},
    )


WAYS: dict[str, Callable[[Blobs, str, Path], Command]] = {
    "build": by_build,
    "azcopy": by_azcopy,
    "azure-cli": by_cli,
    "upload_blob": by_sdk(1),
    "upload_blob, 8 side by side": by_sdk(8),
}
QUICK = ("build", "azcopy")


def make_disk(target: Path, size: int) -> Path:
    """A fixed VHD with an ext4 file system of random files, of sizes as a system's are."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="files-", dir=target.parent) as name:
        left, number = DATA, 0
        while left > 0:
            length = min(left, int(chance.lognormvariate(9.5, 2)) + 1, 40_000_000)
            place = Path(name) / str(number % 97)
            place.mkdir(exist_ok=True)
            (place / str(number)).write_bytes(chance.randbytes(length))
            left, number = left - length, number + 1
        with target.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", name, str(target)], check=True, stdin=subprocess.DEVNULL)
    with target.open("r+b") as file:
        file.seek(size)
        file.write(vhd.make_footer(size, content_digest="sha256:benchmark"))
        file.flush()
        os.fsync(file.fileno())
        stored = sum(end - start for start, end in data_ranges(file.fileno(), 0, size))
    print(f"{target.name}: {number} files, {stored / 1e6:.0f} MB stored", file=sys.stderr)
    return target


def compare(blob: PageBlob, disk: Path) -> None:
    """End the benchmark unless the blob holds the file: all its data, and nothing where it has holes."""
    descriptor = os.open(disk, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    for start, end in data_ranges(descriptor, 0, size):
        for at in range(start, end, 4 << 20):
            length = min(4 << 20, end - at)
            if blob.read(at, length) != os.pread(descriptor, length, at):
                sys.exit(f"what was stored differs from {disk.name} after byte {at}")
    os.close(descriptor)
    facts = blob.facts()
    if facts is None or facts.size != size:
        sys.exit(f"the blob isn't of the size of {disk.name}")


if __name__ == "__main__":
    main()
