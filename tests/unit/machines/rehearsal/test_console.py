import pytest

from builder.machines.local.rehearsal import console as module
from builder.machines.local.rehearsal.console import Console, plain


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[0;32m  OK  \x1b[0m] Started ssh", "  OK  ] Started ssh"),
        ("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS", "SeaBIOS"),
        ("[*  ] waiting (1s)\r[ * ] waiting (2s)\r", "[ * ] waiting (2s)"),
        ("line\r", "line"),
        ("\x1b]0;title\x07root@web", "root@web"),
        ("a\tb\x00c\x07", "a bc"),
        ("frame" + "\ufffd" * 70, "frame"),
        ("\x1b[", ""),
        ("", ""),
    ],
)
def test_terminal_control_is_removed(raw, shown):
    assert plain(raw) == shown


@pytest.fixture
def heard(tmp_path):
    lines, texts = [], []
    console = Console(tmp_path / "console.log", on_line=lines.append, on_text=texts.append)
    yield console, lines, texts, tmp_path / "console.log"
    console.close()


def test_lines_are_put_together_from_pieces(heard):
    console, lines, texts, log = heard
    for piece in (b"one\r\nt", b"wo\r", b"\nweb log", b"in: "):
        console.feed(piece)
    assert lines == []
    console.hand_on()
    assert lines == ["one", "two"]
    assert texts[-1] == "web login:"
    assert console.tail() == ["one", "two", "web login:"]
    console.close()
    assert log.read_text() == "one\ntwo\nweb login:\n"


def test_a_line_without_end_is_cut(heard):
    console, lines, _, _ = heard
    for _ in range(100):
        console.feed(b"x" * 1000)
    console.hand_on()
    assert {len(line) for line in lines} == {module.LONGEST_LINE}


def test_a_guest_that_prints_for_ever_does_not_fill_the_disk(heard, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_LOG", 10_000)
    console, lines, _, log = heard
    for number in range(5000):
        console.feed(f"line {number}\n".encode())
    console.hand_on()
    console.close()
    assert log.stat().st_size < 15_000
    assert log.read_text().endswith("line 4999\n")
    assert lines[0] == "line 0"
    assert "more than" in lines[-1]
    assert console.tail(1) == ["line 4999"]
