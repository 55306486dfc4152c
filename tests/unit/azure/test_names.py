from __future__ import annotations

import pytest

from builder.azure.names import check_name, name_problem
from builder.errors import BuildError

VERSION = "Microsoft.Compute/galleries/images/versions"
GALLERY = "Microsoft.Compute/galleries"
DEFINITION = "Microsoft.Compute/galleries/images"
GROUP = "Microsoft.Resources/resourceGroups"
ALLOWED = (
    (GROUP, "rg-images_(a).b"), (GROUP, "x" * 90), (GALLERY, "corp_images.1"), (DEFINITION, "web-12.gen_2"),
    (VERSION, "0.0.0"), (VERSION, "2147483647.1.20260105"), ("Microsoft.Compute/disks", "web_os"),
    ("Microsoft.Storage/storageAccounts", "images01"), ("publisher", "corp-it"), ("unknown kind", "any thing"),
)  # fmt: skip
REFUSED = (
    (GROUP, "ends."), (GROUP, "x" * 91), (GROUP, ""), (GROUP, "a/b"), (GROUP, "naïve"), (GALLERY, "with-dash"),
    (GALLERY, "_a"), (GALLERY, "a_"), (DEFINITION, "ends-"), (DEFINITION, "ends."), (DEFINITION, "x" * 81),
    (VERSION, "1.0"), (VERSION, "1.0.0.0"), (VERSION, "1.0.2147483648"), (VERSION, "1.0.202607161345"),
    (VERSION, "1.0.-1"), (VERSION, "01.0.0"), (VERSION, "1.0.0-rc"), (VERSION, "1.0.٣"), ("publisher", "dot."),
    ("sku", "x" * 65), ("Microsoft.Storage/storageAccounts", "Images"), ("Microsoft.Compute/disks", "-d"),
    ("Microsoft.Compute/disks", "d\n"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), ALLOWED)
def test_allowed(kind: str, name: str) -> None:
    assert name_problem(kind, name) is None
    assert check_name(kind, name) == name


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_refused(kind: str, name: str) -> None:
    with pytest.raises(BuildError, match="at most") as caught:
        check_name(kind, name)
    assert caught.value.code == "azure-name"
