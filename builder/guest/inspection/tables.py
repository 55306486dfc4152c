"""What a rule is: the shape of the tables in `rules`, `rules_guest` and `rules_windows`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Rule:
    """One thing that is checked.

    `what` is the finding in a few words, `why` the reason and where it is written, `remedy` what a person can do.
    `mends` says what `--fix` does about it, "" where it does nothing.
    """

    id: str
    severity: Severity
    what: str
    why: str
    remedy: str
    mends: str = ""
