"""Inventories of handmade trees, the three formats of RPM databases, and the bill of materials."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.disk.tree import GuestTree
from builder.errors import BuildError
from builder.guest import rpmdb
from builder.guest.inventory import read_inventory
from builder.guest.sbom import sbom_json
from builder.model.artifact import Inventory, InventoryFile, Package, User
from tests.planted import plant, write

DPKG = """\
Package: nginx
Status: install ok installed
Architecture: amd64
Version: 1.22.1-9+deb12u1
Description: web server
 Status: deinstall ok nonsense

Package: telnet
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: hold ok installed
Architecture: all
Version: 2024a-0
"""
APK = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl.so\n\nP:busybox\nV:1.36.1-r5\nA:x86_64\n\n"


def header(name: str, version: str, release: str, architecture: str = "", epoch: int | None = None) -> bytes:
    """An RPM header blob: counts, index entries, data."""
    strings = [(rpmdb.NAME, name), (rpmdb.VERSION, version), (rpmdb.RELEASE, release)]
    strings += [(rpmdb.ARCHITECTURE, architecture)] if architecture else []
    index, data = b"", b""
    if epoch is not None:
        index += struct.pack(">IIII", rpmdb.EPOCH, rpmdb.INT32, 0, 1)
        data += struct.pack(">I", epoch)
    for tag, value in strings:
        index += struct.pack(">IIII", tag, rpmdb.STRING, len(data), 1)
        data += value.encode() + b"\0"
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


HEADERS = [
    header("bash", "5.2.26", "3.el9", "x86_64"),
    header("kernel", "5.14.0", "1.el9", "x86_64", epoch=0),
    header("openssl", "3.0.7", "27.el9", "x86_64", epoch=1),
    header("gpg-pubkey", "fd431d51", "4ae0493b"),
]
PACKAGES = [
    Package("bash", "5.2.26-3.el9", "x86_64", "rpm"),
    Package("kernel", "5.14.0-1.el9", "x86_64", "rpm"),
    Package("openssl", "1:3.0.7-27.el9", "x86_64", "rpm"),
]


def sqlite_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", list(enumerate(HEADERS, 1)))
    connection.close()


def ndb_database() -> bytes:
    """One page of slots (the first two are the header), then blobs at multiples of 16."""
    slots, blobs = b"", b""
    for index, blob in enumerate(HEADERS, 1):
        block = (4096 + len(blobs)) // 16
        content = struct.pack("<4sIII", b"BlbS", index, 1, len(blob)) + blob + b"tail of 12 b"
        content += b"\0" * (-len(content) % 16)
        slots += struct.pack("<4sIII", b"Slot", index, block, len(content) // 16)
        blobs += content
    page = struct.pack("<4sIIIIIII", b"RpmP", 0, 1, 1, len(HEADERS) + 1, 0, 0, 0) + slots
    page += struct.pack("<4sIII", b"Slot", 0, 0, 0) * ((4096 - len(page)) // 16)
    return page + blobs


def bdb_database(order: str = "<") -> bytes:
    """Pages: metadata, a hash page with the counter, an inline value and long ones, then overflow pages."""
    size = 512
    inline, long = HEADERS[0], [item + b"\0" * 600 for item in HEADERS[1:]]
    values = [b"\x01" + struct.pack("<I", 4), b"\x01" + inline]
    overflow: list[bytes] = []
    for blob in long:
        first = 2 + len(overflow)
        parts = [blob[at : at + size - 26] for at in range(0, len(blob), size - 26)]
        for number, part in enumerate(parts):
            following = first + number + 1 if number + 1 < len(parts) else 0
            page = struct.pack(f"{order}8xIIIHHBB", 0, 0, following, 1, len(part), 0, 7) + part
            overflow.append(page.ljust(size, b"\0"))
        values.append(struct.pack(f"{order}B3xII", 3, first, len(blob)))
    items = [item for number, value in enumerate(values) for item in (b"\x01" + struct.pack("<I", number), value)]
    positions, body, end = [], b"", size
    for item in items:
        end -= len(item)
        positions.append(end)
        body = item + body
    page = struct.pack(f"{order}8xIIIHHBB", 1, 0, 0, len(items), end, 0, 13)
    page += struct.pack(f"{order}{len(items)}H", *positions)
    page = page.ljust(end, b"\0") + body
    pages = 1 + len(overflow)
    meta = struct.pack(f"{order}12xIIIBBBBII", rpmdb.BDB_HASH_MAGIC, 9, size, 0, 8, 0, 0, 0, pages).ljust(size, b"\0")
    return meta + page + b"".join(overflow)


def test_the_three_formats_tell_the_same(tmp_path: Path) -> None:
    sqlite_database(tmp_path / "db")
    assert rpmdb.packages_of_headers(rpmdb.sqlite_headers(tmp_path / "db")) == PACKAGES
    assert rpmdb.packages_of_headers(rpmdb.ndb_headers(ndb_database())) == PACKAGES
    for order in "<>":
        assert rpmdb.packages_of_headers(rpmdb.bdb_headers(bdb_database(order))) == PACKAGES


@given(st.integers(0, 6000), st.integers(0, 6000), st.binary(max_size=8))
def test_a_damaged_database_is_an_error_and_nothing_worse(cut: int, at: int, noise: bytes) -> None:
    for whole, read in ((ndb_database(), rpmdb.ndb_headers), (bdb_database(), rpmdb.bdb_headers)):
        damaged = (whole[:at] + noise + whole[at + len(noise) :])[: max(1, len(whole) - cut)]
        try:
            rpmdb.packages_of_headers(read(damaged))
        except BuildError as error:
            assert error.code == "package-database"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database" * 100)
    with pytest.raises(BuildError, match="RPM database can't be read"):
        list(rpmdb.sqlite_headers(tmp_path / "db"))


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db", "Packages"])
def test_rpm_databases_are_found(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "usr/lib/sysimage/rpm"
    folder.mkdir(parents=True)
    if name == "rpmdb.sqlite":
        sqlite_database(folder / name)
    else:
        (folder / name).write_bytes(ndb_database() if name == "Packages.db" else bdb_database())
    assert sorted(item.name for item in read_inventory(GuestTree(tmp_path)).packages) == ["bash", "kernel", "openssl"]


def test_an_inventory(tmp_path: Path) -> None:
    plant(tmp_path, [])
    write(
        tmp_path,
        {
            "/var/lib/dpkg/status": DPKG,
            "/usr/lib/modules/6.1.0-28-cloud-amd64/kernel/x": "",
            "/usr/lib/modules/6.1.0-27-cloud-amd64/modules.dep": "",
            "/etc/systemd/system/nginx.service": "[Unit]\n",
            "/etc/motd": "hi\n",
        },
    )
    (tmp_path / "lib").symlink_to("usr/lib")
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "nginx.service").symlink_to("/lib/systemd/system/nginx.service")
    (wants / "masked.service").symlink_to("/lib/systemd/system/masked.service")
    (wants.parent / "masked.service").symlink_to("/dev/null")
    (wants / "empty.timer").symlink_to("/lib/systemd/system/empty.timer")
    (wants.parent / "empty.timer").touch()
    (tmp_path / "etc/link").symlink_to("/etc/motd")
    inventory = read_inventory(GuestTree(tmp_path), ["/etc/motd", "/etc/gone", "/etc/link"])
    assert inventory.packages == (
        Package("nginx", "1.22.1-9+deb12u1", "amd64", "deb"), Package("tzdata", "2024a-0", "all", "deb"),
    )  # fmt: skip
    assert inventory.kernel == ("6.1.0-28-cloud-amd64",)
    assert inventory.services == ("nginx.service",)
    assert inventory.os["ID"] == "debian"
    assert inventory.users[0] == User("root", 0, 0, "/root", "/bin/sh")
    assert [user.uid for user in inventory.users] == [0, 1, 105, 1000, 1001, 65534]
    sha256 = "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"
    assert inventory.files == (
        InventoryFile("/etc/link", sha256, "0644", "root:root"),
        InventoryFile("/etc/motd", sha256, "0644", "root:root"),
    )
    assert Inventory.from_dict(json.loads(json.dumps(inventory.as_dict()))) == inventory


def test_alpine(tmp_path: Path) -> None:
    write(tmp_path, {"/lib/apk/db/installed": APK, "/etc/passwd": ""})
    (tmp_path / "etc/runlevels/default").mkdir(parents=True)
    (tmp_path / "etc/runlevels/default/sshd").symlink_to("/etc/init.d/sshd")
    inventory = read_inventory(GuestTree(tmp_path))
    assert inventory.packages == (
        Package("busybox", "1.36.1-r5", "x86_64", "apk"), Package("musl", "1.2.4-r2", "x86_64", "apk"),
    )  # fmt: skip
    assert inventory.services == ("sshd",)


INVENTORY = Inventory(
    os={"ID": "debian", "VERSION_ID": "12"},
    packages=(*PACKAGES, Package("libc6", "2.36-9+deb12u9", "amd64", "deb"), Package("libc6", "2.36-9", "i386", "deb")),
    files=(InventoryFile("/etc/motd", "a" * 64, "0644", "root:root"),),
)


def test_a_bill_of_materials_is_valid_and_the_same_each_time() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = sbom_json(INVENTORY, name="web", version="1.0.0", timestamp="2026-01-01T00:00:00Z")
    assert text == sbom_json(INVENTORY, name="web", version="1.0.0", timestamp="2026-01-01T00:00:00Z")
    data = json.loads(text)
    assert (data["bomFormat"], data["specVersion"]) == ("CycloneDX", "1.6")
    assert data["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    references = [item["bom-ref"] for item in data["components"]]
    assert len(set(references)) == len(references) == 6
    purls = {item["purl"] for item in data["components"] if "purl" in item}
    assert "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12" in purls
    assert "pkg:rpm/debian/openssl@3.0.7-27.el9?arch=x86_64&distro=debian-12&epoch=1" in purls
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_serial_number_follows_the_content() -> None:
    def serial(inventory: Inventory, version: str, timestamp: str = "2026-01-01T00:00:00Z") -> str:
        return str(json.loads(sbom_json(inventory, name="web", version=version, timestamp=timestamp))["serialNumber"])

    first = serial(INVENTORY, "1.0.0")
    assert first == serial(INVENTORY, "1.0.0", "2027-01-01T00:00:00Z")
    assert first != serial(INVENTORY, "1.0.1")
    assert first != serial(Inventory(os=INVENTORY.os), "1.0.0")
