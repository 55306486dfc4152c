"""What a running guest tells of itself."""

from __future__ import annotations

import pytest

from builder.errors import BuildError
from builder.guest.live_inventory import inventory_script, parse_inventory
from builder.model.artifact import InventoryFile, Package, User

TOLD = """\
[os]
ID=debian
VERSION_ID="12"
[kernel]
6.1.0-1-cloud-amd64
[deb]
nginx\t1.22.1-9\tamd64
jq\t1.6\tamd64
[rpm]
[apk]
[users]
root:x:0:0:root:/root:/bin/sh
not a user
[services]
nginx.service
nginx.service
[files]
abc\t644\troot:root\t/etc/a file
[end]
"""


def test_it_is_read() -> None:
    found = parse_inventory(TOLD)
    assert found.os == {"ID": "debian", "VERSION_ID": "12"}
    assert found.kernel == ("6.1.0-1-cloud-amd64",)
    assert found.packages == (Package("jq", "1.6", "amd64", "deb"), Package("nginx", "1.22.1-9", "amd64", "deb"))
    assert found.users == (User("root", 0, 0, "/root", "/bin/sh"),)
    assert found.services == ("nginx.service",)
    assert found.files == (InventoryFile("/etc/a file", "abc", "0644", "root:root"),)


def test_without_its_end_it_is_none() -> None:
    with pytest.raises(BuildError, match="did not tell all"):
        parse_inventory(TOLD.removesuffix("[end]\n"))


def test_paths_are_arguments() -> None:
    assert inventory_script(["/etc/a b"]).arguments == ("/etc/a b",)
