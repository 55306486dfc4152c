"""Where the output can't go anywhere, a line says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("arguments", ["schema image", "--version", "--help"])
@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "error[system-error]: the output can't be written: No space left on device\n"),
        (">&-", "error[system-error]: standard output is closed\n  hint: redirect it: >/dev/null\n"),
    ],
)
def test_output_that_nobody_takes(arguments: str, redirection: str, message: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m builder {arguments} {redirection}', sys.executable],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, message)


def test_a_closed_standard_error_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m builder schema image 2>&-', sys.executable],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
