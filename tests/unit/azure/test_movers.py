from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.azure.blobs import LARGEST_WRITE, PageBlob
from builder.azure.movers import BLOCK, GAP, FromHere, cells, footer, with_data

MIB = 1024 * 1024


class Memory:
    """A disk in memory, of blocks that hold data, which a file may store with more or fewer holes."""

    def __init__(self, size: int, blocks: dict[int, bytes], extents: Iterable[tuple[int, int]]) -> None:
        self.size = size
        self.bytes = bytearray(size)
        for number, data in blocks.items():
            self.bytes[number * BLOCK : number * BLOCK + len(data)] = data
        self._extents = list(extents)

    def extents(self) -> list[tuple[int, int]]:
        return self._extents

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.bytes[offset : offset + length])


def pieces(disk: Memory) -> list[tuple[int, int, bytes]]:
    mover = FromHere(disk, PageBlob("https://account.blob.core.windows.net/disks/a.vhd"))
    whole = [*cells(mover.spans(), 0, disk.size - 512), footer(disk.size)]
    return [(piece.start, piece.length, piece.proof) for cell in whole for piece in mover.pieces(cell)]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], []),
        ([0], [(0, BLOCK)]),
        ([3, 4], [(3 * BLOCK, 5 * BLOCK)]),
        ([0, GAP // BLOCK], [(0, GAP + BLOCK)]),
        ([0, GAP // BLOCK + 1], [(0, BLOCK), (GAP + BLOCK, GAP + 2 * BLOCK)]),
    ],
)
def test_zeros_are_left_out_unless_sending_them_is_cheaper(blocks: list[int], expected: list[tuple[int, int]]) -> None:
    data = bytearray(MIB)
    for block in blocks:
        data[block * BLOCK + 17] = 1

    assert with_data(data) == expected


def test_a_short_last_block_counts() -> None:
    assert with_data(bytes(BLOCK) + b"\0\0\1") == [(BLOCK, BLOCK + 3)]
    assert with_data(bytes(BLOCK + 3)) == []


@given(st.sets(st.integers(0, 3 * LARGEST_WRITE // BLOCK - 1), max_size=12), st.data())
def test_pieces_depend_on_the_content_alone(numbers: set[int], data: st.DataObject) -> None:
    size = 3 * LARGEST_WRITE + 512
    blocks = {number: bytes([number % 255 + 1]) * BLOCK for number in numbers}
    whole = Memory(size, blocks, [(0, size)])
    more = data.draw(st.sets(st.integers(0, 3 * LARGEST_WRITE // BLOCK - 1), max_size=6))
    sparse = Memory(size, blocks, [(at * BLOCK, (at + 1) * BLOCK) for at in sorted(numbers | more)])

    found = pieces(whole)

    assert pieces(sparse) == found
    covered = {at for start, length, _ in found for at in range(start // BLOCK, -(-(start + length) // BLOCK))}
    assert covered >= numbers
    for start, length, _ in found:
        assert length <= LARGEST_WRITE
        assert start // LARGEST_WRITE == (start + length - 1) // LARGEST_WRITE
        assert start % 512 == length % 512 == 0


def test_cells_begin_where_they_are_told_to() -> None:
    spans = [(0, LARGEST_WRITE + BLOCK), (3 * LARGEST_WRITE, 3 * LARGEST_WRITE + BLOCK)]

    found = list(cells(spans, LARGEST_WRITE, 3 * LARGEST_WRITE + 512))

    assert [(cell.start, cell.end, cell.spans) for cell in found] == [
        (LARGEST_WRITE, 2 * LARGEST_WRITE, ((LARGEST_WRITE, LARGEST_WRITE + BLOCK),)),
        (3 * LARGEST_WRITE, 3 * LARGEST_WRITE + 512, ((3 * LARGEST_WRITE, 3 * LARGEST_WRITE + 512),)),
    ]
