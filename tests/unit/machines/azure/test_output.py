"""What a script printed, from the last 4 KiB at each look."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.machines.azure.output import SHOWN_BYTES, Output, ending, unpacked, whole_lines, window


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


SECRET = "".join(f"{number:04}" for number in range(101))


@example(7788, 0, [65, 7787])
@given(st.integers(1, 9000), st.integers(0, 9000), st.lists(st.integers(0, 20_000), max_size=4))
def test_no_line_is_told_in_part_where_output_is_left_out(start: int, left: int, looks: list[int]) -> None:
    lines = [f"{number * 7919 % 10007} {SECRET}" for number in range(40)]
    text = "\n".join([*lines, ""]).encode()
    output, told = Output(), []
    for length in sorted(length for length in looks if length < start):
        told.append(output.look(view(text[:length])))
    told.append(output.add(text[output.known : max(start, output.known)]))
    end = ending(ended(text))
    assert end is not None
    output.skip(max(0, min(left, end.begins - output.known)))
    missing = output.missing(end)
    if missing is not None:
        told.append(output.add(text[missing[0] : missing[1]]))
    told.append(output.finish(end))
    found = "\n".join(part for part in told if part).split("\n")
    assert set(found) <= {*lines, ""}
    assert found[-1] in (lines[-1], "")


@given(st.integers(0, 60), st.integers(4096, 9000))
def test_looks_that_have_nothing_in_common_are_a_gap(same: int, later: int) -> None:
    """Even when the one happens to begin as the other ended: the lines between them would be torn apart."""
    text = b"".join(f"{number:05}.".encode() for number in range(3000))
    output = Output()
    output.look(view(text[:3000] + b"\n" * same))
    assert output.look(view(b"\n" * same + text[later : later + 4096 - same])) == ""
    assert output.known == 3000 + same


def test_a_script_without_an_ending_shows_no_torn_line() -> None:
    output = Output()
    output.look("Continue? [y/n] ")
    assert output.cut_short() == "Continue? [y/n] "
    output = Output()
    output.look(f"begins {SECRET[:200]}")
    output.look(view(f"{SECRET}\n".encode() * 30))
    assert output.cut_short() == ""
    torn = view(b"a\n" + f"{SECRET}\n".encode() * 30)
    assert set(whole_lines(torn).splitlines()) == {SECRET}
    assert whole_lines("short\n") == "short\n"
