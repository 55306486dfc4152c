"""Globs of kept paths, taken apart at their first folder that is not fixed."""

from __future__ import annotations

import pytest

from builder.guest.keep import Keep, glob_of, parse_keep


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/etc/motd", Keep("", "/etc", "motd")),
        ("/top/", Keep("", "", "top")),
        ("/home/*/.ssh/id", Keep("", "/home", "*/.ssh/id")),
        ("/srv/[ab]/x", Keep("", "/srv", "[ab]/x")),
        ("~app/.ssh/authorized_keys", Keep("app", "/.ssh", "authorized_keys")),
        (glob_of("/srv/a[1]*/x?"), Keep("", "/srv/a[1]*", "x[?]")),
    ],
)
def test_parts(pattern: str, expected: Keep) -> None:
    assert parse_keep(pattern) == expected
