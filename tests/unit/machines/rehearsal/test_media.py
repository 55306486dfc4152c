"""The disc is read back here by the steps of ECMA-167 that a kernel takes, from the anchor to the file's bytes."""

import struct
from binascii import crc_hqx

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.machines.local.rehearsal.media import BLOCK, provisioning_media


def descriptor(disc: bytes, block: int, location: int | None = None) -> tuple[int, bytes]:
    """A descriptor's kind and bytes, with its tag's checksums verified."""
    data = disc[block * BLOCK : (block + 1) * BLOCK]
    kind, version, checksum, _, _, crc, length, place = struct.unpack_from("<HHBBHHHI", data)
    assert version == 2
    assert checksum == sum(data[:4] + data[5:16]) % 256
    assert crc == crc_hqx(data[16 : 16 + length], 0)
    assert place == (block if location is None else location)
    return kind, data


def read_file(disc: bytes, wanted: str) -> bytes:
    marks = [disc[(16 + index) * BLOCK + 1 : (16 + index) * BLOCK + 6] for index in range(3)]
    assert marks == [b"BEA01", b"NSR02", b"TEA01"]
    kind, anchor = descriptor(disc, 256)
    assert kind == 2
    length, start = struct.unpack_from("<II", anchor, 16)
    volumes = dict(descriptor(disc, block) for block in range(start, start + 5))
    assert length == 16 * BLOCK
    assert set(volumes) == {1, 5, 6, 7, 8}
    partition, blocks = struct.unpack_from("<II", volumes[5], 188)
    assert struct.unpack_from("<I", volumes[6], 212)[0] == BLOCK
    assert len(disc) >= (partition + blocks) * BLOCK
    file_set = struct.unpack_from("<I", volumes[6], 252)[0]
    kind, data = descriptor(disc, partition + file_set, file_set)
    assert kind == 256
    root = struct.unpack_from("<I", data, 404)[0]
    kind, data = descriptor(disc, partition + root, root)
    assert kind == 261
    names = data[176 : 176 + struct.unpack_from("<I", data, 172)[0]]
    entries = {}
    while names:
        length, entry = names[19], struct.unpack_from("<I", names, 24)[0]
        entries[names[39 : 38 + length].decode()] = entry
        names = names[(38 + length + 3) // 4 * 4 :]
    entry = entries[wanted]
    kind, data = descriptor(disc, partition + entry, entry)
    assert kind == 261
    size = struct.unpack_from("<Q", data, 56)[0]
    extent, at = struct.unpack_from("<II", data, 176)
    assert extent == size
    return disc[(partition + at) * BLOCK :][:size]


@settings(max_examples=25)
@given(st.binary(max_size=3 * BLOCK + 1))
def test_the_file_is_found_and_whole(content):
    assert read_file(provisioning_media(content), "ovf-env.xml") == content


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_the_second_anchor_is_in_the_last_block(size):
    disc = provisioning_media(b"x" * size)
    last = len(disc) // BLOCK - 1
    assert len(disc) % BLOCK == 0
    assert descriptor(disc, last)[1][16:32] == descriptor(disc, 256)[1][16:32]


def test_same_content_same_bytes():
    assert provisioning_media(b"same") == provisioning_media(b"same")
