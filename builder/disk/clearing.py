"""Making parts of a raw disk read as zeros: whole clusters of its layer are let go of, the rest is overwritten."""

from __future__ import annotations

import ctypes
import os

from builder.disk.contents import data_ranges, write_all

_LIBC = ctypes.CDLL(None, use_errno=True)
_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h
_PIECE = 64 * 1024
_ZEROS = bytes(_PIECE)


def clear(descriptor: int, start: int, end: int, *, cluster: int) -> int:
    """Make the bytes between `start` and `end` of an exported disk zeros. Returns how many of them were in no hole.

    `cluster` is the size in bytes of its layer's clusters: nothing smaller can be let go of.
    """
    total = 0
    for first, last in list(data_ranges(descriptor, start, end)):
        inner, outer = -(-first // cluster) * cluster, last // cluster * cluster
        if inner < outer:
            overwrite(descriptor, first, inner)
            _punch(descriptor, inner, outer)
            overwrite(descriptor, outer, last)
        else:
            overwrite(descriptor, first, last)
        total += last - first
    return total


def overwrite(descriptor: int, start: int, end: int) -> None:
    """Write zeros between `start` and `end` of a file where it isn't zero already."""
    for at in range(start, end, _PIECE):
        length = min(_PIECE, end - at)
        zeros = _ZEROS if length == _PIECE else bytes(length)
        if os.pread(descriptor, length, at) != zeros:
            write_all(descriptor, zeros, at)


def _punch(descriptor: int, start: int, end: int) -> None:
    if _LIBC.fallocate(descriptor, _PUNCH_HOLE, ctypes.c_long(start), ctypes.c_long(end - start)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
