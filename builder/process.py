"""The one gateway to other programs.

Every child gets a clean environment, a closed standard input, its own process group, and dies with us (through
`setpriv --pdeathsig`, which also holds when we are killed). Errors show the whole command and what it printed last.
"""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builder.errors import BuildError

PASSED_ON = ("PATH", "TERM", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "SOURCE_DATE_EPOCH")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAIL_LINES = 20
# A line longer than this is cut: a program that prints a gigabyte without a newline must not fill our memory
LONGEST_LINE = 16 * 1024
GRACE_SECONDS = 2.0

Arguments = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Completed:
    """A program that ended. `output` is standard output (standard error too where they were joined)."""

    command: tuple[str, ...]
    exit_code: int
    output: str
    errors: str
    seconds: float


class CommandFailed(BuildError):
    """A program ended badly. `exit_code` below 0 is the signal that killed it."""

    def __init__(self, command: Sequence[str], status: int, tail: str, *, reason: str = "") -> None:
        self.command = tuple(command)
        self.status = status
        self.tail = tail
        why = reason or _why(status)
        super().__init__(
            f"{Path(command[0]).name} {why}", code="command-failed", detail=f"$ {shlex.join(command)}\n{tail}".rstrip()
        )


def _why(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that children get: few variables of ours, a fixed locale, then `extra`."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # System tools live in sbin, which an unprivileged or virtual environment's PATH may lack
    path = os.pathsep.join(dict.fromkeys([*kept.get("PATH", "").split(os.pathsep), *DEFAULT_PATH.split(":")]))
    return {**kept, "PATH": path.strip(os.pathsep), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(extra or {})}


def find_program(name: str, *, package: str, why: str) -> str:
    """The path of a program that must be on this host. Raises BuildError naming the Debian package that has it."""
    found = shutil.which(name, path=environment()["PATH"])
    if found is None:
        raise BuildError(
            f"{name} is not installed; it is needed to {why}",
            code="program-missing",
            hint=f"apt-get install {package}",
        )
    return found


# When we were killed before setpriv asked for the signal, nobody would send it: the child has another parent then
_UNLESS_ORPHANED = '[ "$PPID" -eq "$1" ] || exit 1; shift; exec "$@"'


def _guarded(command: Arguments) -> list[str]:
    words = [os.fspath(part) for part in command]
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _UNLESS_ORPHANED, "sh", str(os.getpid()), *words]


def run(
    command: Arguments,
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    ok: Sequence[int] = (0,),
) -> Completed:
    """Run a program to its end and return what it printed. For short programs with little output.

    `timeout` in seconds; the whole process group is killed when it passes. Raises CommandFailed for an exit code
    outside `ok`.
    """
    words = [os.fspath(part) for part in command]
    started = time.monotonic()
    process = _start(words, env=env, cwd=cwd, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL)
    try:
        output, errors = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill_group(process)
        process.communicate()
        raise CommandFailed(words, -signal.SIGKILL, "", reason=f"did not end within {timeout:g} s") from error
    except BaseException:
        _kill_group(process)
        process.communicate()
        raise
    out, err = output.decode(errors="replace"), errors.decode(errors="replace")
    if process.returncode not in ok:
        raise CommandFailed(words, process.returncode, "\n".join((out + err).splitlines()[-TAIL_LINES:]))
    return Completed(tuple(words), process.returncode, out, err, time.monotonic() - started)


def stream(
    command: Arguments,
    *,
    on_line: Callable[[str], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    ok: Sequence[int] = (0,),
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a long program, handing on what it prints (both streams, joined) as it comes.

    `on_line` gets each line; `on_text`, for programs that may print gigabytes, gets as many whole lines as there are
    at once. Memory stays bounded whatever the program prints; lines over 16 KiB are cut. When `timeout` (seconds)
    passes or `stop` is set, the process group gets SIGTERM, then SIGKILL. Raises CommandFailed, or what they raise.
    """
    words = [os.fspath(part) for part in command]
    started = time.monotonic()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = _start(words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, joined=True, pass_fds=pass_fds)
    assert process.stdout is not None

    def text(block: str) -> None:
        tail.extend(line[:LONGEST_LINE] for line in block.rsplit("\n", TAIL_LINES)[-TAIL_LINES:])
        if on_text is not None:
            on_text(block)
        if on_line is not None:
            for line in block.split("\n"):
                on_line(line.rstrip("\r")[:LONGEST_LINE])

    reason = ""
    try:
        reason = _pump(process, text, deadline=None if timeout is None else started + timeout, stop=stop)
    finally:
        _kill_group(process)
        process.stdout.close()
    if reason == "timeout":
        raise CommandFailed(words, process.returncode, "\n".join(tail), reason=f"did not end within {timeout:g} s")
    if process.returncode not in ok:
        raise CommandFailed(words, process.returncode, "\n".join(tail))
    return Completed(tuple(words), process.returncode, "\n".join(tail), "", time.monotonic() - started)


def _pump(
    process: subprocess.Popen[bytes],
    text: Callable[[str], None],
    *,
    deadline: float | None,
    stop: threading.Event | None,
) -> str:
    """Hand on whole lines until the program ends. Returns "timeout" or "stopped" when it had to be ended, else ""."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if stop is not None and stop.is_set():
                _end_group(process)
                return "stopped"
            if deadline is not None and time.monotonic() >= deadline:
                _end_group(process)
                return "timeout"
            if not selector.select(0.1):
                # A background child may hold the pipe open after the program itself has ended. What the program printed
                # since we looked is in the pipe by now, though
                if process.poll() is not None and not selector.select(0):
                    break
                continue
            data = os.read(process.stdout.fileno(), 256 * 1024)
            if not data:
                break
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                text(whole.decode(errors="replace"))
            rest = rest[:LONGEST_LINE]
    if rest:
        text(rest.decode(errors="replace"))
    return _wait(process, deadline=deadline, stop=stop)


def _wait(process: subprocess.Popen[bytes], *, deadline: float | None, stop: threading.Event | None) -> str:
    """Wait for a program that has closed its output."""
    while deadline is None or time.monotonic() < deadline:
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                _end_group(process)
                return "stopped"
            continue
        return ""
    _end_group(process)
    return "timeout"


@contextmanager
def daemon(
    command: Arguments,
    *,
    env: Mapping[str, str] | None = None,
    log: IO[bytes] | int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs for as long as the `with` block: SIGTERM at its end, SIGKILL if that is not enough."""
    words = [os.fspath(part) for part in command]
    process = subprocess.Popen(
        _guarded(words),
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
        pass_fds=pass_fds,
    )
    try:
        yield process
    finally:
        _end_group(process)


def _start(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    joined: bool = False,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            _guarded(words),
            env=environment(env),
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if joined else subprocess.PIPE,
            process_group=0,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise BuildError(
            "setpriv is not installed; it is needed to end child processes with us",
            code="program-missing",
            hint="apt-get install util-linux",
        ) from error


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # the group is gone: nothing left to signal


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    _kill_group(process)
