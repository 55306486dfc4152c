"""What happens inside VMs: on Linux scripts really run, in a sandbox over the disk's files; on Windows tests say what.

A Linux guest sees the host's /usr read-only; /etc, /var, /root, /home, /opt, /srv, /boot and /tmp are its disk's own,
so that what one step writes is there in the next, in a snapshot, and in a VM made of it. Programs that a sandbox can't
have are scripts: package managers in `packages`, an agent and whatever a test adds in `programs`.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.azure import packages

OWN_FOLDERS = ("etc", "var", "root", "home", "opt", "srv", "boot", "tmp", "run", "local")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:20000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/shells": "/bin/sh\n/bin/bash\n",
    "etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\n",
}
# What programs of the host's /usr need beside it
HOST_FILES = ("ld.so.cache", "ld.so.conf")
READ_BYTES = 64 * 1024
# A guest asks for its own power by leaving a word here; the simulator looks once the script has ended
POWER_FILE = "run/azure-power"
PROGRAMS = {
    "poweroff": f"#!/bin/sh\necho off > /{POWER_FILE}\n",
    "halt": f"#!/bin/sh\necho off > /{POWER_FILE}\n",
    "reboot": f"#!/bin/sh\necho reboot > /{POWER_FILE}\n",
    "shutdown": f'#!/bin/sh\ncase " $* " in *" -r "*) echo reboot ;; *) echo off ;; esac > /{POWER_FILE}\n',
    "waagent": (
        '#!/bin/sh\ncase " $* " in *deprovision*)'
        " rm -rf /var/lib/waagent /root/.bash_history /etc/ssh/ssh_host_*;; esac\n"
    ),
    "systemctl": (
        "#!/bin/sh\n"
        f'case "$1" in poweroff|halt) echo off > /{POWER_FILE};; reboot) echo reboot > /{POWER_FILE};;\n'
        # The links are real; of a unit that is started or stopped at once there is nothing to see
        'enable|disable|mask|unmask) for word; do shift; [ "$word" = --now ] || set -- "$@" "$word"; done\n'
        'exec /usr/bin/systemctl "$@";;\n'
        # What is enabled runs: the guest has been started
        'is-active) for unit; do :; done; /usr/bin/systemctl is-enabled "$unit" >/dev/null 2>&1 && echo active ||\n'
        " { echo inactive; exit 3; };; esac\n"
    ),
}


@dataclass(frozen=True)
class Scripted:
    """An answer given instead of running a script whose text matches `pattern`.

    `seconds` pass on the simulator's clock; `hangs` never ends; `stages` are (seconds, text) that appear while it runs.
    `power` is what the guest does at the end: "", "off" or "reboot". `then` is called at the end.
    """

    pattern: str
    output: str | Callable[[str], str] = ""
    errors: str = ""
    exit_code: int = 0
    seconds: float = 1.0
    hangs: bool = False
    stages: tuple[tuple[float, str], ...] = ()
    power: str = ""
    then: Callable[[], None] | None = None
    machine: str = ""


@dataclass
class Finished:
    exit_code: int
    output: str
    errors: str
    power: str = ""
    timed_out: bool = False


@dataclass
class Tree:
    """The files of one OS disk. `image_state` is what Windows would say in its registry."""

    path: Path
    guests: Guests
    os_name: str = ""
    image_state: str = "IMAGE_STATE_COMPLETE"
    sysprep_runs: int = 0

    def copy(self) -> Tree:
        """An independent copy: what a snapshot or an image holds."""
        tree = Tree(self.guests.folder(), self.guests, self.os_name, self.image_state, self.sysprep_runs)
        tree.path.rmdir()
        subprocess.run(["cp", "-a", "--reflink=auto", "--", self.path, tree.path], check=True, stdin=subprocess.DEVNULL)
        return tree

    def text(self, name: str) -> str:
        """A file of the guest: `tree.text("/etc/motd")`."""
        return (self.path / name.lstrip("/")).read_text(encoding="utf-8")


@dataclass
class Guests:
    """`answers` are tried before anything runs; the first that matches wins."""

    directory: Path
    answers: list[Scripted] = field(default_factory=list)
    programs: dict[str, str] = field(default_factory=lambda: dict(PROGRAMS))
    # Real seconds after which a script is ended whatever it was told, so that no test hangs
    longest: float = 60.0
    # Whether Linux guests reach the host's network: for what downloads from Azurite
    network: bool = False
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def folder(self) -> Path:
        with self._lock:
            self._count += 1
            found = self.directory / f"disk-{self._count}"
        found.mkdir(parents=True)
        return found

    def fresh(self, system: str, os_name: str, os_version: str) -> Tree:
        """A new guest's files."""
        tree = Tree(self.folder(), self, os_name)
        if system == "Windows":
            return tree
        for name in OWN_FOLDERS:
            (tree.path / name).mkdir()
        for name in (
            "var/lib/waagent",
            "var/log",
            "var/tmp",
            "var/cache",
            "etc/systemd/system",
            "etc/ssh",
            "local/sbin",
        ):
            (tree.path / name).mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (tree.path / name).write_text(text, encoding="utf-8")
        (tree.path / "etc/shadow").chmod(0o640)
        release = f'ID={os_name}\nVERSION_ID="{os_version}"\nPRETTY_NAME="{os_name} {os_version}"\nNAME="{os_name}"\n'
        (tree.path / "etc/os-release").write_text(release, encoding="utf-8")
        (tree.path / "etc/ssh/ssh_host_ed25519_key").write_text("a host key\n", encoding="utf-8")
        for name in HOST_FILES:
            if (source := Path("/etc", name)).exists():
                shutil.copy(source, tree.path / "etc" / name)
        # Hundreds of links: what copies a disk would spend most of its time on them
        (tree.path / "etc/alternatives").mkdir()
        return tree

    def answer(self, scripted: Scripted) -> None:
        """Adds an answer; later ones are tried first, so that a test can override."""
        self.answers.insert(0, scripted)

    def scripted(self, machine: str, script: str) -> Scripted | None:
        for scripted in self.answers:
            if scripted.machine and scripted.machine.lower() != machine.lower():
                continue
            if re.search(scripted.pattern, script, re.IGNORECASE | re.DOTALL):
                return scripted
        return None

    def command(self, tree: Tree, script: Path, arguments: Sequence[str], user: str) -> list[str]:
        """The sandbox: no network, its own processes, the host's /usr, and the disk's own folders."""
        command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-add", "ALL"]
        command += ["--share-net"] if self.network else []
        command += ["--hostname", host_name(tree)]
        command += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/mnt"]
        for program in packages.hidden(tree.os_name):
            command += ["--ro-bind", "/dev/null", str(program)]
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                command += ["--symlink", f"usr/{name}", f"/{name}"]
            elif Path("/", name).is_dir():
                command += ["--ro-bind", f"/{name}", f"/{name}"]
        for name in OWN_FOLDERS:
            command += ["--bind", str(tree.path / name), "/usr/local" if name == "local" else f"/{name}"]
        command += ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
        command += ["--setenv", "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        command += ["--setenv", "HOME", "/root", "--setenv", "LANG", "C.UTF-8", "--chdir", "/root"]
        inside = f"/{script.relative_to(tree.path)}"
        if user and user != "root":
            return [*command, "setpriv", f"--reuid={user}", "--clear-groups", "/bin/sh", inside, *arguments]
        first = script.read_text(encoding="utf-8").split("\n", 1)[0]
        return [*command, *([inside] if first.startswith("#!") else ["/bin/sh", inside]), *arguments]

    def run(
        self,
        tree: Tree,
        script: str,
        *,
        name: str,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        user: str = "",
        timeout: float = 0,
        devices: Mapping[str, Path] | None = None,
        on_output: Callable[[str, str], None] = lambda _stream, _text: None,
    ) -> Finished:
        """Runs a script for real; `on_output(stream, text)` sees its output as it comes. `devices` are seen in /dev."""
        for program, text in {**packages.programs(tree.os_name), **self.programs}.items():
            path = tree.path / "local/sbin" / program
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)
        folder = tree.path / "var/lib/waagent/run-command-handler/download" / name / "0"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "script.sh"
        path.write_text(script, encoding="utf-8")
        path.chmod(0o700)
        command = self.command(tree, path, arguments, user)
        place = command.index("--chdir")
        given = [part for key, value in (variables or {}).items() for part in ("--setenv", key, value)]
        given += [part for key, path in (devices or {}).items() for part in ("--ro-bind", str(path), f"/dev/{key}")]
        process = subprocess.Popen(
            [*command[:place], *given, *command[place:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        finished = self._watch(process, min(timeout or self.longest, self.longest), on_output)
        power = tree.path / POWER_FILE
        if power.exists():
            finished.power = power.read_text(encoding="utf-8").strip()
            power.unlink()
        return finished

    @staticmethod
    def _watch(process: subprocess.Popen[bytes], timeout: float, on_output: Callable[[str, str], None]) -> Finished:
        collected: dict[str, list[str]] = {"output": [], "errors": []}

        def read(stream: str) -> None:
            pipe = process.stdout if stream == "output" else process.stderr
            assert pipe is not None
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            # What is there is passed on as it comes: a blob is not written line by line
            while raw := os.read(pipe.fileno(), READ_BYTES):
                text = decoder.decode(raw)
                collected[stream].append(text)
                on_output(stream, text)
            pipe.close()

        readers = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in collected]
        for reader in readers:
            reader.start()
        timed_out = False
        deadline = time.monotonic() + timeout
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            timed_out = True
            process.kill()
            process.wait()
        for reader in readers:
            reader.join()
        code = process.returncode
        return Finished(code, "".join(collected["output"]), "".join(collected["errors"]), timed_out=timed_out)


def host_name(tree: Tree) -> str:
    """What a Linux guest calls itself: what its file said when it started."""
    path = tree.path / "etc/hostname"
    return (path.read_text(encoding="utf-8").strip() if path.is_file() else "") or "localhost"


WINDOWS_STATE = r"ImageState"
# A script that only reads Sysprep's state, or names what it would leave behind, runs nothing
SYSPREP = r"sysprep(\.exe)?\b.*/generalize"
