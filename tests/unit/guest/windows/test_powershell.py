"""Literals and whole scripts: nothing that a value holds is ever read as PowerShell."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.guest.powershell import BYTE_ORDER_MARK, POWERSHELL, TEMPLATES, author_script, call, literal, script
from tests.unit.guest.windows.parsing import commands, parsed, value_of, walk

LITERALS = [
    ("", "''"),
    ("it's", "'it''s'"),
    ("$(Remove-Item C:\\) `n", "'$(Remove-Item C:\\) `n'"),
    ("\u2019; Stop-Computer #", "('' + [char]0x2019 + '; Stop-Computer #')"),
    ("é", "('' + [char]0x00E9)"),
    ("a\nb", "('' + 'a' + [char]0x000A + 'b')"),
    ("😀", "('' + [char]0xD83D + [char]0xDE00)"),
    (7, "7"),
    (-7, "(-7)"),
    (True, "$true"),
    (False, "$false"),
    (None, "$null"),
    (["a", "b'"], "@('a', 'b''')"),
    ([], "@()"),
]


@pytest.mark.parametrize(("value", "expected"), LITERALS)
def test_literals(value: object, expected: str) -> None:
    assert literal(value) == expected  # type: ignore[arg-type]


@given(st.text())
@example("'; Stop-Computer; '")
@example("\u2018\u2019\u201a\u201b")
@example("\0\r\n\u2028")
def test_any_text_is_one_value_and_no_code(text: str) -> None:
    made = literal(text)
    assert made.isascii() and made.isprintable()
    assert value_of(made) == text
    line = call("Set-Thing", Value=text)
    assert commands(f"{line}\nOther-Thing\n") == ["Set-Thing", "Other-Thing"]
    kinds = {node.type for node in walk(parsed(line))}
    assert not kinds & {"pipeline_chain_tail", "variable", "sub_expression", "script_block_expression"}


@given(st.lists(st.text(), max_size=4))
def test_any_list_is_one_parameter(texts: list[str]) -> None:
    assert commands(call("Set-Thing", Values=texts)) == ["Set-Thing"]


@given(st.text())
def test_a_title_ends_with_its_line(title: str) -> None:
    first, second = script(title, []).text.splitlines()[:2]
    assert first.startswith("# build: ") and second.startswith("$ErrorActionPreference")


def test_what_is_not_given_is_left_out() -> None:
    assert call("Set-Thing", Name="a", Version=None, Quiet=False) == "Set-Thing -Name:'a' -Quiet:$false"


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.ps1")), ids=lambda path: path.stem)
def test_every_file_of_functions_is_powershell_in_ascii(path) -> None:
    text = path.read_text(encoding="utf-8")
    parsed(text)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120


def test_every_script_stops_at_errors_and_speaks_utf8() -> None:
    made = script("x", ["Invoke-It"], templates=("program",))
    parsed(made.text)
    for line in ("$ErrorActionPreference = 'Stop'", "Set-StrictMode -Version Latest", "$ProgressPreference"):
        assert line in made.text
    assert "[Console]::OutputEncoding" in made.text and "exit 1" in made.text
    assert made.interpreter == POWERSHELL
    assert made.text.rstrip().endswith("Invoke-It\nexit 0")


def test_an_authors_script_ends_with_its_last_programs_code() -> None:
    made = author_script("run", "sc.exe query x", env={"A": "b"})
    parsed(made.text)
    assert made.text.endswith("sc.exe query x\nexit $LASTEXITCODE\n")
    assert made.env == {"A": "b"}


@pytest.mark.parametrize(("text", "marked"), [("Write-Output é", True), ("Write-Output e", False)])
def test_text_beyond_ascii_gets_a_byte_order_mark(text: str, marked: bool) -> None:
    assert author_script("run", text, env={}).text.startswith(BYTE_ORDER_MARK) is marked
