"""The command line: finds the command, maps errors to messages and exit codes. No command is imported before it runs.

Every command is a module of this folder with a function `command`, whose signature Typer reads. It returns nothing, or
an exit code. `COMMANDS` is the list; `build --help` is written from it alone, so that it stays quick.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from builder.errors import BuildError, ExitCode, SpecInvalid

if TYPE_CHECKING:
    from typer._click import Command, Context

# Name, module, and the line that `build --help` shows; in the order in which a newcomer meets them
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("init", "builder.cli.init", "Write a first spec with comments, and build.yaml."),
    ("validate", "builder.cli.validate", "Check specs and show every error with its place."),
    ("plan", "builder.cli.plan", "Show what apply would do, and why. Runs nothing."),
    ("apply", "builder.cli.apply", "Carry a plan out: build, test, publish."),
    ("promote", "builder.cli.promote", "Let everybody take a version that was held back."),
    ("show", "builder.cli.show", "Show versions of an image, a run, or a saved plan."),
    ("inspect", "builder.cli.inspect", "Look whether a disk is ready for Azure, and mend a copy."),
    ("gc", "builder.cli.gc", "Remove what the local store needs no more."),
    ("generalize", "builder.cli.generalize", "List the operations that take a machine's identity out."),
    ("schema", "builder.cli.schema", "Print a published JSON Schema."),
)

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
HELP = """Make VM images for Azure from specs in git: a plan in the pull request, apply makes exactly that image."""


class LazyGroup(TyperGroup):
    """The group of all commands: `commands` holds a line for each; a command's module is imported when it is called."""

    def list_commands(self, ctx: Context) -> list[str]:
        """The names in the order of `COMMANDS`."""
        return list(self.commands)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """The real command instead of the line that stands for it in the list."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else _load(name), rest


def _load(name: str) -> Command:
    module = next(module for command, module, _ in COMMANDS if command == name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, context_settings=HELP_OPTIONS)(importlib.import_module(module).command)
    return typer.main.get_command(app)


def application() -> LazyGroup:
    """The whole command line."""

    def version(shown: bool) -> None:
        if shown:
            from builder import __version__

            print(f"build {__version__}")
            raise typer.Exit

    app = typer.Typer(
        cls=LazyGroup,
        help=HELP,
        context_settings=HELP_OPTIONS,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(
        version: bool = typer.Option(False, "--version", help="Show the version and exit.", callback=version),
    ) -> None:
        pass

    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    for name, _, line in COMMANDS:
        group.add_command(TyperCommand(name=name, help=line, rich_markup_mode=None))
    return group


def report(error: BuildError) -> None:
    """Show an error on standard error: where, what, the hint, and longer text last."""
    if isinstance(error, SpecInvalid):
        from builder.report.diagnostics import as_text

        print(as_text(error.diagnostics, error.root), file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return
    from builder.report.details import detail_lines, safe

    where = f"{error.where}: " if error.where else ""
    print(f"{safe(where)}error[{error.code}]: {safe(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {safe(error.hint)}", file=sys.stderr)
    if error.detail:
        print("\n".join(f"  | {line}" for line in detail_lines(error.detail)), file=sys.stderr)


def _system_error(error: OSError) -> BuildError:
    """What the system refused, in a line. Files have names in their errors, what is printed to has none."""
    what = error.filename or ("the output can't be written" if error.errno in WRITE_ERRORS else "the system")
    try:
        sys.stdout.flush()
    except OSError:
        # What is still buffered must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BuildError(f"{what}: {error.strerror or error}", code="system-error")


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Prints; never exits."""
    if sys.stdout is None:
        # Closed by the caller (`build plan >&-`): the next file that is opened would take its place
        report(BuildError("standard output is closed", code="system-error", hint="redirect it: >/dev/null"))
        return ExitCode.ERROR
    try:
        result = application().main(list(arguments) or ["--help"], prog_name="build", standalone_mode=False)
        sys.stdout.flush()
    except BuildError as error:
        report(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone (`build schema | head`): what is still buffered must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except OSError as error:
        report(_system_error(error))
        return ExitCode.ERROR
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Exception as error:
        # Click's own errors (an unknown option, a missing argument) know how to show themselves
        if not hasattr(error, "show"):
            raise
        error.show()
        return ExitCode.ERROR
    return result if isinstance(result, int) else ExitCode.DONE


def run() -> NoReturn:
    """The process: run the command line of `sys.argv` and exit."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    sys.exit(invoke(sys.argv[1:]))
