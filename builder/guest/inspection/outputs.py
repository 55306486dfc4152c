"""Programs that write a guest's data: straight to a file, and never more than a bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder import process
from builder.process import Arguments

# The shell counts in blocks of 512 bytes; what would write more is killed by SIGXFSZ
_TO_FILE = 'ulimit -f "$1"; target=$2; shift 2; exec "$@" > "$target"'


def write_output(command: Arguments, target: Path, *, limit: int, ok: Sequence[int] = (0,)) -> None:
    """Run a program with its standard output in the file `target`, `limit` bytes at most.

    Raises CommandFailed for an exit code outside `ok`, also when there would be more.
    """
    process.run(["sh", "-c", _TO_FILE, "sh", str(limit // 512), target, *command], ok=ok)
