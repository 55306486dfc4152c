from __future__ import annotations

import pytest

from builder.disk.system import parse_os_release


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ('ID=debian\nVERSION_ID="12"\n', {"ID": "debian", "VERSION_ID": "12"}),
        ("NAME='It is'\n# ID=no\n\nbroken\n", {"NAME": "It is"}),
        ('NAME="a \\"quoted\\" name"', {"NAME": 'a "quoted" name'}),
        ('NAME="open', {"NAME": '"open'}),
        (b'NAME="caf\xe9"\nID=x\n'.decode("utf-8", "surrogateescape"), {"NAME": "caf\ufffd", "ID": "x"}),
    ],
)
def test_os_release(text: str, found: dict[str, str]) -> None:
    assert parse_os_release(text) == found
