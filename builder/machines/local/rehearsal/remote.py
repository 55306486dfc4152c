"""Commands in the rehearsed machine, over ssh with a key that lives as long as the rehearsal."""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import process
from builder.errors import BuildError, Interrupted

PACKAGE = "openssh-client"
ATTEMPT_SECONDS = 30
RETRY_SECONDS = 2.0
# ssh's own exit code when it could not do its work
SSH_FAILED = 255
KEPT_LINES = 2000
LOG = "ssh.log"
# The first line of every command's output: without it, ssh's own exit code means that the command never began
BEGAN = "rehearsal: the command begins"


def make_key(folder: Path) -> tuple[Path, str]:
    """A new key pair in `folder`: the private key's file, and the line for authorized_keys."""
    keygen = process.find_program("ssh-keygen", package=PACKAGE, why="log in to the rehearsed machine")
    path = folder / "key"
    process.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "rehearsal", "-f", path])
    return path, path.with_suffix(".pub").read_text().strip()


@dataclass
class Login:
    """The way into the machine: its forwarded port on loopback, the user, the private key.

    `folder` takes ssh's log. Commands run as root through sudo where the image lets the user, else as the user.
    """

    port: int
    user: str
    key: Path
    folder: Path
    stop: threading.Event | None = None
    connected: bool = False
    root: bool = False

    def connect(self, deadline: float, alive: Callable[[], None]) -> None:
        """Try to log in until it works. `alive` raises when the machine has ended.

        Raises BuildError with code "login-failed" when `deadline` (monotonic seconds) passes.
        """
        wait = self.stop or threading.Event()
        while not self.connected:
            alive()
            code, _, _ = self._ssh("sudo -n true 2>/dev/null && exit 10; exit 11", ATTEMPT_SECONDS)
            if code in (10, 11):
                self.connected, self.root = True, code == 10
                return
            if time.monotonic() >= deadline:
                raise BuildError(
                    f"the machine reported Ready, but the user {self.user} can't log in by ssh",
                    code="login-failed",
                    hint="see that the image runs an ssh server, and that nothing in it forbids keys for new users",
                    detail="\n".join(self._said().splitlines()[-5:]),
                )
            wait.wait(RETRY_SECONDS)
            self._check_stop()

    def run(self, command: str, timeout: float, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a command line of `/bin/sh`; its exit code and the last 2000 lines of its output, both streams joined.

        A server that goes away before the command began is asked again. Raises BuildError "test-timeout" after
        `timeout` seconds, "login-failed" when the connection breaks.
        """
        deadline = time.monotonic() + timeout
        words = ["env", *(f"{name}={value}" for name, value in (env or {}).items()), "/bin/sh", "-c", command]
        line = shlex.join(["sudo", "-n", "-H", "--", *words] if self.root else words)
        while True:
            code, output, began = self._ssh(line, timeout)
            if code is None:
                raise BuildError(f"the command did not end within {timeout:g} s", code="test-timeout", detail=output)
            said = self._said() if code == SSH_FAILED else ""
            if began and not said:
                return code, output
            # A boot may start the ssh server again; what never began can be asked for again
            if began or time.monotonic() >= deadline:
                raise BuildError(
                    "the connection to the machine broke",
                    code="login-failed",
                    hint="the console's last lines say whether the machine or its ssh server ended",
                    detail=f"{said}\n{output}".strip(),
                )
            (self.stop or threading.Event()).wait(RETRY_SECONDS)
            self._check_stop()

    def _said(self) -> str:
        """What the last ssh had to complain of."""
        log = self.folder / LOG
        return log.read_text(errors="replace").strip() if log.exists() else ""

    def _check_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Interrupted("interrupted", code="interrupted")

    def _ssh(self, command: str, timeout: float) -> tuple[int | None, str, bool]:
        """Exit code (None for a command that took too long), output, and whether the command began, of one ssh."""
        log = self.folder / LOG
        log.unlink(missing_ok=True)
        program = process.find_program("ssh", package=PACKAGE, why="log in to the rehearsed machine")
        settings = {
            "BatchMode": "yes",
            "ConnectTimeout": str(ATTEMPT_SECONDS),
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "PreferredAuthentications": "publickey",
            # An emulated machine that starts beside others may not answer for a while
            "ServerAliveInterval": "30",
            "ServerAliveCountMax": "10",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [program, "-F", "/dev/null", "-E", str(log), "-i", str(self.key), "-p", str(self.port), "-T"]
        for name, value in settings.items():
            words += ["-o", f"{name}={value}"]
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        began = threading.Event()

        def take(text: str) -> None:
            if text == BEGAN and not began.is_set():
                began.set()
            else:
                lines.append(text)

        try:
            done = process.stream(
                [*words, f"{self.user}@127.0.0.1", f"echo {shlex.quote(BEGAN)}; {command}"],
                on_line=take,
                timeout=timeout,
                stop=self.stop,
                ok=range(256),
            )
        except process.CommandFailed as error:
            self._check_stop()
            if "did not end" not in error.message:
                raise
            return None, "\n".join(lines), began.is_set()
        self._check_stop()
        return done.exit_code, "\n".join(lines), began.is_set()
