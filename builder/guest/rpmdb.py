"""Reads an RPM database's packages offline, without rpm: the three formats that distributions use.

Sources: RPM's own documentation of its header format (docs/manual/format_header.md), its database backends
lib/backend/sqlite.c and lib/backend/ndb/rpmpkg.c, and Berkeley DB's hash page layout (dbinc/db_page.h).
"""

from __future__ import annotations

import mmap
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from builder.errors import BuildError
from builder.model.artifact import Package

NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
INT32, STRING = 4, 6
# What rpm keeps beside packages: keys that signatures are checked with
NOT_A_PACKAGE = "gpg-pubkey"

NDB_PAGE, NDB_BLOCK = 4096, 16
BDB_HASH_MAGIC = 0x061561
BDB_HASH_PAGES = (2, 13)
BDB_OFF_PAGE = 3
BDB_HEADER = 26
# The record under key 0 counts packages
BDB_LONGEST_COUNTER = 16

Database = bytes | mmap.mmap


def packages_of_headers(headers: Iterator[bytes]) -> list[Package]:
    """The packages that these header blobs describe."""
    found = [package(header) for header in headers]
    return [item for item in found if item is not None]


def package(blob: bytes) -> Package | None:
    """One header blob's package; None for one that is no package. Raises BuildError for a broken one."""
    try:
        values = _tags(blob)
    except (struct.error, IndexError, ValueError) as error:
        raise broken("a header is damaged") from error
    if NAME not in values or values[NAME] == NOT_A_PACKAGE:
        return None
    epoch = f"{values[EPOCH]}:" if values.get(EPOCH, "0") != "0" else ""
    version = f"{epoch}{values.get(VERSION, '')}-{values.get(RELEASE, '')}"
    return Package(values[NAME], version, values.get(ARCHITECTURE, "noarch"), "rpm")


def broken(what: str) -> BuildError:
    """The error for a database that can't be read."""
    return BuildError(f"the image's RPM database can't be read: {what}", code="package-database",
                      hint="run `rpm --rebuilddb` in a `run` step")  # fmt: skip


def _tags(blob: bytes) -> dict[int, str]:
    """The values of the tags that we want. All numbers are big-endian; data follow the index entries."""
    entries, _ = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    values = {}
    for number in range(entries):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if tag not in (NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE):
            continue
        at = start + offset
        if kind == STRING:
            values[tag] = blob[at : blob.index(b"\0", at)].decode(errors="replace")
        elif kind == INT32:
            values[tag] = str(struct.unpack_from(">I", blob, at)[0])
    return values


def sqlite_headers(path: Path) -> Iterator[bytes]:
    """The headers of rpmdb.sqlite. SQLite may write to the file and beside it: give a copy."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum"):
                yield bytes(blob)
    except sqlite3.DatabaseError as error:
        raise broken(str(error)) from error


def ndb_headers(database: Database) -> Iterator[bytes]:
    """The headers of Packages.db (ndb): slots of 16 bytes from byte 32 on tell where each blob starts."""
    try:
        magic, _, _, pages = struct.unpack_from("<4sIII", database)
        if magic != b"RpmP":
            raise broken("Packages.db is no ndb database")
        for at in range(32, pages * NDB_PAGE, 16):
            slot, index, block, _ = struct.unpack_from("<4sIII", database, at)
            if slot != b"Slot" or block == 0:
                continue
            blob, blob_index, _, length = struct.unpack_from("<4sIII", database, block * NDB_BLOCK)
            if blob != b"BlbS" or blob_index != index:
                raise broken("a slot of Packages.db points nowhere")
            start = block * NDB_BLOCK + 16
            yield database[start : start + length]
    except struct.error as error:
        raise broken("Packages.db is cut short") from error


def bdb_headers(database: Database) -> Iterator[bytes]:
    """The headers of Packages (a Berkeley DB hash): pages of pairs, the values in chains of overflow pages."""
    try:
        order = "<" if struct.unpack_from("<I", database, 12)[0] == BDB_HASH_MAGIC else ">"
        magic, _, size = struct.unpack_from(f"{order}III", database, 12)
        if magic != BDB_HASH_MAGIC:
            raise broken("Packages is no Berkeley DB hash")
        (last,) = struct.unpack_from(f"{order}I", database, 32)
        for number in range(1, last + 1):
            page = database[number * size : (number + 1) * size]
            if page[25] not in BDB_HASH_PAGES:
                continue
            (entries,) = struct.unpack_from(f"{order}H", page, 20)
            positions = struct.unpack_from(f"{order}{entries}H", page, BDB_HEADER)
            # Keys and values alternate; each stands right below the one before it, the first at the page's end
            for above, position in zip(positions[::2], positions[1::2], strict=True):
                if page[position] == BDB_OFF_PAGE:
                    first, length = struct.unpack_from(f"{order}II", page, position + 4)
                    yield _overflow(database, order, size, first, length)
                elif above - position > BDB_LONGEST_COUNTER:
                    yield page[position + 1 : above]
    except (struct.error, IndexError) as error:
        raise broken("Packages is cut short") from error


def _overflow(database: Database, order: str, size: int, number: int, length: int) -> bytes:
    """The content of a chain of overflow pages."""
    parts: list[bytes] = []
    seen: set[int] = set()
    while number and number not in seen:
        seen.add(number)
        start = number * size
        (following,) = struct.unpack_from(f"{order}I", database, start + 16)
        (used,) = struct.unpack_from(f"{order}H", database, start + 22)
        parts.append(database[start + BDB_HEADER : start + BDB_HEADER + used])
        number = following
    blob = b"".join(parts)
    if len(blob) != length:
        raise broken("a record of Packages is incomplete")
    return blob
