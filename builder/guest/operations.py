"""The operations of generalize and how they are chosen. The table itself is in `operations_table`.

`skip` names operations of the default set that are left out, `add` names others that are done too, and `keep` holds
paths (globs, in which `*` also matches `/`; a folder stands for all that is in it) that no operation touches and the
verifier accepts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from builder.errors import BuildError
from builder.guest.operation import Operation
from builder.guest.operations_table import OPERATIONS

# ID and ID_LIKE of os-release to the families that operations name
FAMILIES: Mapping[str, str] = {
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "rhel",
    "fedora": "rhel",
    "centos": "rhel",
    "suse": "suse",
    "sles": "suse",
    "opensuse": "suse",
    "alpine": "alpine",
    "azurelinux": "azurelinux",
    "mariner": "azurelinux",
}


def families(os_release: Mapping[str, str]) -> frozenset[str]:
    """The families of a distribution, by its os-release."""
    names = [os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()]
    return frozenset(FAMILIES[name] for name in names if name in FAMILIES)


def applicable(operations: Iterable[Operation], os_release: Mapping[str, str]) -> tuple[Operation, ...]:
    """Those of the operations that concern this distribution."""
    here = families(os_release)
    return tuple(item for item in operations if not item.families or item.families & here)


def all_operations() -> tuple[Operation, ...]:
    """The whole table, in the order in which operations run."""
    return tuple(sorted(OPERATIONS, key=lambda item: item.order))


def selected(keep: Sequence[str] = (), skip: Sequence[str] = (), add: Sequence[str] = ()) -> tuple[Operation, ...]:
    """The operations of one image, in order.

    Raises BuildError for a name that doesn't exist, for skipping what is off anyway, and for a path to keep that is
    not absolute: each would look like protection and be none.
    """
    by_id = {item.id: item for item in all_operations()}
    for name in (*skip, *add):
        if name not in by_id:
            close = difflib.get_close_matches(name, by_id, 1)
            raise BuildError(
                f"there is no generalize operation {name!r}",
                code="unknown-operation",
                hint=f"did you mean {close[0]!r}?" if close else "`build generalize --list` shows them all",
            )
    for name in skip:
        if not by_id[name].default and name not in add:
            raise BuildError(f"generalize operation {name!r} is off by default: there is nothing to skip",
                             code="operation-off", hint="remove it from `skip`")  # fmt: skip
    for path in keep:
        if not path.startswith("/"):
            raise BuildError(f"{path!r} in generalize.keep is not an absolute path", code="keep-path",
                             hint="`keep` takes paths in the image; names of operations go into `skip`")  # fmt: skip
    return tuple(item for item in by_id.values() if (item.default or item.id in add) and item.id not in skip)
