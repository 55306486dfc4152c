"""Kinds are code: one knows how to run the steps of its name, and in which version it does so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from builder.errors import BuildError
from builder.model.run import StepContext
from builder.model.steps import Step


@dataclass(frozen=True)
class Kind:
    """What a step of one kind does.

    `version` is the implementation's: raise it when the same inputs would give another result, and every digest that
    depends on it changes. `run` carries a step out; it raises BuildError when it can't. `side_by_side`: steps in a row
    that do the same in several places ("publish.…") may run at once.
    """

    name: str
    version: int
    run: Callable[[Step, StepContext], None]
    side_by_side: bool = False


@dataclass
class KindRegistry:
    """All kinds by name. Floors above look kinds up; each kind is registered once, in the file that defines it."""

    by_name: dict[str, Kind] = field(default_factory=dict)

    def register(self, kind: Kind) -> Kind:
        """Add a kind. Raises ValueError for a second one of the same name."""
        if kind.name in self.by_name:
            raise ValueError(f"kind {kind.name!r} is registered twice")
        self.by_name[kind.name] = kind
        return kind

    def __getitem__(self, name: str) -> Kind:
        try:
            return self.by_name[name]
        except KeyError:
            raise BuildError(
                f"this version of build doesn't know steps of kind {name!r}",
                code="unknown-kind",
                hint="the plan was made by another version: plan again",
            ) from None


KINDS = KindRegistry()
