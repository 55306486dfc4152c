"""What an apply shows: lines for a log, one live line for a terminal, objects for programs."""

import io
import json
import threading
from datetime import UTC, datetime

import pytest

from builder.events import (
    Event,
    ImageFinished,
    ImageStarted,
    LockWait,
    RunFinished,
    RunStarted,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepProgress,
    StepStarted,
    StepWouldRun,
    Warned,
)
from builder.report.progress import HEARTBEAT_SECONDS, JsonLines, Live, Plain, Progress, Running, both, progress_for
from builder.report.units import bytes_text, seconds_text

STEP = {"image": "web", "index": 2, "title": "install nginx", "stage": "prepare"}
EVENTS: tuple[Event, ...] = (
    RunStarted(run="r1", plan="p1", images=("web",)),
    LockWait(image="web", holder="run r0"),
    ImageStarted(image="web", action="build", steps=3),
    StepCached(image="web", index=1, title="bootstrap debian", stage="prepare"),
    StepStarted(**STEP),
    StepOutput(image="web", index=2, line="Setting up \x1b[31mnginx\x1b[0m …"),
    StepProgress(image="web", index=2, current=1536, total=4096, unit="bytes", doing="downloading"),
    StepFinished(**STEP, seconds=75.2),
    Warned(image="web", message="/boot/efi is not mounted"),
    StepStarted(image="web", index=3, title="script a.sh", stage="prepare"),
    StepFailed(image="web", index=3, title="script a.sh", stage="prepare", seconds=0.4, message="exit code 7"),
    ImageFinished(image="web", action="build", version="1.0.0", where=("gallery/web/1.0.0",), seconds=80.0),
    RunFinished(run="r1", done=1, unchanged=2, failed=0, seconds=80.0),
)


def test_plain_output_is_a_line_for_each_thing() -> None:
    out = io.StringIO()
    with Plain(out) as listener:
        for event in EVENTS:
            listener(event)
    assert out.getvalue().splitlines() == [
        "  waiting for run r0",
        "web: build",
        "  =  1  bootstrap debian  (checkpoint)",
        "  …  2  install nginx",
        "  ✓  2  install nginx  1:15 min",
        "  warning: /boot/efi is not mounted",
        "  …  3  script a.sh",
        "  ✗  3  script a.sh  0.4 s",
        "  web 1.0.0 done in 1:20 min: gallery/web/1.0.0",
        "Apply: 1 done, 2 unchanged, 0 failed in 1:20 min.",
    ]


def test_once_images_are_made_side_by_side_every_line_says_whose_it_is() -> None:
    out = io.StringIO()
    with Plain(out) as listener:
        for image in ("web", "db"):
            listener(ImageStarted(image=image, action="build", steps=3))
        listener(ImageFinished(image="db", action="build", version="1.0.0", where=(), seconds=80.0))
        listener(StepStarted(**STEP))
        listener(StepFinished(**STEP, seconds=75.2))
    assert out.getvalue().splitlines()[-2:] == ["  web …  2  install nginx", "  web ✓  2  install nginx  1:15 min"]


def test_a_long_silence_is_broken_by_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.report.progress.HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("builder.report.progress.LOOK_SECONDS", 0.01)
    beat = threading.Event()

    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if "│" in text:
                beat.set()
            return super().write(text)

    out = Heard()
    with Plain(out) as listener:
        listener(StepStarted(**STEP))
        listener(StepOutput(image="web", index=2, line="Setting up nginx"))
        assert beat.wait(10)
    lines = [line for line in out.getvalue().splitlines() if "│" in line]
    assert lines[0] == "  …  2     0.0 s  install nginx  │ Setting up nginx"


def test_only_a_step_that_was_silent_for_long_gets_a_line() -> None:
    running = Running()
    running.hear(StepStarted(**STEP))
    (step,) = running.steps.values()
    seconds = (HEARTBEAT_SECONDS - 1, HEARTBEAT_SECONDS, HEARTBEAT_SECONDS + 1, 2 * HEARTBEAT_SECONDS)
    assert [bool(running.silent(step.since + passed)) for passed in seconds] == [False, True, False, True]


def test_every_event_is_a_json_object() -> None:
    out = io.StringIO()
    with JsonLines(out, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as listener:
        for event in EVENTS:
            listener(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0]["type"] == "version"
    assert [line["type"] for line in lines[1:]] == [event.type for event in EVENTS]
    assert lines[5] == {
        "v": 1, "time": "2026-01-01T00:00:00.000+00:00", "type": "step_start", **STEP,
    }  # fmt: skip


def test_the_live_line_leaves_what_plain_output_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = io.StringIO()
    with Live(out) as listener:
        for event in EVENTS:
            listener(event)
    assert [line.rstrip() for line in out.getvalue().splitlines() if line.strip()] == [
        "  waiting for run r0",
        "web: build",
        "  =  1  bootstrap debian  (checkpoint)",
        "  ✓  2  install nginx  1:15 min",
        "  warning: /boot/efi is not mounted",
        "  ✗  3  script a.sh  0.4 s",
        "  web 1.0.0 done in 1:20 min: gallery/web/1.0.0",
        "Apply: 1 done, 2 unchanged, 0 failed in 1:20 min.",
    ]


@pytest.mark.parametrize("kind", [Plain, Live])
def test_a_dry_run_finishes_no_image(kind: type[Plain | Live], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = io.StringIO()
    with kind(out) as listener:
        listener(ImageStarted(image="web", action="build", steps=1))
        listener(StepWouldRun(image="web", index=1, title="install nginx", stage="prepare"))
        listener(ImageFinished(image="web", action="build", version="1.0.0", where=(), seconds=0.0))
        listener(RunFinished(run="r1", done=1, unchanged=0, failed=0, seconds=0.0, dry_run=True))
    assert [line.rstrip() for line in out.getvalue().splitlines() if line.strip()] == [
        "web: build",
        "  ·  1  install nginx  (would run)",
        "Dry run: 1 would be done, 0 would fail. Nothing was changed.",
    ]


def test_what_stays_in_a_terminal_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody copies it."""
    monkeypatch.setenv("COLUMNS", "60")
    place = "/subscriptions/" + "/".join(f"part-{number}" for number in range(20))
    out = io.StringIO()
    with Live(out) as listener:
        listener(ImageFinished(image="web", action="build", version="1.0.0", where=(place,), seconds=80.0))
    assert f"  web 1.0.0 done in 1:20 min: {place}\n" in out.getvalue()


def test_what_a_step_prints_can_not_steer_the_terminal() -> None:
    listener = Live(io.StringIO())
    listener(StepStarted(**STEP))
    listener(StepOutput(image="web", index=2, line="a\x1b]0;title\x07b\rc"))
    text = str(listener._draw())
    assert "\x1b" not in text
    assert "\r" not in text
    assert "│ a" in text


@pytest.mark.parametrize(("mode", "kind"), [("plain", Plain), ("json", JsonLines), ("auto", Plain), ("none", Progress)])
def test_the_mode_chooses_the_listener(mode: str, kind: type) -> None:
    assert type(progress_for(mode, io.StringIO())) is kind


def test_several_listen_at_once() -> None:
    heard: list[str] = []
    tell = both(lambda event: heard.append(f"one {event.type}"), lambda event: heard.append(f"two {event.type}"))
    tell(EVENTS[0])
    assert heard == ["one run_start", "two run_start"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (600 << 20, "600 MiB"),
        (30 << 30, "30.0 GiB"),
        (2 << 40, "2.0 TiB"),
    ],
)
def test_amounts(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (75.2, "1:15 min"), (3725, "1:02:05 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
