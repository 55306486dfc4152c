"""Initramfs archives in every compression that Python unpacks; programs unpack the others in an integration test."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.guest.inspection.initramfs import IMAGES, module_names
from builder.guest.inspection.unpacking import Unreadable

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
}
MODULES = ["usr/lib/modules/6.1/kernel/drivers/hv/hv_vmbus.ko", "lib/modules/6.1/hv-storvsc.ko.zst", "etc/fstab"]


def cpio(files: Sequence[tuple[str, bytes]]) -> bytes:
    """An archive in cpio's newc format."""
    out = b""
    for name, data in [*files, ("TRAILER!!!", b"")]:
        raw = name.encode() + b"\0"
        fields = [0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def named(names: Sequence[str]) -> bytes:
    return cpio([(name, name.encode() * 7) for name in names])


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


MICROCODE = padded(named(["kernel", "kernel/x86/microcode/GenuineIntel.bin"]))


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("before", [b"", MICROCODE, MICROCODE * 2])
@pytest.mark.parametrize("after", [b"", bytes(512)])
def test_every_compression(pack: str, before: bytes, after: bytes) -> None:
    packed = before + PACKERS[pack](named(MODULES)) + after
    assert module_names(io.BytesIO(packed)) == {"hv_vmbus", "hv_storvsc"}


def test_modules_that_stand_before_the_compressed_archive() -> None:
    data = MICROCODE + padded(named(["lib/modules/nvme.ko"])) + gzip.compress(named(MODULES))
    assert module_names(io.BytesIO(data)) == {"nvme", "hv_vmbus", "hv_storvsc"}


@pytest.mark.parametrize("first", PACKERS)
@pytest.mark.parametrize("second", PACKERS)
@pytest.mark.parametrize("pad", [bytes, padded])
def test_archives_one_after_the_other(first: str, second: str, pad: Callable[[bytes], bytes]) -> None:
    """What people append to an initramfs (`cat drivers.cpio.gz >> initrd.img`) the kernel unpacks, too."""
    data = pad(PACKERS[first](named(["a/nvme.ko"]))) + PACKERS[second](named(MODULES))
    assert module_names(io.BytesIO(data)) == {"nvme", "hv_vmbus", "hv_storvsc"}


def test_what_stands_after_the_last_archive_is_passed_by() -> None:
    assert module_names(io.BytesIO(gzip.compress(named(MODULES)) + b"a signature")) == {"hv_vmbus", "hv_storvsc"}


@pytest.mark.parametrize("image", IMAGES)
def test_modules_in_an_image_are_not_told_to_be_missing(image: str) -> None:
    with pytest.raises(Unreadable, match="in an image within it"):
        module_names(io.BytesIO(lzma.compress(named(["lib/modules/6.1/loop.ko", image]))))


def test_endless_zeros() -> None:
    with pytest.raises(Unreadable, match="too many zeros"):
        module_names(io.BytesIO(gzip.compress(named(MODULES) + bytes(100_000_000))))


def test_several_archives_in_a_compressed_one() -> None:
    data = gzip.compress(padded(named(["a/nvme.ko"])) + named(MODULES))
    assert module_names(io.BytesIO(data)) == {"nvme", "hv_vmbus", "hv_storvsc"}


# (a gzip's own time would be in the names of these tests, which have to be the same wherever they are collected)
@pytest.mark.parametrize(
    "data",
    [b"", bytes(4096), b"hello, world", MICROCODE[:200], gzip.compress(b"text", mtime=0),
     gzip.compress(named(MODULES), mtime=0)[:60], lzma.compress(named(MODULES))[:-40], b"070701" + b"z" * 200],
)  # fmt: skip
def test_what_cannot_be_read(data: bytes) -> None:
    with pytest.raises(Unreadable):
        module_names(io.BytesIO(data))


@given(st.binary(max_size=600), st.sampled_from(sorted(PACKERS)))
def test_any_bytes_end_well(data: bytes, pack: str) -> None:
    for content in (data, b"070701" + data, PACKERS[pack](data), PACKERS[pack](b"070701" + data)):
        # What begins as something that programs unpack is not for here
        if content[:1] in (b"\x28", b"\x02", b"\x04", b"\x89"):
            continue
        try:
            assert isinstance(module_names(io.BytesIO(content)), frozenset)
        except Unreadable as error:
            assert error.message


@given(st.lists(st.from_regex(r"[a-z/_-]{1,40}\.ko", fullmatch=True), unique=True), st.sampled_from(sorted(PACKERS)))
def test_all_modules_are_found(names: list[str], pack: str) -> None:
    found = module_names(io.BytesIO(PACKERS[pack](named([*names, "init"]))))
    assert found == {name.rsplit("/", 1)[-1].removesuffix(".ko").replace("-", "_") for name in names}
