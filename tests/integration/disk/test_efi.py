"""The random seed of an EFI system partition: gone with its bytes, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.disk.efi import forget_random_seed
from builder.disk.export import exported
from builder.disk.partitions import TYPE_EFI_SYSTEM, GptPartition, write_gpt
from builder.disk.volumes import find_volumes
from builder.errors import BuildError
from tests.integration.disk.conftest import MIB, as_layer

SEED = b"random-seed-marker-0123456789abc"


def esp(folder: Path, *options: str, files: dict[str, bytes]) -> Path:
    raw = folder / "disk.raw"
    part = GptPartition(1, MIB, 100 * MIB, TYPE_EFI_SYSTEM)
    write_gpt(raw, 128 * MIB, [part])
    image = f"{raw}@@{part.start}"
    sectors = str(part.size // 512)
    subprocess.run(["mformat", "-i", image, "-T", sectors, *options, "::"], check=True)
    for name, content in files.items():
        (folder / "one").write_bytes(content)
        if "/" in name:
            subprocess.run(["mmd", "-D", "s", "-i", image, f"::/{name.rpartition('/')[0]}"], check=False)
        subprocess.run(["mcopy", "-i", image, folder / "one", f"::/{name}"], check=True)
    return raw


@pytest.mark.parametrize("options", [("-F",), ()], ids=["FAT32", "FAT16"])
@pytest.mark.parametrize("length", [32, 9000])
def test_the_seed_goes_with_its_bytes(tmp_path: Path, work: Path, options: tuple[str, ...], length: int) -> None:
    seed = (SEED * (length // 32 + 1))[:length]
    files = {"loader/loader.conf": b"timeout 3\n", "loader/random-seed": seed, "kernel": os.urandom(MIB)}
    disk = as_layer(esp(tmp_path, *options, files=files))
    with exported(disk, folder=work, writable=True) as raw:
        (volume,) = find_volumes(disk, raw)
        assert SEED in raw.read_bytes()
        assert forget_random_seed(volume)
        assert SEED not in raw.read_bytes()
        assert not forget_random_seed(volume)
        image = f"{raw}@@{volume.start}"
        for name in ("loader/loader.conf", "kernel"):
            read = subprocess.run(["mtype", "-i", image, f"::/{name}"], capture_output=True, check=True).stdout
            assert read == files[name]
        subprocess.run(["fsck.fat", "-n", _extract(raw, volume.start, volume.size, work)], check=True)


def _extract(raw: Path, start: int, size: int, folder: Path) -> Path:
    with raw.open("rb") as file, (folder / "part").open("wb") as part:
        file.seek(start)
        part.write(file.read(size))
    return folder / "part"


def test_a_partition_without_one_stays_as_it_is(tmp_path: Path, work: Path) -> None:
    disk = as_layer(esp(tmp_path, "-F", files={"kernel": b"x"}))
    with exported(disk, folder=work, writable=True) as raw:
        (volume,) = find_volumes(disk, raw)
        before = raw.read_bytes()
        assert not forget_random_seed(volume)
        assert raw.read_bytes() == before


def test_what_is_no_fat_is_an_error(tmp_path: Path, work: Path) -> None:
    raw = tmp_path / "disk.raw"
    write_gpt(raw, 64 * MIB, [GptPartition(1, MIB, 32 * MIB, TYPE_EFI_SYSTEM)])
    disk = as_layer(raw)
    with exported(disk, folder=work, writable=True) as shown:
        (volume,) = find_volumes(disk, shown)
        with pytest.raises(BuildError):
            forget_random_seed(volume)
