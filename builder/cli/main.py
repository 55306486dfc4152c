"""The entry point. `--version` answers before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        from contextlib import suppress

        from builder import __version__

        # What can't be printed is reported below
        with suppress(OSError):
            print(f"build {__version__}", flush=True)
            return
    from builder.cli.app import run

    run()
