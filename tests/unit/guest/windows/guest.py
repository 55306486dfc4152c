"""A Windows guest that gives prepared answers: there is no Windows to run scripts in."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from builder.errors import BuildError
from builder.model.run import GuestFacts, GuestScript, StepContext
from tests.unit.guest.windows.parsing import parsed

FACTS = GuestFacts("windows", "windows", "2022", "x64", "")


def told(answer: dict[str, Any], longest: int = 2000, piece: int = 7) -> str:
    """A result as templates/result.ps1 writes it; in shorter pieces, so that there are some."""
    text, word = json.dumps(answer, separators=(",", ":")).replace(" ", r"\u0020"), "result"
    if len(text) > longest:
        text, word = base64.b64encode(gzip.compress(text.encode("ascii"), mtime=0)).decode("ascii"), "packed"
    return "\n".join(f"build: {word} {text[at : at + piece]}" for at in range(0, len(text), piece))


@dataclass
class AnsweringGuest:
    """Takes the answers in turn: a result, lines of text, or an error. Every script is parsed."""

    answers: list[dict[str, Any] | str | BuildError]
    scripts: list[GuestScript] = field(default_factory=list)
    facts: GuestFacts = FACTS
    live: bool = True

    def execute(self, script: GuestScript, on_line: Callable[[str], None]) -> None:
        parsed(script.text)
        self.scripts.append(script)
        answer = self.answers.pop(0)
        if isinstance(answer, dict):
            on_line("working")
            on_line(told(answer))
        elif isinstance(answer, str):
            on_line(answer)
        else:
            # What it printed first is its detail
            on_line(answer.detail or "")
            raise answer


@dataclass
class AnsweringSession:
    """A machine with that guest. `restarts` are the time limits that restarts were given."""

    guest: AnsweringGuest
    restarts: list[float | None] = field(default_factory=list)

    def restart(self, timeout: float | None) -> None:
        self.restarts.append(timeout)


@dataclass
class Bench:
    """A context for a step's run, with what it logged."""

    session: AnsweringSession
    context: StepContext
    log: list[str]


def bench(*answers: dict[str, Any] | str | BuildError) -> Bench:
    session = AnsweringSession(AnsweringGuest(list(answers)))
    log: list[str] = []
    run = SimpleNamespace(check_stop=lambda: None, stop=threading.Event())
    context = StepContext(run=run, session=session, steps=(), log=log.append)  # type: ignore[arg-type]
    return Bench(session, context, log)
