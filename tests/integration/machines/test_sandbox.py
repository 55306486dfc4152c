"""The sandbox on a root of busybox alone: what a step may see and touch, and what it leaves behind."""

import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from builder.disk.mounts import private_mounts
from builder.errors import BuildError, Interrupted
from builder.machines.local.gifts import host_gifts
from builder.machines.local.sandbox import HostGifts, PutIn, Sandbox
from builder.model.run import GuestFacts, GuestScript
from tests.integration.guest.roots import flags_of, gnu_root

FACTS = GuestFacts("linux", "test", "1", "x64", "apk")
APPLETS = (
    "sh mv cp rm mkdir rmdir chmod cat dirname readlink ls echo id mount mknod hostname sleep yes head ps ln env grep "
    "test [ wc touch"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("bin", "etc", "dev", "proc", "sys", "run", "usr/sbin", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return root


RunScript = Callable[..., list[str]]


@pytest.fixture
def execute(root: Path, tmp_path: Path) -> RunScript:
    def run(
        text: str, gifts: HostGifts | None = None, stop: threading.Event | None = None, **script: object
    ) -> list[str]:
        lines: list[str] = []
        sandbox = Sandbox(root, facts=FACTS, gifts=gifts or HostGifts(), work=tmp_path, stop=stop)
        sandbox.execute(GuestScript(text, **script), lambda block: lines.extend(block.splitlines()))  # type: ignore[arg-type]
        return lines

    return run


def test_output_arguments_environment_and_files_arrive(execute: RunScript, tmp_path: Path) -> None:
    (tmp_path / "big").write_text("from the host")
    lines = execute(
        'echo "$1 $LEVEL"; cat "$BUILD_FILES/one"; cat "$BUILD_FILES/two/big"; echo; id -u; hostname',
        arguments=("an argument",),
        env={"LEVEL": "strict"},
        files={"one": b"bytes\n", "two/big": tmp_path / "big"},
    )
    assert lines == ["an argument strict", "bytes", "from the host", "0", "localhost"]


@contextmanager
def process_lists() -> Iterator[list[str]]:
    """What `ps` shows of all command lines meanwhile."""
    seen: list[str] = []

    def watch(stop: threading.Event) -> None:
        while not stop.is_set():
            seen.append(subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout)

    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(stop,))
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


def test_secrets_arrive_and_show_in_no_command_line(execute: RunScript) -> None:
    with process_lists() as seen:
        lines = execute('echo "${#TOKEN}"; sleep 1', secrets={"TOKEN": "s3cr3t-value-here"})
    assert lines == ["17"]
    assert any("bwrap" in listing for listing in seen)
    assert not any("s3cr3t-value-here" in listing for listing in seen)


def test_proxies_of_the_host_are_lent_out_of_sight(
    execute: RunScript, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where asked for: this process's own environment doesn't reach a step. The step's own words win."""
    proxy = "http://user:s3cr3t-of-the-proxy@proxy.example:3128"
    monkeypatch.setenv("http_proxy", proxy)
    before = tree(root)
    show = 'echo "${http_proxy-none} ${https_proxy-none} ${no_proxy-none}"'
    assert execute(show) == ["none none none"]
    gifts = HostGifts(env={"http_proxy": proxy, "https_proxy": proxy, "no_proxy": "localhost"})
    with process_lists() as seen:
        lines = execute(f"{show}; sleep 1", gifts=gifts, env={"no_proxy": "own"}, secrets={"https_proxy": "secret"})
    assert lines == [f"{proxy} secret own"]
    assert any("bwrap" in listing for listing in seen)
    assert not any("s3cr3t-of-the-proxy" in listing for listing in seen)
    assert tree(root) == before


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="this host has no apt to lend")
def test_all_that_a_host_with_apt_lends_is_gone_after_a_step(
    execute: RunScript, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = platform.freedesktop_os_release()
    facts = GuestFacts("linux", release["ID"], release.get("VERSION_ID", ""), "x64", "apt", release)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    gifts = host_gifts(facts, "host")
    bundle = PutIn("/run/build/host-certificates-0.crt", "an authority\n")
    for name in ("etc/apt/sources.list.d", "etc/dpkg"):
        (root / name).mkdir(parents=True)
    (root / "etc/apt/sources.list.d/own.sources").write_text("the image's own")
    before = tree(root)
    lines = execute(
        "cat /run/build/host-certificates-0.crt; echo $https_proxy; cd /etc/apt; ls sources.list.d apt.conf.d",
        gifts=replace(gifts, put_in=(*gifts.put_in, bundle)),
    )
    assert lines[:2] == ["an authority", "http://proxy.example:3128"]
    assert {"build-host.sources", "own.sources.build-kept", "zz-build-host"} <= set(lines)
    assert tree(root) == before


def test_a_step_sees_only_its_own_processes_and_basic_devices(execute: RunScript) -> None:
    lines = execute("ps -o pid | wc -l; ls /dev; ls /sys | wc -l; env | grep -c VIRTUAL_ENV || true")
    assert int(lines[0]) < 8
    devices = set(lines[1:-2])
    assert {"null", "zero", "random", "urandom", "full", "tty"} <= devices
    assert not any(name.startswith(("loop", "vd", "sd", "kvm", "mem", "fuse")) for name in devices)
    assert lines[-2:] == ["0", "0"]


@pytest.mark.parametrize("attempt", ["mount -t tmpfs x /tmp", "hostname other; mount --bind /proc /tmp"])
def test_a_step_can_not_mount(attempt: str, execute: RunScript) -> None:
    with pytest.raises(BuildError, match="exit code"):
        execute(attempt)


def test_device_nodes_are_dead(execute: RunScript) -> None:
    with pytest.raises(BuildError):
        execute("mknod /tmp/null c 1 3 && echo x > /tmp/null")


def test_the_exit_code_and_the_last_lines_are_told(execute: RunScript) -> None:
    with pytest.raises(BuildError, match="exit code 7") as caught:
        execute("echo before; echo the reason >&2; exit 7")
    assert caught.value.code == "step-failed"
    assert "the reason" in (caught.value.detail or "")


def test_a_missing_interpreter_is_explained(execute: RunScript) -> None:
    with pytest.raises(BuildError) as caught:
        execute("print(1)", interpreter=("/usr/bin/python3",))
    assert "/usr/bin/python3" in (caught.value.hint or "")


def test_a_hanging_script_ends_with_all_its_processes(execute: RunScript) -> None:
    with pytest.raises(BuildError, match=r"within 1 s") as caught:
        execute("trap '' TERM; sleep 654321 & echo waiting; sleep 654321", timeout=1.0)
    assert caught.value.code == "step-timeout"
    assert "waiting" in (caught.value.detail or "")
    found = subprocess.run(["pgrep", "-r", "R,S,D", "-f", "sleep 654321"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_an_interrupt_ends_it(execute: RunScript) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    with pytest.raises(Interrupted):
        execute("sleep 600", stop=stop)
    timer.join()


GIFTS = HostGifts(
    put_in=(
        PutIn("/etc/resolv.conf", "nameserver 192.0.2.1\n", through_link=True),
        PutIn("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", "0755"),
        PutIn("/etc/dpkg/dpkg.cfg.d/zz-build", "force-unsafe-io\n"),
    ),
    hidden=("/etc/apt/sources.list /etc/apt/sources.list.d/*.sources",),
)


def tree(root: Path) -> dict[str, str]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*files, *(name for name in folders if Path(folder, name).is_symlink())]:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if not key.startswith("bin/"):
                found[key] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for name in folders:
            found.setdefault(str(Path(folder, name).relative_to(root)) + "/", "")
    return found


@pytest.mark.parametrize("resolver", ["file", "link into run", "absolute link into run", "absent"])
def test_gifts_are_there_during_a_step_and_gone_after_it(resolver: str, execute: RunScript, root: Path) -> None:
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text("the image's own")
    (root / "etc/apt/sources.list").write_text("the image's own, in one file")
    links = {
        "link into run": "../run/systemd/resolve/stub-resolv.conf",
        "absolute link into run": "/run/resolvconf/resolv.conf",
    }
    if resolver == "file":
        (root / "etc/resolv.conf").write_text("nameserver 198.51.100.7\n")
    elif resolver in links:
        (root / "etc/resolv.conf").symlink_to(links[resolver])
    (root / "etc/dpkg").mkdir()
    before = tree(root)
    lines = execute(
        "cat /etc/resolv.conf /etc/dpkg/dpkg.cfg.d/zz-build; test -x /usr/sbin/policy-rc.d; ls /etc/apt/sources.list.d",
        gifts=GIFTS,
    )
    assert lines[:2] == ["nameserver 192.0.2.1", "force-unsafe-io"]
    assert lines[2:] == ["debian.sources.build-kept"]
    assert tree(root) == before


def test_what_a_step_replaces_itself_is_kept(execute: RunScript, root: Path) -> None:
    (root / "etc/resolv.conf").write_text("old")
    (root / "etc/apt").mkdir()
    (root / "etc/apt/sources.list").write_text("old")
    execute(
        "rm /etc/resolv.conf; ln -s /run/systemd/resolve/resolv.conf /etc/resolv.conf; cat /etc/resolv.conf\n"
        "echo new > /etc/apt/sources.list; echo own > /usr/sbin/policy-rc.d",
        gifts=GIFTS,
    )
    assert (root / "etc/resolv.conf").readlink() == Path("/run/systemd/resolve/resolv.conf")
    assert (root / "etc/apt/sources.list").read_text() == "new\n"
    assert (root / "usr/sbin/policy-rc.d").read_text() == "own\n"
    assert not (root / "etc/apt/sources.list.build-kept").exists()


@pytest.fixture
def ext4_root(tmp_path: Path) -> Iterator[Path]:
    """A filesystem that knows flags, with a small system on it that has chattr."""
    private_mounts()
    image, root = tmp_path / "ext4.raw", tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(128 * 1024 * 1024)
    root.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        gnu_root(root, "dash")
        (root / "etc/apt").mkdir()
        (root / "etc/resolv.conf").write_text("nameserver 198.51.100.7\n")
        (root / "etc/apt/sources.list").write_text("the image's own")
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


def execute_in(root: Path, work: Path, text: str) -> list[str]:
    lines: list[str] = []
    sandbox = Sandbox(root, facts=FACTS, gifts=GIFTS, work=work)
    sandbox.execute(GuestScript(text), lambda block: lines.extend(block.splitlines()))
    return lines


@pytest.mark.parametrize("flag", ["i", "a", "ia"])
def test_immutable_files_are_exchanged_and_immutable_again(flag: str, ext4_root: Path, tmp_path: Path) -> None:
    paths = [ext4_root / "etc/resolv.conf", ext4_root / "etc/apt/sources.list"]
    subprocess.run(["chattr", f"+{flag}", *paths], check=True)
    texts = [path.read_text() for path in paths]
    lines = execute_in(ext4_root, tmp_path, "cat /etc/resolv.conf; ls /etc/apt")
    assert lines == ["nameserver 192.0.2.1", "sources.list.build-kept"]
    assert [path.read_text() for path in paths] == texts
    assert [flags_of(path) for path in paths] == [set(flag), set(flag)]


def test_a_step_lifts_and_sets_flags(ext4_root: Path, tmp_path: Path) -> None:
    resolver = ext4_root / "etc/resolv.conf"
    execute_in(ext4_root, tmp_path, "chattr +i /etc/resolv.conf; touch /etc/own; chattr +i /etc/own")
    assert (resolver.read_text(), flags_of(resolver)) == ("nameserver 198.51.100.7\n", {"i"})
    execute_in(ext4_root, tmp_path, "chattr -i /etc/resolv.conf /etc/own && rm /etc/own")
    assert (resolver.read_text(), flags_of(resolver)) == ("nameserver 198.51.100.7\n", set())
    own = "chattr -ia /etc/resolv.conf; echo own > /etc/resolv.conf; chattr +i /etc/resolv.conf"
    for _ in range(2):
        execute_in(ext4_root, tmp_path, own)
        assert (resolver.read_text(), flags_of(resolver)) == ("own\n", {"i"})


def test_without_chattr_it_says_which_file_and_what_to_do(ext4_root: Path, tmp_path: Path) -> None:
    subprocess.run(["chattr", "+i", ext4_root / "etc/resolv.conf"], check=True)
    (ext4_root / "usr/bin/chattr").unlink()
    with pytest.raises(BuildError, match="exit code 125") as caught:
        execute_in(ext4_root, tmp_path, "true")
    assert "build: /etc/resolv.conf could not be moved away" in (caught.value.detail or "")
    assert "this image has no chattr" in (caught.value.detail or "")
    assert "chattr +i" in (caught.value.hint or "")


def test_a_steps_own_exit_code_125_has_no_hint(execute: RunScript) -> None:
    with pytest.raises(BuildError, match="exit code 125") as caught:
        execute("echo x; exit 125")
    assert caught.value.hint is None


def test_links_of_the_guest_never_lead_out(execute: RunScript, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "etc/dpkg").symlink_to(outside)
    execute("ls /etc/dpkg/ 2>&1 || true", gifts=HostGifts(put_in=(PutIn("/etc/hello", "x"),)))
    with pytest.raises(BuildError):
        execute("true", gifts=GIFTS)
    assert list(outside.iterdir()) == []
