import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from builder import process
from builder.process import CommandFailed
from tests.integration.waiting import wait_until


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_an_error_shows_the_whole_command_and_what_it_said() -> None:
    with pytest.raises(CommandFailed, match="exit code 7") as caught:
        process.run(["sh", "-c", "echo oops >&2; exit 7"])
    assert caught.value.detail is not None
    assert "oops" in caught.value.detail
    assert "'echo oops >&2; exit 7'" in caught.value.detail


def test_children_see_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "hunter2")
    assert "hunter2" not in process.run(["env"]).output


def test_lines_come_as_they_are_printed() -> None:
    lines: list[str] = []
    process.stream(["sh", "-c", "echo one; echo two >&2; printf three"], on_line=lines.append)
    assert lines == ["one", "two", "three"]


def test_what_is_printed_right_before_the_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host, a program may print and end between our look at its output and our look at itself."""
    monkeypatch.setattr(subprocess.Popen, "poll", lambda self: self.wait())
    lines: list[str] = []
    process.stream(["sh", "-c", "echo one; sleep 0.4; echo two"], on_line=lines.append)
    assert lines == ["one", "two"]


def test_a_gigabyte_of_output_stays_out_of_memory() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = 0

    def text(block: str) -> None:
        nonlocal seen
        seen += len(block) + 1

    process.stream(["sh", "-c", "yes | head -c 1073741824"], on_text=text)
    assert seen == 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize("how", ["timeout", "stop"])
def test_the_whole_tree_ends(how: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; echo ready; wait; wait"
    stop = threading.Event()
    with pytest.raises(CommandFailed):
        process.stream(
            ["sh", "-c", script],
            on_line=lambda line: stop.set() if how == "stop" else None,
            timeout=0.5 if how == "timeout" else None,
            stop=stop,
        )
    assert all(wait_until(lambda pid=pid: not lives(int(pid))) for pid in pids.read_text().split())


def test_children_die_with_us(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from builder import process
        with process.daemon(["sleep", "600"]) as child:
            print(child.pid, flush=True)
            sys.stdin.read()
        """
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert ours.stdout is not None
    child = int(ours.stdout.readline())
    assert lives(child)
    os.kill(ours.pid, signal.SIGKILL)
    ours.communicate()
    assert wait_until(lambda: not lives(child))
