"""What the capture step says of a disk that is not generalized."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.disk.tree import GuestTree
from builder.errors import BuildError, Place
from builder.machines.local.capture import _verify
from builder.model.spec import KeyPath
from tests.planted import KEY, plant, write
from tests.unit.guest.images import make_image

NAME, GENERALIZE = Place("images/web.yaml", 2, 7), Place("images/web.yaml", 9, 1)


@pytest.mark.parametrize(
    ("places", "where"),
    [({("name",): NAME}, NAME), ({("name",): NAME, ("generalize",): GENERALIZE}, GENERALIZE)],
    ids=["left to the default", "written"],
)
def test_what_survived_is_listed_at_the_spec_s_line(tmp_path: Path, places: dict[KeyPath, Place], where: Place) -> None:
    root = tmp_path / "root"
    root.mkdir()
    plant(root, [])
    write(root, {"/root/.bash_history": "mysql -psecret\n", "/etc/nginx/tls.key": KEY})
    write(root, {"/etc/machine-id": "uninitialized\n"})
    (root / "etc/machine-id").chmod(0o444)
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write("evil::0:0::/root:/bin/sh\n")
    with pytest.raises(BuildError) as caught:
        _verify(GuestTree(root), make_image(tmp_path, places=places))
    assert caught.value.code == "not-generalized"
    assert caught.value.where == where
    assert (caught.value.detail or "").splitlines() == [
        "/etc/nginx/tls.key: holds a private key, which all VMs would share (checked always)",
        "/etc/passwd: gives evil UID 0, all rights of root (checked always)",
        "/etc/passwd: lets evil log in without a password (checked always)",
        "/root/.bash_history: is still there (operation shell-history)",
    ]
