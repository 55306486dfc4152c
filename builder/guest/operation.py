"""One operation of generalize: what it takes out of a machine, and why."""

from __future__ import annotations

from dataclasses import dataclass

from builder.guest.actions import Action

# The last place in the order belongs to the machine-id: nothing that runs after it may fill it again
LAST = 100


@dataclass(frozen=True)
class Operation:
    """One named thing that generalize does.

    `reason` says why, or, for one that is off by default, why it is off. Operations run by `order`, then as the table
    lists them. `families` empty means every distribution. `covers` names what peers call it (`tool:operation`).
    """

    id: str
    reason: str
    actions: tuple[Action, ...]
    default: bool = True
    order: int = 50
    families: frozenset[str] = frozenset()
    covers: tuple[str, ...] = ()

    def describe(self) -> str:
        """What it does, in Markdown."""
        return "; ".join(action.describe() for action in self.actions)
