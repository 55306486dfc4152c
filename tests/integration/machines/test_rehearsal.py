"""Images rehearse their deployment: one that is well, one that can't provision itself, disks that don't start."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builder.disk import layers
from builder.disk.layers import DiskLayer
from builder.disk.mounts import private_mounts
from builder.disk.system import opened_system
from builder.errors import BuildError, Interrupted
from builder.machines.local.rehearsal import qemu
from builder.machines.local.rehearsal.checks import Identity, shared_identity
from builder.machines.local.rehearsal.deployment import Deployment
from builder.machines.local.rehearsal.fabric import Asked, Fabric, Verdict, serving
from builder.machines.local.rehearsal.vm import Provisioned, RehearsedVm, rehearse
from tests.integration.left_overs import Left, left_in

# Under emulation, beside other work; a start takes about 40 s on an idle machine, ten times as long on a busy one
BOOT_SECONDS = 900.0
RUN_SECONDS = 300.0
MIB = 1024 * 1024
DATA_LUN = 5
DATA_UUID = "33333333-3333-4333-8333-333333333333"


def start(
    disks: list[Path],
    work: Path,
    *,
    generation: int = 2,
    timeout: float = BOOT_SECONDS,
    generalized: bool = True,
    luns: tuple[int | None, ...] = (),
    progress: list[str] | None = None,
    stop: threading.Event | None = None,
) -> AbstractContextManager[RehearsedVm]:
    return rehearse(
        disks,
        luns=luns,
        generation=generation,
        architecture="x64",
        work=work,
        memory_mib=1024,
        # Emulating a second one costs half as much again, and other tests need this host's processors too
        cpus=1,
        timeout=timeout,
        on_line=lambda line: None,
        progress=(lambda doing: None) if progress is None else progress.append,
        stop=stop,
        generalized=generalized,
    )


@contextmanager
def resetting(target: int, *, times: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """A port of loopback that resets its first connections, and hands the next one on to `target`."""
    reset: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        while len(reset) < times:
            client, _ = listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            reset.append(client)
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", target)) as server:
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        yield listener.getsockname()[1], reset
        server.join()


@dataclass(frozen=True)
class Good:
    """The rehearsal of an image that is well."""

    vm: RehearsedVm
    provisioned: Provisioned
    progress: list[str]
    disks: list[Path]
    untouched: list[tuple[int, int]]


def stamps(disks: list[Path]) -> list[tuple[int, int]]:
    return [(disk.stat().st_mtime_ns, disk.stat().st_size) for disk in disks]


@pytest.fixture(scope="class")
def good(debian_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    """A Debian with a data disk in its fstab, provisioned on generation 2."""
    folder = tmp_path_factory.mktemp("good")
    disk, data = folder / "os.qcow2", folder / "data.raw"
    layers.create(disk, backing=debian_base)
    with data.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-U", DATA_UUID, data], check=True)
    private_mounts()
    with opened_system([DiskLayer(disk)], folder=folder, writable=True) as system:
        (system.root / "data").mkdir()
        with (system.root / "etc/fstab").open("a") as fstab:
            fstab.write(f"UUID={DATA_UUID} /data ext4 defaults,nofail 0 2\n")
    disks = [disk, data]
    untouched = stamps(disks)
    progress: list[str] = []
    with start(disks, folder / "vm", luns=(None, DATA_LUN), progress=progress) as vm:
        yield Good(vm, vm.wait_ready(), progress, disks, untouched)


class TestGood:
    """One machine for all of these; it is gone before others start."""

    def test_the_machine_reports_ready_as_on_azure(self, good: Good) -> None:
        assert good.provisioned.by.startswith("Cloud-Init/")
        asked = [re.sub(r"\?.*comp=", "?comp=", request.target).split("&")[0] for request in good.vm.fabric.asked]
        assert asked[0].startswith("/metadata/instance?api-version=")
        assert asked.index("/machine/?comp=goalstate") < asked.index("/machine?comp=health")
        assert good.progress[-1] == "the machine reports its health" or "user can log in" in " ".join(good.progress)
        assert "the kernel starts" in good.progress

    def test_every_check_passes(self, good: Good) -> None:
        checks = good.vm.checks()
        assert [check for check in checks if not check.passed] == []
        assert len(checks) == 6
        assert checks[-1].detail == ""

    def test_commands_run_as_root_and_give_their_exit_code(self, good: Good) -> None:
        command = """id -u; printf '%s\n' "$GREETING"; echo to-stderr >&2; exit 7"""
        code, output = good.vm.run(command, RUN_SECONDS, env={"GREETING": 'it\'s "quoted"\nhere'})
        assert code == 7
        assert output.splitlines() == ["0", 'it\'s "quoted"', "here", "to-stderr"]

    def test_a_command_that_hangs_is_ended(self, good: Good) -> None:
        good.vm.run("true", RUN_SECONDS)
        with pytest.raises(BuildError, match="did not end within 5 s") as caught:
            good.vm.run("echo begun; sleep 1000", 5)
        assert caught.value.code == "test-timeout"

    def test_a_server_that_goes_away_before_the_command_began_is_asked_again(self, good: Good) -> None:
        good.vm.run("true", RUN_SECONDS)
        with resetting(good.vm.login.port, times=2) as (port, reset):
            login = replace(good.vm.login, port=port)
            assert login.run("echo once", RUN_SECONDS) == (0, "once")
        assert len(reset) == 2

    def test_output_is_bounded(self, good: Good) -> None:
        code, output = good.vm.run("seq 100000", RUN_SECONDS)
        assert code == 0
        assert output.splitlines() == [str(number) for number in range(98001, 100001)]

    def test_data_disks_have_their_lun(self, good: Good) -> None:
        # The kernel names disks in the order in which it finds them, so the one mounted there may be sda or sdb.
        address = "lsblk --nodeps --noheadings --output HCTL $(findmnt -n -o SOURCE /data)"
        code, output = good.vm.run(address, RUN_SECONDS)
        assert code == 0
        assert output.strip().endswith(f":{DATA_LUN}")

    def test_two_machines_have_what_one_has_not(self, good: Good) -> None:
        identity = good.vm.identity()
        assert identity.host_name == good.vm.deployment.host_name
        assert any(key.startswith("ssh-ed25519 SHA256:") for key in identity.host_keys)
        assert shared_identity(identity, identity)[0] == "machine ID"
        assert shared_identity(identity, Identity("other", "0" * 32, ("ssh-ed25519 SHA256:x",))) == []

    def test_a_second_machine_shares_only_what_the_image_carries(
        self, good: Good, debian_base: Path, tmp_path: Path
    ) -> None:
        first = good.vm.identity()
        disk = tmp_path / "os.qcow2"
        layers.create(disk, backing=debian_base)
        private_mounts()
        with opened_system([DiskLayer(disk)], folder=tmp_path, writable=True) as system:
            (system.root / "etc/machine-id").write_text(first.machine_id + "\n")
        with start([disk], tmp_path / "vm") as second:
            second.wait_ready()
            assert shared_identity(first, second.identity()) == ["machine ID"]

    def test_the_guest_reaches_nothing_of_this_host(self, good: Good) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            connect = f"import socket; socket.create_connection(('168.63.129.1', {port}), 10)"
            code, output = good.vm.run(f'python3 -c "{connect}"', RUN_SECONDS)
        assert code == 1
        assert re.search("refused|unreachable|timed out", output)

    def test_the_image_stays_as_it_is(self, good: Good) -> None:
        good.vm.run("dd if=/dev/urandom of=/data/new bs=1M count=4; touch /new; sync", RUN_SECONDS)
        assert stamps(good.disks) == good.untouched


def test_an_image_that_does_not_provision_itself_is_found(debian_base: Path, tmp_path: Path) -> None:
    """With cloud-init and the agent off it starts, which is all that a specialized image must, but reports nothing."""
    disk = tmp_path / "os.qcow2"
    layers.create(disk, backing=debian_base)
    private_mounts()
    with opened_system([DiskLayer(disk)], folder=tmp_path, writable=True) as system:
        (system.root / "etc/cloud/cloud-init.disabled").touch()
        (system.root / "etc/systemd/system/walinuxagent.service").symlink_to("/dev/null")
    with start([disk], tmp_path / "plain", generation=1, generalized=False) as vm:
        up = vm.wait_ready()
        assert up.by in ("its console", "its ssh server")
        assert [check.passed for check in vm.checks()] == [True]
        with pytest.raises(BuildError, match="specialized"):
            vm.run("true", RUN_SECONDS)
    work = tmp_path / "azure"
    patience = up.seconds * 2
    with start([disk], work, generation=1, timeout=patience) as vm, pytest.raises(BuildError) as caught:
        vm.wait_ready()
    assert caught.value.code == "provisioning-timeout"
    assert "OSProvisioningTimedOut" in caught.value.message
    assert caught.value.detail is not None
    assert "the machine asked nothing of Azure" in caught.value.detail
    shown = caught.value.detail.partition("the end of its console:")[2]
    assert "multi-user.target" in shown or "login:" in shown
    assert len(shown.splitlines()) <= 41
    assert (work / "console.log").read_text().count("Linux version") == 1
    assert left_in(tmp_path) == Left()


@pytest.mark.parametrize(("generation", "sign"), [(1, "No bootable device"), (2, "EFI Internal Shell")])
def test_a_disk_that_does_not_start_is_found_at_once(generation: int, sign: str, tmp_path: Path) -> None:
    disk = tmp_path / "zeros.raw"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    work = tmp_path / "vm"
    with start([disk], work, generation=generation) as vm, pytest.raises(BuildError, match="does not start") as caught:
        vm.wait_ready()
    assert caught.value.code == "boot-failed"
    assert caught.value.detail is not None
    assert sign in caught.value.detail
    assert left_in(tmp_path) == Left()


def test_who_asks_to_stop_does_not_wait(tmp_path: Path) -> None:
    disk = tmp_path / "zeros.raw"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    stop = threading.Event()
    with start([disk], tmp_path / "vm", stop=stop) as vm:
        stop.set()
        with pytest.raises(Interrupted):
            vm.wait_ready()
    assert left_in(tmp_path) == Left()


def test_a_machine_that_qemu_refuses_shows_why(tmp_path: Path) -> None:
    disk = tmp_path / "broken.qcow2"
    disk.write_bytes(b"QFI\xfb" + bytes(20) + (64 * MIB).to_bytes(8) + bytes(70000))
    with ExitStack() as stack, pytest.raises(BuildError) as caught:
        stack.enter_context(start([disk], tmp_path / "vm"))
    assert caught.value.code == "qemu-failed"
    assert caught.value.detail is not None
    assert "Unsupported qcow2 version" in caught.value.detail
    assert left_in(tmp_path) == Left()


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    arm = rehearse(
        [tmp_path / "os.vhd"], generation=2, architecture="arm64", work=tmp_path, memory_mib=512, cpus=1, timeout=1,
        on_line=print, progress=print, stop=None, generalized=True,
    )  # fmt: skip
    with ExitStack() as stack, pytest.raises(BuildError, match="arm64"):
        stack.enter_context(arm)


def test_the_relay_carries_requests_to_the_fabric(tmp_path: Path) -> None:
    """Also where the folder's path is longer than a socket's may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    asked: list[Asked] = []
    verdicts: list[Verdict] = []
    fabric = Fabric(Deployment("key"), generalized=True, on_asked=asked.append, on_verdict=verdicts.append)
    report = b"<Health><State>Ready</State></Health>"
    head = b"POST /machine?comp=health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(report)
    last = b"GET /?comp=versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with serving(fabric, folder) as path:
        guest, end = socket.socketpair()
        with guest:
            relay = subprocess.Popen([sys.executable, "-I", "-S", qemu.RELAY, path], stdin=end, stdout=end)
            end.close()
            guest.settimeout(20)
            guest.sendall(head + report + last)
            with guest.makefile("rb") as answers:
                answer = answers.read()
        assert relay.wait(20) == 0
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"2012-11-30" in answer
    assert [verdict.ready for verdict in verdicts] == [True]
    assert [request.target for request in asked] == ["/machine?comp=health", "/?comp=versions"]
