"""What an error shows of what a program said."""

import pytest

from builder.cli.app import report
from builder.errors import BuildError
from builder.report.details import FIRST_LINES, LAST_LINES, LONGEST_LINE, detail_lines


def test_nothing_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    pwn = "\033]0;pwn\007\033[2J"
    report(BuildError(f"it {pwn}", code="step-failed", hint=f"try {pwn}", detail=f"a\tb\n{pwn}é\u202e\nlast"))
    shown = r"\x1b]0;pwn\x07\x1b[2J"
    assert capsys.readouterr().err.split("\n") == [
        f"error[step-failed]: it {shown}",
        f"  hint: try {shown}",
        "  | a\tb",
        rf"  | {shown}\xe9\u202e".replace(r"\xe9", "é"),
        "  | last",
        "",
    ]


def test_a_long_detail_shows_its_beginning_and_its_end() -> None:
    count = FIRST_LINES + LAST_LINES + 7
    lines = detail_lines("\n".join(map(str, range(count))))
    assert lines[FIRST_LINES] == "(7 lines left out here)"
    assert (lines[0], lines[-1], len(lines)) == ("0", str(count - 1), FIRST_LINES + LAST_LINES + 1)
    assert detail_lines("x\n" * (FIRST_LINES + LAST_LINES + 1)) == ["x"] * (FIRST_LINES + LAST_LINES + 1)


def test_a_long_line_is_cut() -> None:
    assert detail_lines("x" * (LONGEST_LINE + 3)) == ["x" * LONGEST_LINE + "... (3 characters more)"]
