"""The digest of a plan: all that it holds but ids and times. Equal digests are equal plans."""

from __future__ import annotations

from builder.model.canonical import digest
from builder.model.plan import Plan

# New for each plan, or a fact about the host, or the digest itself
_LEFT_OUT = ("id", "created", "expires", "root", "digest")


def plan_digest(plan: Plan) -> str:
    """The digest over everything that says what will be done and why. It tells when a saved plan was edited."""
    return digest({name: value for name, value in plan.as_dict().items() if name not in _LEFT_OUT})
