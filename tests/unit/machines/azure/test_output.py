"""What a script printed, from the last 4 KiB at each look."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.machines.azure.output import SHOWN_BYTES, Output, ending, unpacked, window


def view(text: bytes) -> str:
    return text[-SHOWN_BYTES:].decode(errors="ignore")


def ended(output: bytes, exit_code: int = 0) -> str:
    """What is shown at the end, as templates/guest.sh writes it."""
    end = base64.b64encode(output[-2700:]).decode()
    return view(output + f"\nbuild: ended {exit_code} no {len(output)} {end}\n".encode())


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\x85")), max_size=200
)


@given(LINES, st.lists(st.integers(0, 20_000), max_size=8))
def test_every_line_is_told_once_and_in_order(lines: list[str], looks: list[int]) -> None:
    text = "".join(f"{number} {line}\n" for number, line in enumerate(lines)).encode()
    output, told = Output(), []
    for length in sorted(looks):
        told.append(output.look(view(text[:length])))
    end = ending(ended(text))
    assert end is not None
    missing = output.missing(end)
    if missing is not None:
        told.append(output.add(text[missing[0] : missing[1]]))
    told.append(output.finish(end))
    assert "\n".join(part for part in told if part).split("\n") == text.decode().rstrip("\n").split("\n")


def test_an_ending_is_the_last_line_and_nothing_else() -> None:
    assert ending("build: ended 0 no 3 !!!\n") is None
    assert ending("it said build: ended 0 no 0 \n") is None
    found = ending("build: ended 0 no 2 QUI=\nmore\nbuild: ended 7 yes 2 QUI=\n")
    assert found is not None
    assert (found.exit_code, found.late, found.size, found.end, found.begins) == (7, True, 2, b"AB", 0)


def test_packed_output_comes_in_pieces() -> None:
    text = base64.b64encode(gzip.compress(b"lines\n" * 1000)).decode()
    pieces = [window(f"build: window {len(text)} {text[at : at + 20]}\n") for at in range(0, len(text), 20)]
    assert {piece[0] for piece in pieces if piece} == {len(text)}
    assert unpacked("".join(piece[1] for piece in pieces if piece)) == b"lines\n" * 1000
    with pytest.raises(BuildError, match="did not arrive whole"):
        unpacked(text[:-8])
