"""The entry point. `--version` answers before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        from builder import __version__

        print(f"build {__version__}")
        return
    from builder.cli.app import run

    run()
