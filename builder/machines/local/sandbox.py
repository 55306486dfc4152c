"""Runs a step's script inside a mounted disk, away from this host.

Bubblewrap gives it namespaces of its own (mounts, processes, IPC, host name), the basic devices, an empty `/run` and
few capabilities; the network is the host's, since package managers need it. What the script must not find in the
image afterwards (policy-rc.d, resolv.conf, package sources of the host) is put in before it and put back after it, by
a wrapper inside the guest, so that no path of the guest is ever followed on the host. A failed step's layer is thrown
away, so that only success has to put things back.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from builder import process
from builder.errors import BuildError, Interrupted
from builder.model.run import GuestFacts, GuestScript

BUILD_FOLDER = "/run/build"
SECRETS_FILE = f"{BUILD_FOLDER}/secrets"
# The signal-like exit code of a shell that could not find the interpreter, and of one that could not run it
NOT_FOUND, NOT_EXECUTABLE = 127, 126
# The wrapper's own exit code, and how the line begins that says why. A step's programs may use the code too
NOT_LENT, NOT_LENT_LINE = 125, "build: "

# What packages' scripts need, with each one's bit (linux/capability.h); left out are those that reach past the
# namespaces: loading modules, raw I/O, the clock, rebooting, network set-up, mounting, tracing, BPF. Device nodes don't
# work here (nodev) but packages ship some. Immutable files (chattr) are a matter of the mounted filesystem alone
CAPABILITIES = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5,
    "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_LINUX_IMMUTABLE": 9, "CAP_NET_BIND_SERVICE": 10,
    "CAP_IPC_LOCK": 14, "CAP_SYS_CHROOT": 18, "CAP_SYS_NICE": 23, "CAP_MKNOD": 27, "CAP_LEASE": 28,
    "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31,
}  # fmt: skip


def own_capabilities() -> int:
    """The capabilities of this process that it can hand on, as a bit mask."""
    fields = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return int(fields["CapEff"], 16) & int(fields["CapBnd"], 16)


ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "container": "build",
    "DEBIAN_FRONTEND": "noninteractive",
    # systemctl enables units offline and says that it starts none, instead of failing for want of a running systemd
    "SYSTEMD_OFFLINE": "1",
}


@dataclass(frozen=True)
class PutIn:
    """A file that stands in the guest only while a step runs. `through_link`: write through a symlink into /run."""

    path: str
    content: str
    mode: str = "0644"
    through_link: bool = False


@dataclass(frozen=True)
class HostGifts:
    """What the host lends to a step: its resolver, and on request its package sources and proxies."""

    put_in: tuple[PutIn, ...] = ()
    # Globs of the image's own package sources, hidden while those of the host are in use
    hidden: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Sandbox:
    """One mounted guest root to run scripts in."""

    def __init__(
        self,
        root: Path,
        *,
        facts: GuestFacts,
        gifts: HostGifts,
        work: Path,
        stop: threading.Event | None = None,
        default_timeout: float | None = None,
    ) -> None:
        self.root = root
        self._facts = facts
        self._gifts = gifts
        self._work = work
        self._stop = stop
        self._default_timeout = default_timeout

    @property
    def facts(self) -> GuestFacts:
        """What the operating system on the disk is."""
        return self._facts

    @property
    def live(self) -> bool:
        """A disk that is worked on offline never runs."""
        return False

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        """Run a script to its end (see `builder.model.run.Guest`)."""
        timeout = self._default_timeout if script.timeout is None else script.timeout
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=self._work, prefix="step-")))
            # The host's proxies may hold a password, so that they take the way of secrets; the step's own words win
            lent = {name: value for name, value in self._gifts.env.items() if name not in script.env}
            secrets = stack.enter_context(_in_memory(_exports({**lent, **script.secrets})))
            command = self._command(script, folder, secrets)
            try:
                process.stream(command, on_text=on_line, timeout=timeout, stop=self._stop, pass_fds=[secrets])
            except process.CommandFailed as error:
                self._check_stop()
                raise self._explain(script, error, timeout) from error
            self._check_stop()

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("interrupted while a step ran", code="interrupted")

    def _command(self, script: GuestScript, folder: Path, secrets: int) -> list[str]:
        """The whole bubblewrap command. `secrets` is the descriptor of a file that only the script's shell reads.

        Secrets are in no argument (those show in process lists) and in no environment of this host's programs, where a
        name such as LD_PRELOAD would mean something.
        """
        staged = self._stage(script, folder)
        # Asked for one that we don't have ourselves (in a container, say), bwrap drops none at all
        ours = own_capabilities()
        capabilities = [word for name, bit in CAPABILITIES.items() if ours >> bit & 1 for word in ("--cap-add", name)]
        settings = {**ENVIRONMENT, **script.env, "BUILD_FILES": f"{BUILD_FOLDER}/files"}
        inherited = set(process.environment())
        return [
            process.find_program("bwrap", package="bubblewrap", why="run steps isolated from this host"),
            "--die-with-parent", "--new-session",
            "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "localhost",
            "--cap-drop", "ALL", *capabilities,
            "--bind", str(self.root), "/",
            "--dev", "/dev", "--proc", "/proc",
            "--tmpfs", "/sys", "--remount-ro", "/sys",
            "--tmpfs", "/run", "--dir", "/run/lock", "--chmod", "1777", "/run/lock",
            "--dir", BUILD_FOLDER, "--ro-bind", str(folder / "in"), f"{BUILD_FOLDER}/in",
            "--perms", "0400", "--file", str(secrets), SECRETS_FILE,
            "--dir", f"{BUILD_FOLDER}/files", *staged,
            "--chdir", "/",
            *[word for name in sorted(inherited) for word in ("--unsetenv", name)],
            *[word for name, value in sorted(settings.items()) for word in ("--setenv", name, value)],
            "/bin/sh", f"{BUILD_FOLDER}/in/wrapper",
        ]  # fmt: skip

    def _stage(self, script: GuestScript, folder: Path) -> list[str]:
        """Write the script, the wrapper and what they need; returns the binds of files that are not ours."""
        inside = folder / "in"
        inside.mkdir()
        (inside / "script").write_text(script.text)
        (inside / "script").chmod(0o755)
        for number, gift in enumerate(self._gifts.put_in):
            (inside / f"put-{number}").write_text(gift.content)
        (inside / "wrapper").write_text(wrapper(script, self._gifts))
        binds: list[str] = []
        for name, content in script.files.items():
            source = content
            if isinstance(source, bytes):
                (folder / "files").mkdir(exist_ok=True)
                own = folder / "files" / name
                own.parent.mkdir(parents=True, exist_ok=True)
                own.write_bytes(source)
                source = own
            binds += ["--ro-bind", str(source), f"{BUILD_FOLDER}/files/{name}"]
        return binds

    def _explain(self, script: GuestScript, error: process.CommandFailed, timeout: float | None) -> BuildError:
        if "did not end within" in error.message:
            return BuildError(
                f"did not end within {timeout:g} s; all its processes were killed",
                code="step-timeout",
                hint="raise the step's `timeout`, or look for what it waits for (nothing can be typed into a step)",
                detail=error.tail,
            )
        if error.status < 0:
            # bwrap itself was killed: by the kernel's out-of-memory killer, or by a person
            return BuildError(
                f"was killed by {signal.Signals(-error.status).name}", code="step-failed", detail=error.tail
            )
        hints = {
            NOT_FOUND: f"is the interpreter ({script.interpreter[0]}) or a program it calls missing in the image?",
            NOT_EXECUTABLE: "the interpreter or a program could not be executed: is it of this architecture?",
        }
        if error.status == NOT_LENT and error.tail.rpartition("\n")[2].startswith(NOT_LENT_LINE):
            hints[NOT_LENT] = (
                "a step has files of the host's, such as its resolver, in the place of the image's own. Is one of "
                "these immutable (chattr +i)? Lift that in the source, or have chattr and lsattr there"
            )
        return BuildError(
            f"ended with exit code {error.status}",
            code="step-failed",
            hint=hints.get(error.status),
            detail=error.tail,
        )


def _exports(secrets: Mapping[str, str]) -> bytes:
    """Shell text that sets the secrets. Values can't hold NUL, which no environment can."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items()).encode()


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor of a file that exists in memory only, at its beginning."""
    descriptor = os.memfd_create("secrets", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def wrapper(script: GuestScript, gifts: HostGifts) -> str:
    """The POSIX sh that puts the host's gifts in, runs the script, and puts everything back."""
    lines = [
        "set -u",
        f"in={BUILD_FOLDER}/in kept={BUILD_FOLDER}/kept",
        'mkdir -p "$kept" /run/systemd/resolve',
        PUT_FUNCTIONS,
    ]
    back: list[str] = []
    for pattern in gifts.hidden:
        lines.append(f"hide {pattern}")
        kept = " ".join(f"{part}.build-kept" for part in pattern.split())
        back.append(f"forget {pattern}\nshow {kept}")
    for number, gift in enumerate(gifts.put_in):
        words = f"{shlex.quote(gift.path)} {number} {gift.mode}"
        lines.append(f"{'put_through' if gift.through_link else 'put'} {words}")
        back.insert(0, f"back {words}")
    command = shlex.join([*script.interpreter, f"{BUILD_FOLDER}/in/script", *script.arguments])
    # In a shell of its own, so that only the script has the secrets; the file is gone before it runs
    run = f"( . {SECRETS_FILE} && rm -f {SECRETS_FILE} && exec {command} )"
    return "\n".join([*lines, run, "status=$?", '[ "$status" -eq 0 ] || exit "$status"', *back, "exit 0", ""])


# `kept` stands in /run, a tmpfs: nothing of it can stay in the image. `back` leaves a file alone that the step itself
# replaced (a package that brings its own resolv.conf, say). What stands in for an immutable or append-only file is so
# too, so that a step that says `chattr -i` or `+i` has said it of the image's own
PUT_FUNCTIONS = r"""
refuse() {
    echo "build: $*" >&2
    command -v chattr >/dev/null 2>&1 && command -v lsattr >/dev/null 2>&1 ||
        echo "build: if it is immutable or append-only: this image has no chattr and lsattr to see and lift that" >&2
    exit 125
}
lift() {
    [ ! -L "$1" ] || return 0
    set -- "$1" "$(lsattr -d "$1" 2>/dev/null)"
    case "${2%% *}" in
        *a*i*|*i*a*) set -- "$1" ia ;;
        *i*) set -- "$1" i ;;
        *a*) set -- "$1" a ;;
        *) return 0 ;;
    esac
    chattr "-$2" "$1" >&2 && echo "$2"
}
flag() {
    [ -z "$2" ] || chattr "+$2" "$1" || refuse "$1 could not be made immutable or append-only again (+$2)"
}
rename() {
    flags=$(lift "$1")
    mv -f "$1" "$2" || refuse "$1 could not be renamed to $2"
    flag "$2" "$flags"
}
hide() {
    for file; do [ ! -e "$file" ] || rename "$file" "$file.build-kept"; done
}
forget() {
    for file; do
        [ -e "$file" ] && [ -e "$file.build-kept" ] || continue
        lift "$file.build-kept" > "$kept/flags"
        rm -f "$file.build-kept" || refuse "$file.build-kept could not be removed"
    done
}
show() {
    for file; do [ ! -e "$file" ] || rename "$file" "${file%.build-kept}"; done
}
put() {
    folder=$(dirname "$1") flags=
    [ -d "$folder" ] || { mkdir -p "$folder" && : > "$kept/made-$2"; }
    if [ -e "$1" ] || [ -L "$1" ]; then
        flags=$(lift "$1")
        mv -f "$1" "$kept/$2" || refuse "$1 could not be moved away for the time of the step"
    fi
    cp "$in/put-$2" "$1" && chmod "$3" "$1" || refuse "$1 could not be written"
    flag "$1" "$flags"
}
put_through() {
    cp "$in/put-$2" /run/systemd/resolve/stub-resolv.conf
    cp "$in/put-$2" /run/systemd/resolve/resolv.conf
    if [ -L "$1" ]; then
        case "$(readlink "$1")" in
            */../*) ;;
            /run/*|../run/*)
                link=$(readlink "$1")
                target=/run/${link#*run/}
                mkdir -p "$(dirname "$target")" && cp "$in/put-$2" "$target" || refuse "$target could not be written"
                : > "$kept/through-$2"
                return ;;
        esac
    fi
    put "$@"
}
back() {
    [ -e "$kept/through-$2" ] && return
    if [ -f "$1" ] && [ ! -L "$1" ] && [ "$(cat "$1")" = "$(cat "$in/put-$2")" ]; then
        flags=$(lift "$1")
        rm -f "$1" || refuse "$1, which is the host's, could not be removed"
        if [ -e "$kept/$2" ] || [ -L "$kept/$2" ]; then
            mv -f "$kept/$2" "$1" || refuse "$1 could not be put back"
            [ -L "$1" ] || flag "$1" "$flags"
        fi
        if [ -e "$kept/made-$2" ]; then rmdir "$(dirname "$1")" 2>/dev/null || true; fi
    fi
}
""".strip()
