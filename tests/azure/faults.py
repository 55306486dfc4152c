"""Faults on demand: a rule says at which call of which operation what goes wrong; the ledger keeps what did.

Kinds (the words of what a client sees):
`refuse`     the call is answered with `status`, `code` and `message`; nothing happens
`throttle`   the same, as 429 with Retry-After and an empty bucket
`fail`       the call is accepted; its long-running operation ends as Failed with `code` and `message`
`drop`       the connection closes before anything happens
`lose`       it happens, and the connection closes before the answer
`slow`       its long-running operation takes `factor` times as long
`hang`       its long-running operation never ends
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Literal

Kind = Literal["refuse", "throttle", "fail", "drop", "lose", "slow", "hang"]


@dataclass(frozen=True)
class Fault:
    """`operation` is as in the routes (`PUT Microsoft.Compute/virtualMachines`), with `*` for any text.

    It strikes at the `nth` matching call (the first is 1) and the `times - 1` after it. `name` limits it to resources
    whose id ends so.
    """

    operation: str
    kind: Kind
    nth: int = 1
    times: int = 1
    status: int = 409
    code: str = "OperationNotAllowed"
    message: str = "The simulator was asked to refuse this."
    retry_after: int = 1
    factor: float = 10.0
    name: str = ""


class Faults:
    """The ledger: `fired` tells which rule struck which call, in order."""

    def __init__(self) -> None:
        self._rules: list[tuple[Fault, list[int]]] = []
        self.fired: list[tuple[Fault, str]] = []

    def add(self, fault: Fault) -> None:
        self._rules.append((fault, [0]))

    def clear(self) -> None:
        """From now on nothing goes wrong; the ledger stays."""
        self._rules.clear()

    def strike(self, operation: str, path: str) -> Fault | None:
        """Counts this call at every rule that means it; the first rule whose turn it is strikes."""
        struck = None
        for fault, seen in self._rules:
            if not fnmatch.fnmatchcase(operation.lower(), fault.operation.lower()):
                continue
            if fault.name and not path.lower().rstrip("/").endswith("/" + fault.name.lower()):
                continue
            seen[0] += 1
            if struck is None and fault.nth <= seen[0] < fault.nth + fault.times:
                struck = fault
        if struck is not None:
            self.fired.append((struck, f"{operation} {path}"))
        return struck
