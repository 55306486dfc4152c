"""Live progress of an apply: one listener for terminals, one for plain text (CI logs), one for JSON lines.

Rich draws the live line; it is imported only for a real terminal.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Self

from builder import __version__
from builder.events import (
    Event,
    ImageFailed,
    ImageFinished,
    ImageStarted,
    Listener,
    LockWait,
    RunFinished,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepProgress,
    StepStarted,
    StepWouldRun,
    Warned,
)
from builder.report.units import bytes_text, seconds_text

# A step that says nothing for so long gets a line in plain output, so that nobody takes it for hung
HEARTBEAT_SECONDS = 20.0
# How often such steps are looked for
LOOK_SECONDS = 1.0
# Fits a small terminal together with the lines above
MOST_LIVE_LINES = 12
EVENTS_FORMAT = 1


class Progress:
    """A listener with a beginning and an end. This one says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """The run has ended."""

    def __call__(self, event: Event) -> None:
        """Hear an event."""


def permanent_line(event: Event) -> str | None:
    """The line that an event leaves behind, the same in a terminal and in a log; None for passing ones."""
    match event:
        case ImageStarted():
            return f"{event.image}: {event.action}"
        case StepCached():
            return f"  = {event.index:>2}  {event.title}  (checkpoint)"
        case StepFinished():
            return f"  ✓ {event.index:>2}  {event.title}  {seconds_text(event.seconds)}"
        case StepWouldRun():
            return f"  · {event.index:>2}  {event.title}  (would run)"
        case StepFailed():
            return f"  ✗ {event.index:>2}  {event.title}  {seconds_text(event.seconds)}"
        case ImageFinished():
            where = f": {', '.join(event.where)}" if event.where else ""
            named = f"{event.image} {event.version}".strip()
            return f"  {named} done in {seconds_text(event.seconds)}{where}"
        case LockWait():
            return f"  waiting for {event.holder}"
        case Warned():
            return f"  warning: {event.message}"
        case RunFinished():
            return summary(event)
    return None


def summary(event: RunFinished) -> str:
    """The last line of an apply. Frozen: scripts may look for it."""
    if event.dry_run:
        return f"Dry run: {event.done} would be done, {event.failed} would fail. Nothing was changed."
    parts = [f"{event.done} done"]
    if event.unchanged:
        parts.append(f"{event.unchanged} unchanged")
    parts.append(f"{event.failed} failed")
    return f"Apply: {', '.join(parts)} in {seconds_text(event.seconds)}."


def doing_text(event: StepProgress) -> str:
    """How far a step is, for people."""
    if event.unit == "bytes":
        amount = bytes_text(event.current) + (f" of {bytes_text(event.total)}" if event.total else "")
    elif event.unit:
        amount = f"{event.current}" + (f" of {event.total}" if event.total else "") + f" {event.unit}"
    else:
        amount = ""
    return " ".join(part for part in (event.doing, amount) if part)


def printable(text: str) -> str:
    """A line that a program printed, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@dataclass
class RunningStep:
    """A step under way: since when, of how many steps, what it said last, and when a log last had a line of it.

    Times are monotonic seconds.
    """

    started: StepStarted
    since: float
    steps: int
    logged: float
    text: str = ""


class Running:
    """The images that are being worked on, and the steps that each is at, by image and number."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, int], RunningStep] = {}
        self._images: dict[str, int] = {}
        # Whether images have been made side by side, so that a line has to say whose it is, to the last one
        self.several = False
        self._dry = False

    def hear(self, event: Event) -> str | None:
        """Take an event in; returns the line that it leaves behind, if any."""
        line = permanent_line(event)
        self._dry = self._dry or isinstance(event, StepWouldRun)
        if self._dry and isinstance(event, ImageFinished):
            # Its steps say what would be done: nothing was
            line = None
        if line is not None and self.several and event.image and not isinstance(event, ImageStarted | ImageFinished):
            line = f"  {event.image}{line[1:]}"
        match event:
            case ImageStarted():
                self._images[event.image] = event.steps
                self.several = self.several or len(self._images) > 1
            case ImageFinished() | ImageFailed():
                self._images.pop(event.image, None)
                self.steps = {key: step for key, step in self.steps.items() if key[0] != event.image}
            case StepStarted():
                now, steps = time.monotonic(), self._images.get(event.image, 0)
                self.steps[event.image, event.index] = RunningStep(event, now, steps, logged=now)
            case StepFinished() | StepFailed():
                self.steps.pop((event.image, event.index), None)
            case StepOutput() | StepProgress() if (event.image, event.index) in self.steps:
                said = event.line if isinstance(event, StepOutput) else doing_text(event)
                self.steps[event.image, event.index].text = printable(said)
        return line

    def silent(self, now: float) -> list[RunningStep]:
        """The steps of which a log has had no line for long, at the moment `now`; they get one now."""
        found = [step for step in self.steps.values() if now - step.logged >= HEARTBEAT_SECONDS]
        for step in found:
            step.logged = now
        return found

    def named(self, step: RunningStep) -> str:
        """What a line about a running step starts with: its image, where several are made."""
        return f"{step.started.image} " if self.several else ""

    def line(self, step: RunningStep, of: str = "") -> str:
        """A step under way: for how long, and what it said last, which may be cut. `of` follows its number."""
        passed = seconds_text(time.monotonic() - step.since)
        line = f"  {self.named(step)}… {step.started.index:>2}{of}  {passed:>8}  {step.started.title}"
        return f"{line}  │ {step.text}" if step.text else line


class Plain(Progress):
    """A line for each thing that happened, and a heartbeat for long silences."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._running = Running()
        self._beat = threading.Thread(target=self._heartbeat, daemon=True)

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def close(self) -> None:
        """End the heartbeat."""
        self._ended.set()
        self._beat.join()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            line = self._running.hear(event)
            if isinstance(event, StepStarted):
                named = self._running.named(self._running.steps[event.image, event.index])
                line = f"  {named}… {event.index:>2}  {event.title}"
            if line is not None:
                print(line, file=self._out, flush=True)

    def _heartbeat(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            with self._lock:
                for step in self._running.silent(time.monotonic()):
                    print(self._running.line(step)[:200], file=self._out, flush=True)


class Live(Progress):
    """Finished steps scroll up as lines; each step under way is one live line with its time and last output."""

    def __init__(self, out: IO[str] | None = None) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._lock = threading.Lock()
        self._running = Running()
        self._console = Console(file=out or sys.stderr, highlight=False, soft_wrap=False)
        self._live = RichLive(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        """Take the live lines away."""
        with self._lock:
            self._running.steps.clear()
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            line = self._running.hear(event)
        if line is not None:
            # A terminal folds what is too long and copies it whole: places of versions are long
            style = "red" if isinstance(event, StepFailed) else None
            self._console.print(line, markup=False, soft_wrap=True, style=style)

    def _draw(self) -> Any:  # noqa: ANN401 - a Rich renderable
        from rich.text import Text

        with self._lock:
            steps = list(self._running.steps.values())
            lines = [self._running.line(step, f"/{step.steps}") for step in steps[:MOST_LIVE_LINES]]
        if len(steps) > MOST_LIVE_LINES:
            lines.append(f"  … and {len(steps) - MOST_LIVE_LINES} more")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


class JsonLines(Progress):
    """Every event as one JSON object a line; the first names the format."""

    def __init__(self, out: IO[str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._out = out
        self._now = now
        self._lock = threading.Lock()
        self._write({"type": "version", "events": EVENTS_FORMAT, "tool": f"build {__version__}"})

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._write({"v": EVENTS_FORMAT, "time": self._now().isoformat(timespec="milliseconds"), **event.as_dict()})

    def _write(self, value: Mapping[str, Any]) -> None:
        with self._lock:
            self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
            self._out.flush()


def progress_for(mode: str, err: IO[str] | None = None) -> Progress:
    """The listener for `--progress`: `auto` is live on a terminal and plain elsewhere."""
    err = err or sys.stderr
    if mode == "auto":
        mode = "tty" if err.isatty() else "plain"
    makers: dict[str, Callable[[], Progress]] = {
        "tty": lambda: Live(err),
        "plain": lambda: Plain(err),
        "json": lambda: JsonLines(sys.stdout),
        "none": Progress,
    }
    return makers[mode]()


def both(*listeners: Listener) -> Listener:
    """One listener that tells several."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
