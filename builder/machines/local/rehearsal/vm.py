"""Starts a virtual machine from captured disks as Azure would, and waits for its verdict."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder import process
from builder.errors import BuildError, Interrupted, Place
from builder.machines.local.rehearsal import qemu, remote
from builder.machines.local.rehearsal.checks import FACTS_SCRIPT, Facts, Identity, judge, parse_facts
from builder.machines.local.rehearsal.console import SHOWN_LINES, Console, pump
from builder.machines.local.rehearsal.deployment import Deployment, ovf_environment
from builder.machines.local.rehearsal.fabric import Fabric, serving
from builder.machines.local.rehearsal.media import write_provisioning_media
from builder.machines.local.rehearsal.monitor import Monitor, MonitorClosed
from builder.machines.local.rehearsal.watch import Watch
from builder.model.run import CheckResult

TICK_SECONDS = 0.2
BANNER_SECONDS = 2.0
FACTS_SECONDS = 120.0
SHOWN_REQUESTS = 12


@dataclass(frozen=True)
class Provisioned:
    """The machine is up. `seconds` since power-on; `by` the program that said so, `accelerator` how it ran."""

    seconds: float
    by: str
    accelerator: str


def can_run_commands(*, generalized: bool, where: Place | None = None) -> None:
    """Raise BuildError when `test: run` can't work, so that the plan says it.

    Provisioning brings the user and the key that log in. A specialized image is not provisioned, and no way to add a
    user from outside works for all images (systemd takes keys from SMBIOS only since version 252, and only for root).
    """
    if not generalized:
        raise BuildError(
            "commands can't be run in a rehearsal of a specialized image: nobody is provisioned to log in as",
            code="test-unsupported",
            where=where,
            hint="use `provision: {}` alone, which starts the image, or generalize it",
        )


class RehearsedVm:
    """A machine that was started from the image. Used only inside `rehearse`'s block."""

    def __init__(
        self,
        *,
        deployment: Deployment,
        generalized: bool,
        login: remote.Login,
        fabric: Fabric,
        console: Console,
        watch: Watch,
        emulator: subprocess.Popen[bytes],
        deadline: float,
        timeout: float,
        progress: Callable[[str], None],
    ) -> None:
        self.deployment = deployment
        self.generalized = generalized
        self.login = login
        self.fabric = fabric
        self._console = console
        self._watch = watch
        self._emulator = emulator
        self._deadline = deadline
        self._timeout = timeout
        self._progress = progress
        self._told = 0

    def console_tail(self, lines: int = SHOWN_LINES) -> str:
        """The last lines of the serial console."""
        return "\n".join(self._console.tail(lines))

    def wait_ready(self) -> Provisioned:
        """Wait until the machine has provisioned itself (a specialized one: until it is up).

        Raises BuildError: "provisioning-failed" when the machine reports so, "provisioning-timeout" when it reports
        nothing in time, "boot-failed" when it can't start. Raises Interrupted when asked to stop.
        """
        next_banner = time.monotonic() + BANNER_SECONDS
        while True:
            self._check_stop()
            self._watch.wait(TICK_SECONDS)
            self._console.hand_on()
            for news in self._watch.told(self._told):
                self._told += 1
                self._progress(news)
            by = self._judge()
            if by:
                return self._up(by)
            self._check_alive()
            if time.monotonic() >= self._deadline:
                raise self._timed_out()
            if not self.generalized and time.monotonic() >= next_banner:
                if _answers_ssh(self.login.port):
                    return self._up("its ssh server")
                next_banner = time.monotonic() + BANNER_SECONDS

    def run(self, command: str, timeout: float, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a command line as root (as the user where the image has no sudo): exit code and output.

        The first call waits until the user can log in and the system has started everything. Raises BuildError:
        "login-failed", "test-timeout".
        """
        can_run_commands(generalized=self.generalized)
        if not self.login.connected:
            self._settle(max(self._deadline, time.monotonic() + timeout))
        try:
            return self.login.run(command, timeout, env)
        except BuildError as error:
            if error.code == "login-failed":
                error.detail = f"{error.detail or ''}\n{self._report()}".strip()
            raise
        finally:
            self._console.hand_on()

    def _settle(self, deadline: float) -> None:
        """Log in, and wait until the system has started all that starts with it, cloud-init's last stage included."""
        self._progress("waiting until the user can log in")
        while True:
            try:
                self.login.connect(deadline, self._check_alive)
                self._progress("waiting until the system has started everything")
                # Its exit code says whether units failed, which the checks report
                self.login.run("systemctl is-system-running --wait >/dev/null 2>&1", self._timeout)
                return
            except BuildError as error:
                if error.code == "test-timeout":
                    raise self._never_started() from error
                if error.code != "login-failed":
                    raise
                if time.monotonic() >= deadline:
                    error.detail = f"{error.detail or ''}\n{self._report()}".strip()
                    raise
                # What starts last may start the network or the ssh server once more
                self.login.connected = False

    def _never_started(self) -> BuildError:
        _, jobs = self.login.run("systemctl list-jobs --no-pager", FACTS_SECONDS)
        message = f"the system did not end its start within {self._timeout:g} s"
        return BuildError(message, code="provisioning-timeout", detail=jobs)

    def facts(self) -> Facts:
        """What the checks need to know of the machine."""
        _, output = self.run(FACTS_SCRIPT, FACTS_SECONDS)
        facts = parse_facts(output)
        if not facts.complete:
            raise BuildError("the machine does not tell about itself", code="login-failed", detail=output)
        return facts

    def checks(self) -> list[CheckResult]:
        """Check what provisioning must have done. Nothing can be asked of a specialized machine: it is up."""
        if not self.generalized:
            return [CheckResult("the machine is up", True, self.fabric.seconds())]
        started = time.monotonic()
        facts = self.facts()
        return judge(facts, self.deployment, time.monotonic() - started)

    def identity(self) -> Identity:
        """What makes this machine itself."""
        return self.facts().identity

    def _up(self, by: str) -> Provisioned:
        return Provisioned(self.fabric.seconds(), by, qemu.accelerator().name)

    def _judge(self) -> str:
        """Who says that the machine is up, or "". Raises BuildError when it is known that it won't be."""
        verdict = self._watch.verdict
        if verdict is not None and verdict.ready:
            return verdict.program
        if verdict is not None:
            raise BuildError(
                f"the machine reported that its provisioning failed: {verdict.description or 'without a reason'}",
                code="provisioning-failed",
                hint="on Azure this deployment would fail in the same way",
                detail=self._report(),
            )
        if self._watch.fatal:
            raise BuildError(
                f"the image does not start: {self._watch.fatal}", code="boot-failed", detail=self._report()
            )
        return "its console" if self._watch.up and not self.generalized else ""

    def _check_stop(self) -> None:
        if self.login.stop is not None and self.login.stop.is_set():
            raise Interrupted("interrupted", code="interrupted")

    def _check_alive(self) -> None:
        status = self._emulator.poll()
        if status is not None:
            raise BuildError(
                f"the virtual machine ended (exit code {status})", code="boot-failed", detail=self._report()
            )

    def _timed_out(self) -> BuildError:
        if not self.generalized:
            message = f"the machine showed no sign of being up within {self._timeout:g} s"
            return BuildError(message, code="provisioning-timeout", detail=self._report())
        return BuildError(
            f"the machine did not report Ready within {self._timeout:g} s: "
            "on Azure this deployment would end as OSProvisioningTimedOut",
            code="provisioning-timeout",
            hint="see that cloud-init or the Azure Linux agent is installed and enabled, and that the network comes up "
            "by DHCP; a machine that was never generalized does not provision itself either",
            detail=self._report(),
        )

    def _report(self) -> str:
        """What one needs to find the cause: what the guest asked for, and the end of its console."""
        asked = [str(request) for request in self.fabric.asked[-SHOWN_REQUESTS:]]
        requests = ["the last requests of the machine:", *asked] if asked else ["the machine asked nothing of Azure"]
        shown = self._console.tail()
        lines = ["the end of its console:", *shown] if shown else ["its console shows nothing"]
        return "\n".join([*requests, *lines])


def _data_luns(luns: Sequence[int | None], disks: int) -> list[int]:
    """The LUNs of the disks after the first."""
    return [index if lun is None else lun for index, lun in enumerate(luns[1:])] if luns else list(range(disks - 1))


def _answers_ssh(port: int) -> bool:
    """An ssh server in the guest greets us. QEMU accepts the connection itself, so that alone says nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _start(
    command: Callable[[int], list[str]], console: Console, stack: ExitStack
) -> tuple[subprocess.Popen[bytes], int]:
    """Start QEMU with `command(its end of the monitor)`: the process, and the port that leads to the guest's ssh."""
    ours, theirs = socket.socketpair()
    monitor = Monitor(ours)
    stack.callback(monitor.close)
    output, printed = os.pipe()
    with theirs, os.fdopen(printed, "wb") as log:
        reader = threading.Thread(target=pump, args=(output, console), daemon=True)
        reader.start()
        stack.callback(_finish, reader, output)
        words = command(theirs.fileno())
        emulator = stack.enter_context(process.daemon(words, log=log, pass_fds=(theirs.fileno(),)))
    try:
        monitor.greet()
        return emulator, monitor.forwarded_port()
    except MonitorClosed as error:
        emulator.kill()
        emulator.wait()
        reader.join()
        error.detail = f"$ {shlex.join(words)}\n" + "\n".join(console.tail())
        raise


def _finish(reader: threading.Thread, output: int) -> None:
    """Wait until the reader has read the last of the console, then close its pipe."""
    reader.join()
    os.close(output)


@contextmanager
def rehearse(
    disks: Sequence[Path],
    *,
    generation: int,
    architecture: str,
    work: Path,
    memory_mib: int,
    cpus: int,
    timeout: float,
    on_line: Callable[[str], None],
    progress: Callable[[str], None],
    stop: threading.Event | None,
    generalized: bool,
    luns: Sequence[int | None] = (),
) -> Iterator[RehearsedVm]:
    """Start a machine from disks that stay as they are: the OS disk, then the data disks.

    `disks` are fixed VHDs, raw or qcow2 files; `luns` has one for each of them, the OS disk's is not used (default:
    data disks count from 0); `work` is a folder of its own for what the guest writes and its console's log
    (`console.log`); `timeout` the seconds that provisioning may take. `on_line` gets the console's lines, `progress`
    what the machine does; both are called by the thread that waits and runs. Everything ends with the block. Raises
    BuildError when it can't start.
    """
    if architecture != "x64":
        raise BuildError(
            f"images for {architecture} can't be rehearsed on this host",
            code="test-unsupported",
            hint="leave the test stage out, or test on Azure",
        )
    opened = [qemu.open_disk(path) for path in disks]
    hardware = qemu.Hardware(opened, _data_luns(luns, len(opened)), generation, memory_mib, cpus)
    with ExitStack() as stack:
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o700)
        key, public_key = remote.make_key(work)
        deployment = Deployment(public_key)
        media = work / "provisioning.iso" if generalized else None
        if media is not None:
            write_provisioning_media(media, ovf_environment(deployment))
        overlays = qemu.create_overlays(opened, work)
        watch = Watch()
        console = Console(work / "console.log", on_line=on_line, on_text=watch.shown)
        stack.callback(console.close)
        fabric = Fabric(deployment, generalized=generalized, on_asked=watch.asked, on_verdict=watch.reported)
        path = stack.enter_context(serving(fabric, work))
        progress(f"starting a virtual machine ({qemu.accelerator().name})")

        def command(monitor: int) -> list[str]:
            return qemu.command_line(
                hardware, overlays, deployment, folder=work, media=media, fabric=path, monitor=monitor
            )

        emulator, port = _start(command, console, stack)
        yield RehearsedVm(
            deployment=deployment,
            generalized=generalized,
            login=remote.Login(port, deployment.user, key, work, stop),
            fabric=fabric,
            console=console,
            watch=watch,
            emulator=emulator,
            deadline=time.monotonic() + timeout,
            timeout=timeout,
            progress=progress,
        )
