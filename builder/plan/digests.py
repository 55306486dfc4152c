"""Digests of steps. Each covers all steps before it, so that equal digests mean equal results.

What a digest covers: the kind, the kind's implementation version, the step's inputs, the bytes of every file it reads,
and the digest of the step before. What it leaves out, because the result doesn't depend on it: the title, the place in
the YAML, the preview, and the timeout. A comment or a longer timeout never rebuilds an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from builder.model.canonical import digest
from builder.model.kinds import KindRegistry
from builder.model.steps import Step


def step_digest(
    kind: str, version: int, inputs: Mapping[str, Any], files: Iterable[tuple[str, str]], parent: str
) -> str:
    """The digest of one step. `files` are pairs of path and sha256; `parent` is "" for the first step."""
    return digest(
        {
            "kind": kind,
            "version": version,
            "inputs": inputs,
            "files": sorted(list(file) for file in files),
            "parent": parent,
        }
    )


def chain(steps: Sequence[Step], kinds: KindRegistry, *, parent: str = "", first_index: int = 1) -> list[Step]:
    """The steps, numbered and with their digests.

    A step without identity (a test, a publish) gets a digest of its own, but the next step doesn't stand on it. Raises
    BuildError (code "unknown-kind") for a step that this version doesn't know.
    """
    chained = []
    for index, step in enumerate(steps, start=first_index):
        own = step_digest(
            step.kind,
            kinds[step.kind].version,
            step.inputs,
            ((file.path, file.sha256) for file in step.files),
            parent,
        )
        chained.append(replace(step, index=index, digest=own))
        if step.identity:
            parent = own
    return chained


def image_digest(chained: Sequence[Step]) -> str:
    """The digest of what the steps make: that of the last step with identity; "" when there is none."""
    return next((step.digest for step in reversed(chained) if step.identity), "")
