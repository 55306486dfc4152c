"""Results come through whole, whatever they hold, or not at all."""

from __future__ import annotations

import base64
import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.guest import results
from builder.guest.powershell import template
from builder.guest.results import PACKED, PREFIX, ResultReader
from tests.unit.guest.windows.guest import told


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()), st.sampled_from([0, 2000]))
def test_any_result_comes_through_beside_other_lines(value: dict[str, object], longest: int) -> None:
    log: list[str] = []
    reader = ResultReader(log.append)
    lines = told(value, longest).split("\n")
    reader("before\r\n" + lines[0])
    for line in lines[1:]:
        reader(f"{line} \r\nbetween")
    assert reader.result() == value
    assert log == ["before"] + ["between"] * (len(lines) - 1)


def test_the_script_uses_these_words() -> None:
    words = set(re.findall(r"\$word(?:, \$json)? = '([a-z]+)'", template("result")))
    assert {f"build: {word} " for word in words} == {PREFIX, PACKED}


@pytest.mark.parametrize(
    "text",
    [
        "build: packed AAAA",
        "build: packed é",
        "build: packed " + base64.b64encode(gzip.compress(b"{}", mtime=0))[:-8].decode(),
        "build: packed " + base64.b64encode(gzip.compress(b" " * 2000, mtime=0)).decode(),
        "build: result ",
        "",
    ],
)
def test_a_broken_result_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LARGEST_RESULT", 1000)
    reader = ResultReader(lambda line: None)
    reader(text)
    with pytest.raises(BuildError) as caught:
        reader.result()
    assert caught.value.code == "guest-result"
